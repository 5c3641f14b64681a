"""The ensemble search: does any blend beat equal weights, on images it has not learnt from?

Every method of `blends` is fitted on four of five parts of the hold-out and predicts the fifth,
several times over; these nested predictions are compared, image by image, with the equal mean.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from src.blends import OTHERS, PLAIN, Holdout, Method, apply, gather
from src.config import UserError, nearest
from src.evidence import (
    ALPHA,
    Comparison,
    compare,
    error_phrase,
    interval_of_gain,
    log_losses,
    mcnemar,
    right,
    sentence,
    signed,
    wrong_of,
)
from src.probs import average, join

PARTS, REPEATS = 5, 3
SELECT = ("auto", "equal", *PLAIN)  # the choices of --select


class Trial(NamedTuple):
    """A method and its nested estimate."""

    probs: pd.DataFrame  # of the hold-out, each image by fits that did not see it
    comparison: Comparison | None  # with the equal mean; None for the equal mean itself
    weights: dict[str, float] | None  # model → weight, 1 on average; None where weights do not do


def search(
    tables: Mapping[str, pd.DataFrame],
    families: Mapping[str, str],
    labels: pd.Series,
    methods: Mapping[str, Method] = PLAIN | OTHERS,
    repeats: int = REPEATS,
    seed: int = 0,
) -> dict[str, Trial]:
    """Method → its trial, "equal" first, for `tables` (model → hold-out probabilities).

    The tables hold the same images; `families` is model → family, `labels` image_id → label.
    """
    held = gather(tables, families, labels)
    if len(held.images) < PARTS:
        raise UserError(
            f"all members together held out {len(held.images)} images, too few to search for "
            "weights; use --select equal, or members of the same fold"
        )
    incumbent = average([tables[name].loc[held.images, held.classes] for name in held.models])
    trials = {"equal": Trial(incumbent, None, dict.fromkeys(held.models, 1.0))}
    for name, method in methods.items():
        with threadpool_limits(1):  # the matrices are thin; threads only wait for each other
            probs, weights = nested(method, held, repeats, seed)
        probs = pd.DataFrame(probs, index=held.images, columns=held.classes)
        shown = _usual_is_one(held.models, weights) if name in PLAIN else None
        trials[name] = Trial(probs, compare(probs, incumbent, labels, seed), shown)
    return trials


def nested(
    method: Method, held: Holdout, repeats: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (images, classes) of parts not learnt from, and the mean weights of all fits.

    That mean is what votes: the same kind of fits were judged, and it is steadier than one.
    """
    total, weights = np.zeros(held.stack.shape[1:]), []
    for part in _parts(held.truth, repeats, seed):
        blend = method(held, np.flatnonzero(~part))
        total[part] += apply(blend, held.stack[:, part])
        weights.append(blend.weights)
    return total / repeats, np.mean(weights, axis=0)


def _parts(truth: np.ndarray, repeats: int, seed: int) -> Iterator[np.ndarray]:
    """Masks (images,) of the parts to predict; every class is dealt out evenly, each time anew."""
    for repeat in range(repeats):
        order = np.random.default_rng([seed, repeat]).permutation(len(truth))
        order = order[np.argsort(truth[order], kind="stable")]
        part = np.empty(len(truth), dtype=int)
        part[order] = np.arange(len(truth)) % PARTS
        yield from (part == k for k in range(PARTS))


def _usual_is_one(models: list[str], weights: np.ndarray) -> dict[str, float]:
    """Weights that are 1 on average, short enough to be typed after `--weights`."""
    return {m: round(float(w), 3) for m, w in zip(models, weights * len(models), strict=True)}


def choose(trials: Mapping[str, Trial], select: str = "auto") -> tuple[str, str]:
    """The method that votes, and why; `auto` wants proof, anything else is simply taken.

    Each of the challengers looks at the same images, so the best of four must be surer than one:
    its exact p below 0.05 / 4 (Bonferroni, valid however alike they are) and its interval above 0.
    """
    if select not in SELECT:
        raise UserError(f"--select {select!r} is no choice; {nearest(select, SELECT)}")
    if select != "auto":
        comparison = trials[select].comparison
        found = f": {_sentence(select, comparison)}" if comparison else ""
        return select, f"{select} weights are taken as asked for{found}"
    challengers = [name for name in PLAIN if name in trials]
    best = max(challengers, key=lambda n: (is_better(trials[n]), trials[n].comparison.difference))
    found = _sentence(best, trials[best].comparison)
    if is_better(trials[best]):
        return best, f"the weights by {best} are taken: {found}"
    return "equal", f"equal weights are kept; the best challenger is {best}: {found}"


def is_better(trial: Trial) -> bool:
    """Whether the nested estimate proves a challenger better than the equal mean."""
    c = trial.comparison
    return c is not None and c.low > 0 and c.p < ALPHA / len(PLAIN)


def _sentence(name: str, c: Comparison) -> str:
    wanted = f"exact p {c.p:.2g}, below {ALPHA / len(PLAIN):.2g} is wanted"
    return f"{sentence(c, f'weighing by {name}', 'against equal weights')} ({wanted})"


def trials_text(trials: Mapping[str, Trial], labels: pd.Series) -> str:
    """The search as aligned text, a method a line."""
    rows = []
    for name, (probs, c, weights) in trials.items():
        verdict = "the incumbent" if c is None else _verdict(trials[name])
        rows.append([
            name,
            error_phrase(*wrong_of(probs, labels)),
            "" if c is None else _gain(c.difference, c.low, c.high, c.p),
            f"{log_losses(probs, labels).mean():.4f}",
            verdict if weights else f"{verdict}; no weights express it",
        ])
    columns = ["method", "hold-out error (nested)", "more right than equal", "log-loss", "verdict"]
    return _text(pd.DataFrame(rows, columns=columns))


def _verdict(trial: Trial) -> str:
    if is_better(trial):
        return "better"
    c = trial.comparison
    return "worse" if c.decided and c.difference < 0 else "no evidence"


def _gain(difference: int, low: int, high: int, p: float) -> str:
    return f"{signed(difference)} (95 % {signed(low)} … {signed(high)}), p {p:.2g}"


def _text(table: pd.DataFrame) -> str:
    """`table` as text whose columns, headers too, start at the left."""
    cells = [list(table.columns), *table.to_numpy().tolist()]
    widths = [max(len(row[k]) for row in cells) for k in range(table.shape[1])]
    lines = ("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in cells)
    return "\n".join(line.rstrip() for line in lines)


def contributions(
    tables: Mapping[str, pd.DataFrame], families: Mapping[str, str], labels: pd.Series
) -> pd.DataFrame:
    """The equal mean without each family and each model: index what is left out, one row each.

    Columns: models left out, `wrong` images without them, `gain`: images they bring (`low` to
    `high`, exact `p`). An ensemble of one family has nothing left without it, hence no such row.
    """
    held = gather(tables, families, labels)
    total, rows = held.stack.sum(axis=0), {}
    full = total.argmax(axis=1) == held.truth
    for name in [*sorted(set(held.families)), *held.models]:
        out = np.array([name in pair for pair in zip(held.models, held.families, strict=True)])
        if not out.all():
            rest = (total - held.stack[out].sum(axis=0)).argmax(axis=1) == held.truth
            gained, lost = int((full & ~rest).sum()), int((rest & ~full).sum())
            low, high = interval_of_gain(gained, lost, len(full))
            wrong, p = int((~rest).sum()), mcnemar(gained, lost)
            rows[name] = [int(out.sum()), wrong, gained - lost, low, high, p]
    columns = ["models", "wrong", "gain", "low", "high", "p"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def contributions_text(table: pd.DataFrame, images: int) -> str:
    """`contributions` of so many held-out images as aligned text."""
    rows = [
        [str(name), str(r.models), error_phrase(r.wrong, images), _gain(r.gain, r.low, r.high, r.p)]
        for name, r in zip(table.index, table.itertuples(), strict=True)
    ]
    columns = ["without", "models", "hold-out error of the rest", "images it brings"]
    return _text(pd.DataFrame(rows, columns=columns))


def disagreement(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Model x model: the share of images for which they predict different classes."""
    picks = np.array([table.to_numpy().argmax(axis=1) for table in join(list(tables.values()))])
    shares = [(picks != pick).mean(axis=1) for pick in picks]
    return pd.DataFrame(shares, index=list(tables), columns=list(tables))


def error_correlation(tables: Mapping[str, pd.DataFrame], labels: pd.Series) -> pd.DataFrame:
    """Model x model: the correlation of being wrong; NaN where a model is never wrong."""
    joined = join(list(tables.values()))
    wrong = {name: ~right(table, labels) for name, table in zip(tables, joined, strict=True)}
    return pd.DataFrame(wrong).astype(float).corr()


def worth(
    tables: Mapping[str, pd.DataFrame],
    labels: pd.Series,
    weights: Mapping[str, float] | None = None,
) -> str:
    """What ensembling is worth: the mean against the best single model, in one line.

    The best one is picked by these very images, so the ensemble is rather worth more.
    """
    best = min(sorted(tables), key=lambda name: wrong_of(tables[name], labels)[0])
    comparison = compare(average(tables, weights), tables[best], labels)
    found = sentence(comparison, f"averaging {len(tables)} models", f"against {best} alone")
    alone = error_phrase(*wrong_of(tables[best], labels))
    return f"what ensembling is worth: {found}, the best single model with {alone}"


def use_tta(
    plain: pd.DataFrame, tta: pd.DataFrame, labels: pd.Series, name: str
) -> tuple[bool, str]:
    """Whether TTA is used for the model `name`: unless the hold-out says it hurts; and why."""
    comparison = compare(tta, plain, labels)
    hurts = comparison.decided and comparison.difference < 0
    return not hurts, sentence(comparison, "TTA", name)
