"""Does any way of averaging beat equal weights, on images it has not learnt from?

Every method of `weights` is fitted on four of five parts of the hold-out and predicts the fifth,
several times over; these nested predictions are compared, image by image, with the equal mean.
"""

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pandas as pd

from src import evidence
from src.ensemble.weights import METHODS, Blend, Holdout, Method, apply, gather, logs
from src.evidence import ALPHA, INTERVAL, average, compare, error_cell, wrong_of

PARTS, REPEATS = 5, 3
STACKING = "stacking"  # a yardstick only: no weights of members repeat it
STRENGTH = 1e-3  # of stacking, scikit-learn's C: the log-loss on other images is worse at 1e-2
# All methods are compared on the same images, so the best of them must be surer than one alone
# (Bonferroni, valid however correlated they are); intervals and verdicts are of this level, too.
STRICT = ALPHA / len(METHODS)
SELECT = ("auto", "equal", *METHODS)  # the choices of --select


class Trial(NamedTuple):
    """A method and its nested estimate."""

    probs: pd.DataFrame  # of the hold-out, each image by fits that did not see it
    comparison: evidence.Comparison | None  # with the equal mean; None for the equal mean itself
    weights: dict[str, float] | None  # model → weight, 1 on average; None for stacking
    temperatures: Mapping[str, float] = MappingProxyType({})  # model → temperature if not 1
    mean: str = "arithmetic"  # or geometric


def search(
    tables: Mapping[str, pd.DataFrame],
    families: Mapping[str, str],
    labels: pd.Series,
    methods: Iterable[str] = (*METHODS, STACKING),
    repeats: int = REPEATS,
    seed: int = 0,
) -> dict[str, Trial]:
    """Method → its trial, "equal" first, for `tables` (model → hold-out probabilities).

    The tables hold the same images; `families` is model → family, `labels` image_id → label.
    """
    from threadpoolctl import threadpool_limits  # most ensembles need no search

    held = gather(tables, families, labels)
    incumbent = average([tables[name].loc[held.images, held.classes] for name in held.models])
    trials = {"equal": Trial(incumbent, None, dict.fromkeys(held.models, 1.0))}
    with threadpool_limits(1):  # the matrices are thin; threads only wait for each other
        for name in methods:
            if name == STACKING:
                probs, typed = stacking(held, seed), (None,)
            else:
                probs, blend = nested(METHODS[name], held, repeats, seed)
                typed = _as_typed(held.models, blend)
            probs = pd.DataFrame(probs, index=held.images, columns=held.classes)
            trials[name] = Trial(probs, compare(probs, incumbent, labels, STRICT), *typed)
    return trials


def nested(
    method: Method, held: Holdout, repeats: int = 1, seed: int = 0
) -> tuple[np.ndarray, Blend]:
    """Probabilities (images, classes) of parts not learnt from, and the mean of all fits.

    That mean is what the ensemble uses: fits like it were judged, and it is steadier than one.
    """
    total, fits = np.zeros(held.stack.shape[1:]), []
    for part in _parts(held.truth, repeats, seed):
        fits.append(method(held, np.flatnonzero(~part)))
        total[part] += apply(fits[-1], held.stack[:, part])
    weights, temperatures, (geometric, *_) = zip(*fits, strict=True)
    heated = None if temperatures[0] is None else np.mean(temperatures, axis=0)
    return total / repeats, Blend(np.mean(weights, axis=0), heated, geometric)


def stacking(held: Holdout, seed: int = 0) -> np.ndarray:
    """Nested probabilities (images, classes) by a logistic regression on all members' logarithms.

    It has a weight for every pair of classes of every model, hence the strong regularization.
    """
    from sklearn.linear_model import LogisticRegression

    features = logs(held.stack).transpose(1, 0, 2)  # (images, models, classes)
    features = features - features.mean(axis=2, keepdims=True)
    features = features.reshape(len(held.truth), -1).astype(np.float32)
    probs = np.zeros(held.stack.shape[1:])
    for part in _parts(held.truth, 1, seed):
        model = LogisticRegression(C=STRENGTH, tol=1e-3)
        model.fit(features[~part], held.truth[~part])
        probs[np.ix_(part, model.classes_)] = model.predict_proba(features[part])
    return probs


def _parts(truth: np.ndarray, repeats: int, seed: int) -> Iterator[np.ndarray]:
    """Masks (images,) of the parts to predict; every class is dealt out evenly, each time anew.

    scikit-learn's StratifiedKFold refuses or warns of classes that are rarer than the parts.
    """
    for repeat in range(repeats):
        order = np.random.default_rng([seed, repeat]).permutation(len(truth))
        order = order[np.argsort(truth[order], kind="stable")]
        part = np.empty(len(truth), dtype=int)
        part[order] = np.arange(len(truth)) % PARTS
        yield from (part == k for k in range(PARTS))


def _as_typed(models: list[str], blend: Blend) -> tuple[dict[str, float], dict[str, float], str]:
    """Weights that are 1 on average, temperatures and mean, short enough to be typed."""
    weights = _rounded(models, blend.weights * len(models))
    found = blend.temperatures
    temperatures = {} if found is None else _rounded(models, found)
    return weights, temperatures, "geometric" if blend.geometric else "arithmetic"


def _rounded(models: list[str], values: np.ndarray) -> dict[str, float]:
    return {model: round(float(value), 3) for model, value in zip(models, values, strict=True)}


def choose(trials: Mapping[str, Trial], select: str = "auto") -> tuple[str, str]:
    """The method to use, and why; `auto` wants proof, anything else is simply taken."""
    if select != "auto":
        return select, f"{select} is taken as chosen: {_sentence(select, trials[select])}"
    challengers = [name for name in METHODS if name in trials]
    best = max(challengers, key=lambda n: (is_better(trials[n]), trials[n].comparison.difference))
    found = _sentence(best, trials[best])
    if is_better(trials[best]):
        return best, f"{best} is taken: {found}"
    return "equal", f"equal weights are kept; the best challenger is {best}: {found}"


def is_better(trial: Trial) -> bool:
    """Whether the nested estimate proves a challenger better than the equal mean."""
    return trial.comparison is not None and trial.comparison.low > 0


def _sentence(method: str, trial: Trial) -> str:
    needed = f"the best of {len(METHODS)} needs p below {ALPHA:g} / {len(METHODS)}"
    return f"{evidence.sentence(trial.comparison, method, 'against equal weights')} ({needed})"


def trials_table(trials: Mapping[str, Trial], labels: pd.Series) -> pd.DataFrame:
    """The search for a reader, a method a row, in images."""
    rows = []
    for name, trial in trials.items():
        gain = evidence.gain_phrase(trial.comparison) if trial.comparison else ""
        loss = f"{evidence.log_losses(trial.probs, labels).mean():.4f}"
        rows.append([name, error_cell(*wrong_of(trial.probs, labels)), gain, loss, _verdict(trial)])
    error = f"nested hold-out error ({INTERVAL})"
    columns = ["method", error, "more right than equal", "log-loss", "verdict"]
    return pd.DataFrame(rows, columns=columns if rows else None)


def _verdict(trial: Trial) -> str:
    c = trial.comparison
    if c is None:
        return "the incumbent"
    found = "better" if is_better(trial) else "worse" if c.high < 0 else "no evidence"
    return found if trial.weights else f"{found}; a yardstick, no weights of members repeat it"
