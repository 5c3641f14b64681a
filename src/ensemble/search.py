"""The ensemble search: does any blend beat equal weights, on images it has not learnt from?

Every method of `blends` is fitted on four of five parts of the hold-out and predicts the fifth,
several times over; these nested predictions are compared, image by image, with the equal mean.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pandas as pd

from src.core import UserError, nearest
from src.ensemble.blends import MEAN_METHODS, OTHERS, PLAIN, Blend, Holdout, Method, apply, gather
from src.evidence import (
    ALPHA,
    INTERVAL,
    Comparison,
    average,
    compare,
    error_cell,
    gain_phrase,
    log_losses,
    sentence,
    too_few,
    wrong_of,
)

PARTS, REPEATS = 5, 3
SUBJECTS = {"geometric": "the geometric mean", "temperature": "a temperature for each model"}
CHALLENGERS = PLAIN | MEAN_METHODS  # what a command can be told to repeat
# All of them look at the same images, so the best of six must be surer than one (Bonferroni, valid
# however alike they are); intervals and verdicts are of this level, too.
STRICT = ALPHA / len(CHALLENGERS)
SELECT = ("auto", "equal", *CHALLENGERS)  # the choices of --select


class Trial(NamedTuple):
    """A method and its nested estimate."""

    probs: pd.DataFrame  # of the hold-out, each image by fits that did not see it
    comparison: Comparison | None  # with the equal mean; None for the equal mean itself
    weights: dict[str, float] | None  # model → weight, 1 on average; None for a mere yardstick
    temperatures: Mapping[str, float] = MappingProxyType({})  # model → temperature if not 1
    mean: str = "arithmetic"  # or geometric


def search(
    tables: Mapping[str, pd.DataFrame],
    families: Mapping[str, str],
    labels: pd.Series,
    methods: Mapping[str, Method] = CHALLENGERS | OTHERS,
    repeats: int = REPEATS,
    seed: int = 0,
) -> dict[str, Trial]:
    """Method → its trial, "equal" first, for `tables` (model → hold-out probabilities).

    The tables hold the same images; `families` is model → family, `labels` image_id → label.
    """
    from threadpoolctl import threadpool_limits  # most votes do without a search

    held = gather(tables, families, labels)
    if few := too_few(len(held.images)):
        raise UserError(f"{few}; use --select equal, or members of the same fold")
    incumbent = average([tables[name].loc[held.images, held.classes] for name in held.models])
    trials = {"equal": Trial(incumbent, None, dict.fromkeys(held.models, 1.0))}
    for name, method in methods.items():
        with threadpool_limits(1):  # the matrices are thin; threads only wait for each other
            probs, blend = nested(method, held, repeats, seed)
        probs = pd.DataFrame(probs, index=held.images, columns=held.classes)
        told = _told(held.models, blend) if name in CHALLENGERS else (None,)
        trials[name] = Trial(probs, compare(probs, incumbent, labels, STRICT), *told)
    return trials


def nested(
    method: Method, held: Holdout, repeats: int, seed: int
) -> tuple[np.ndarray, Blend]:
    """Probabilities (images, classes) of parts not learnt from, and the mean of all fits.

    That mean is what votes: the same kind of fits were judged, and it is steadier than one.
    """
    total, fits = np.zeros(held.stack.shape[1:]), []
    for part in _parts(held.truth, repeats, seed):
        fits.append(method(held, np.flatnonzero(~part)))
        total[part] += apply(fits[-1], held.stack[:, part])
    kinds = zip(*fits, strict=True)
    return total / repeats, Blend(*(None if k[0] is None else np.mean(k, axis=0) for k in kinds))


def _parts(truth: np.ndarray, repeats: int, seed: int) -> Iterator[np.ndarray]:
    """Masks (images,) of the parts to predict; every class is dealt out evenly, each time anew."""
    for repeat in range(repeats):
        order = np.random.default_rng([seed, repeat]).permutation(len(truth))
        order = order[np.argsort(truth[order], kind="stable")]
        part = np.empty(len(truth), dtype=int)
        part[order] = np.arange(len(truth)) % PARTS
        yield from (part == k for k in range(PARTS))


def _told(models: list[str], blend: Blend) -> tuple[dict[str, float], dict[str, float], str]:
    """Weights that are 1 on average, temperatures and mean, short enough to be typed."""
    weights, heats = blend.weights * len(models), blend.temperatures
    mean = "arithmetic" if blend.biases is None else "geometric"
    return _rounded(models, weights), {} if heats is None else _rounded(models, heats), mean


def _rounded(models: list[str], values: np.ndarray) -> dict[str, float]:
    return {model: round(float(value), 3) for model, value in zip(models, values, strict=True)}


def choose(trials: Mapping[str, Trial], select: str = "auto") -> tuple[str, str]:
    """The method that votes, and why; `auto` wants proof, anything else is simply taken."""
    if select not in SELECT:
        raise UserError(f"--select {select!r} is no choice; {nearest(select, SELECT)}")
    if select != "auto":
        comparison = trials[select].comparison
        found = f": {_sentence(select, comparison)}" if comparison else ""
        return select, f"{_named(select)} taken as asked for{found}"
    challengers = [name for name in CHALLENGERS if name in trials]
    best = max(challengers, key=lambda n: (is_better(trials[n]), trials[n].comparison.difference))
    found = _sentence(best, trials[best].comparison)
    if is_better(trials[best]):
        return best, f"{_named(best)} taken: {found}"
    return "equal", f"equal weights are kept; the best challenger is {best}: {found}"


def is_better(trial: Trial) -> bool:
    """Whether the nested estimate proves a challenger better than the equal mean."""
    c = trial.comparison
    return c is not None and c.low > 0


def _named(method: str) -> str:
    if method in MEAN_METHODS:
        return f"{SUBJECTS[method]} is"
    return "equal weights are" if method == "equal" else f"the weights by {method} are"


def _sentence(method: str, c: Comparison) -> str:
    wanted = f"the best of {len(CHALLENGERS)} needs p below {ALPHA:g} / {len(CHALLENGERS)}"
    subject = SUBJECTS.get(method, f"weighing by {method}")
    return f"{sentence(c, subject, 'against equal weights')} ({wanted})"


def trials_table(trials: Mapping[str, Trial], labels: pd.Series) -> pd.DataFrame:
    """The search for a reader, a method a row, in images."""
    rows = []
    for name, trial in trials.items():
        probs, c = trial.probs, trial.comparison
        verdict = "the incumbent" if c is None else _verdict(trial)
        rows.append([
            name,
            error_cell(*wrong_of(probs, labels)),
            "" if c is None else gain_phrase(c),
            f"{log_losses(probs, labels).mean():.4f}",
            verdict if trial.weights else f"{verdict}; a yardstick, no plain weights express it",
        ])
    error = f"nested hold-out error ({INTERVAL})"
    columns = ["method", error, "more right than equal", "log-loss", "verdict"]
    return pd.DataFrame(rows, columns=columns if rows else None)


def _verdict(trial: Trial) -> str:
    if is_better(trial):
        return "better"
    c = trial.comparison
    return "worse" if c.high < 0 else "no evidence"


def use_tta(
    plain: pd.DataFrame, tta: pd.DataFrame, labels: pd.Series, name: str
) -> tuple[bool, str]:
    """Whether TTA is used for the model `name`: unless the hold-out says it hurts; and why."""
    comparison = compare(tta, plain, labels)
    hurts = comparison.decided and comparison.difference < 0
    return not hurts, sentence(comparison, "TTA", name)
