"""Right labels in wrong rows: rows shifted or reversed, class names exchanged.

Each is sought beside `known` labels of the same images: it happened if undoing it makes more rows
agree, by an exact sign test. No rate of agreement is needed, so weak models can be compared too.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy.special import bdtr

SURE = 1e-3  # p-value below which it happened, times the number of ways that were tried


def misalignment(labels: pd.Series, known: pd.Series) -> str:
    """What happened to `labels`, beside `known` ones of the same images; empty if nothing did."""
    return _moved(labels, known) or _exchanged(labels, known)


def _moved(labels: pd.Series, known: pd.Series) -> str:
    """How `labels` are moved against `known`, from some row on; else empty."""
    new, old = labels.to_numpy(object), known.to_numpy(object)
    ways = {
        "shifted down by one": np.roll(old, 1),
        "shifted up by one": np.roll(old, -1),
        "in reverse order": old[::-1],
    }
    for way, moved in ways.items():
        gain = (new == moved).astype(int) - (new == old)  # by moving a row back
        start = int(np.cumsum(gain[::-1])[::-1].argmax())
        gained, lost = (gain[start:] > 0).sum(), (gain[start:] < 0).sum()
        if _is_sure(gained, lost, np.log(len(ways) * len(new))):
            return f"rows are {way} from row {start + 1:,} ({labels.index[start]}) on"
    return ""


def _exchanged(labels: pd.Series, known: pd.Series) -> str:
    """Which class names `labels` have in place of one another, beside `known`; else empty."""
    from scipy.optimize import linear_sum_assignment

    classes = sorted({*labels, *known})
    table = pd.crosstab(labels, known).reindex(index=classes, columns=classes, fill_value=0)
    # The best one-to-one renaming; what gains nothing by it keeps its name.
    rightly = linear_sum_assignment(table + np.eye(len(classes)) / 2, maximize=True)[1]
    counts, names = table.to_numpy(), []
    for cycle in _cycles(rightly):
        gained, lost = counts[cycle, rightly[cycle]], counts[cycle, cycle]
        # The known classes were chosen to fit: each one could have met any other.
        log_tries = len(cycle) * np.log(len(classes))
        if (gained > lost).all() and _is_sure(gained.sum(), lost.sum(), log_tries):
            names += [f"{classes[rightly[i]]} is called {classes[i]}" for i in cycle]
    return f"class names are exchanged: {', '.join(names)}" if names else ""


def _cycles(permutation: np.ndarray) -> Iterator[list[int]]:
    """The cycles of two and more numbers, each from its smallest one on."""
    seen = set()
    for first in range(len(permutation)):
        cycle, number = [], first
        while number not in seen:
            seen.add(number)
            cycle.append(number)
            number = int(permutation[number])
        if len(cycle) > 1:
            yield cycle


def _is_sure(gained: int, lost: int, log_tries: float) -> bool:
    """Whether more rows are `gained` than `lost` by the exact two-sided sign test."""
    with np.errstate(divide="ignore"):  # a p-value too small for a float is 0
        log_p = np.log(2 * bdtr(lost, gained + lost, 0.5))
    return bool(log_p + log_tries < np.log(SURE))
