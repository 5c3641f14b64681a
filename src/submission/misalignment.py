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
    return shifted(labels, known) or reversed_rows(labels, known) or exchanged(labels, known)


def shifted(labels: pd.Series, known: pd.Series) -> str:
    """How `labels` are moved by one row against `known`, from some row on; else empty."""
    new, old = labels.to_numpy(object), known.to_numpy(object)
    stays = new == old
    for step, way, other in ((1, "down", "before"), (-1, "up", "after")):
        moved = new == np.roll(old, step)
        gain = np.cumsum((moved.astype(int) - stays)[::-1])[::-1]  # by moving back from a row on
        start = int(gain.argmax())
        gained, lost = (moved & ~stays)[start:].sum(), (stays & ~moved)[start:].sum()
        if _is_sure(gained, lost, tries=2 * len(new)):
            return (
                f"rows are shifted {way} by one from row {start + 1:,} ({labels.index[start]}) on: "
                f"each image carries the label of the one {other} it"
            )
    return ""


def reversed_rows(labels: pd.Series, known: pd.Series) -> str:
    """Whether `labels` stand in the reverse order of `known`, in words; else empty."""
    new, old = labels.to_numpy(object), known.to_numpy(object)
    turned, stays = new == old[::-1], new == old
    if not _is_sure((turned & ~stays).sum(), (stays & ~turned).sum(), tries=1):
        return ""
    return "rows are in reverse order: the first image carries the label of the last"


def exchanged(labels: pd.Series, known: pd.Series) -> str:
    """Which class names `labels` have in place of one another, beside `known`; else empty."""
    classes = pd.Index(sorted({*labels, *known}))
    table = np.zeros((len(classes), len(classes)), int)  # label x known
    np.add.at(table, (classes.get_indexer(labels), classes.get_indexer(known)), 1)
    for ring in _rings(table):
        after = [*ring[1:], ring[0]]
        # The known classes were chosen to fit: every class of the ring could have met any other.
        tries = len(classes) ** len(ring)
        if _is_sure(table[ring, after].sum(), table[ring, ring].sum(), tries):
            pairs = zip(classes[after], classes[ring], strict=True)
            names = [f"{right} is called {wrong}" for right, wrong in pairs]
            return f"class names are exchanged: {', '.join(names)}"
    return ""


def _rings(table: np.ndarray) -> Iterator[list[int]]:
    """Rings of classes in which most rows of each one are, rightly, of the next."""
    usual = np.where(table.any(axis=1), table.argmax(axis=1), np.arange(len(table)))
    for first in range(len(table)):
        ring = [first]
        while usual[ring[-1]] not in ring:
            ring.append(int(usual[ring[-1]]))
        if len(ring) > 1 and usual[ring[-1]] == first == min(ring):
            yield ring


def _is_sure(gained: int, lost: int, tries: int) -> bool:
    """Whether more rows are `gained` than `lost` by the exact two-sided sign test."""
    return bool(gained > lost and 2 * bdtr(lost, gained + lost, 0.5) * tries < SURE)
