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
from src.competition import some
from src.core import UserError
from src.ensemble.ensemble import Ensemble, lacking, typed
from src.ensemble.members import unmeasured
from src.ensemble.weights import METHODS, Blend, Holdout, Method, Tables, apply, gather
from src.evidence import ALPHA, FLOOR, INTERVAL, compare, error_cell, mean_of, wrong_of

PARTS = 5
STACKING = "stacking"  # a yardstick only: no weights of members repeat it
# All methods are compared on the same images, so the best of them must be surer than one alone
# (Bonferroni, valid however correlated they are); intervals and verdicts are of this level, too.
STRICT = ALPHA / len(METHODS)


class Trial(NamedTuple):
    """A method and its nested estimate."""

    probs: pd.DataFrame  # of the hold-out, each image by fits that did not see it
    comparison: evidence.Comparison | None  # with the equal mean; None for the equal mean itself
    weights: dict[str, float]  # model → weight, 1 on average; none for stacking
    temperatures: Mapping[str, float] = MappingProxyType({})  # model → temperature if not 1
    mean: str = "arithmetic"  # or geometric


def find_trials(ensemble: Ensemble) -> dict[str, Trial]:
    """Every method beside equal weights; none where `lacking` has a reason."""
    if lacking(ensemble):
        return {}
    families = {member.name: member.family for member in ensemble.members}
    return search(ensemble.tables, families, ensemble.labels)


def search(
    tables: Tables, families: Mapping[str, str], labels: pd.Series,
    methods: Iterable[str] = (*METHODS, STACKING), repeats: int = 3,
) -> dict[str, Trial]:
    """Method → its trial, "equal" first; `families`: model → family, `labels`: image_id → label."""
    from threadpoolctl import threadpool_limits  # most ensembles need no search

    held = gather(tables, families, labels)
    incumbent = pd.DataFrame(mean_of(held.stack), held.images, held.classes)
    trials = {"equal": Trial(incumbent, None, dict.fromkeys(held.models, 1.0))}
    with threadpool_limits(1):  # the matrices are thin; threads only wait for each other
        for name in methods:
            if name == STACKING:
                probs, learnt = stacking(held), ({},)
            else:
                probs, blend = nested(METHODS[name], held, repeats)
                learnt = _by_name(held.models, blend)
            probs = pd.DataFrame(probs, held.images, held.classes)
            trials[name] = Trial(probs, compare(probs, incumbent, labels, STRICT), *learnt)
    return trials


def nested(method: Method, held: Holdout, repeats: int = 1) -> tuple[np.ndarray, Blend]:
    """Probabilities (images, classes) of parts not learnt from; the mean of all fits, to use."""
    total, fits = np.zeros(held.stack.shape[1:]), []
    for part in _parts(held.truth, repeats):
        fits.append(method(held, np.flatnonzero(~part)))
        total[part] += apply(fits[-1], held.stack[:, part])
    mean = fits[0]._replace(weights=np.mean([fit.weights for fit in fits], axis=0))
    if mean.temperatures is not None:
        mean = mean._replace(temperatures=np.mean([fit.temperatures for fit in fits], axis=0))
    return total / repeats, mean


def stacking(held: Holdout) -> np.ndarray:
    """Nested probabilities (images, classes) by a logistic regression on all members' logarithms.

    It has a weight for every pair of classes of every model, hence the strong regularization.
    """
    from sklearn.linear_model import LogisticRegression

    features = np.log(np.maximum(held.stack, FLOOR))
    features -= features.mean(axis=2, keepdims=True)
    features = np.concatenate(features, axis=1).astype(np.float32)  # (images, models x classes)
    probs = np.zeros(held.stack.shape[1:])
    for part in _parts(held.truth):
        model = LogisticRegression(C=1e-3, tol=1e-3)  # on other images C=1e-2 has more log-loss
        model.fit(features[~part], held.truth[~part])
        probs[np.ix_(part, model.classes_)] = model.predict_proba(features[part])
    return probs


def _parts(truth: np.ndarray, repeats: int = 1) -> Iterator[np.ndarray]:
    """Masks (images,) of the parts to predict; every class is dealt out evenly, each time anew.

    scikit-learn's StratifiedKFold refuses or warns of classes that are rarer than the parts.
    """
    for repeat in range(repeats):
        order = np.random.default_rng([0, repeat]).permutation(len(truth))
        order = order[np.argsort(truth[order], kind="stable")]
        part = np.empty(len(truth), dtype=int)
        part[order] = np.arange(len(truth)) % PARTS
        yield from (part == k for k in range(PARTS))


def _by_name(models: list[str], blend: Blend) -> tuple[dict[str, float], dict[str, float], str]:
    """Weights that are 1 on average, temperatures and mean, short enough to be typed."""
    weights, found = blend.weights * len(models), blend.temperatures
    temperatures = {} if found is None else dict(zip(models, found.round(3).tolist(), strict=True))
    weights = dict(zip(models, weights.round(3).tolist(), strict=True))
    return weights, temperatures, "geometric" if blend.geometric else "arithmetic"


def choose(trials: Mapping[str, Trial], select: str = "auto") -> tuple[str, str]:
    """The method to use, and why; `auto` wants proof, anything else is simply taken."""
    if select != "auto":
        return select, f"{select} is taken as chosen: {_sentence(select, trials[select])}"
    found = {name: trials[name].comparison for name in METHODS if name in trials}
    best = max(found, key=lambda name: (found[name].low > 0, found[name].difference))
    why = _sentence(best, trials[best])
    if found[best].low > 0:
        return best, f"{best} is taken: {why}"
    return "equal", f"equal weights stay; the best challenger is {best}: {why}"


def _sentence(method: str, trial: Trial) -> str:
    needed = f"the best of {len(METHODS)} needs p below {ALPHA:g} / {len(METHODS)}"
    return f"{evidence.sentence(trial.comparison, method, 'against equal weights')} ({needed})"


def reweigh(ensemble: Ensemble, trials: Mapping[str, Trial]) -> Ensemble:
    """The ensemble with what its `select` takes from the search, and the nested probabilities.

    A member that held nothing out was not searched with and weighs 1, the mean of the others.
    """
    if ensemble.select == "equal":
        return ensemble
    if not trials:
        raise UserError(f"select={ensemble.select}: {lacking(ensemble)}")
    method, why = choose(trials, ensemble.select)
    trial = trials[method]
    members = [m._replace(weight=trial.weights.get(m.name, 1.0),
                          temperature=trial.temperatures.get(m.name, 1.0))
               for m in ensemble.members]
    if names := unmeasured(ensemble.members):
        why = f"{why}; held nothing out, so of weight 1, the others' mean: {some(names, 3)}"
    return ensemble._replace(members=members, valid=trial.probs, why=why, mean=trial.mean)


def search_text(ensemble: Ensemble, trials: Mapping[str, Trial]) -> str:
    """What the search decided, or would, and how to repeat it without one, a line each."""
    if not trials:
        return lacking(ensemble)
    if ensemble.select == "equal":
        return f"select auto would do this: {choose(trials)[1]}"
    usual = ("", "arithmetic")
    words = [f"--{name} {value}" for name, value in typed(ensemble).items() if value not in usual]
    return f"{ensemble.why}\nto repeat it: {' '.join(words)}"


def trials_table(trials: Mapping[str, Trial], labels: pd.Series) -> pd.DataFrame:
    """The search for a reader, a method a row, in images."""
    rows = []
    for name, trial in trials.items():
        error = error_cell(*wrong_of(trial.probs, labels))
        loss = f"{evidence.log_losses(trial.probs, labels).mean():.4f}"
        gain, verdict = "", "the incumbent"
        if trial.comparison:
            gain, verdict = evidence.gain_phrase(trial.comparison), _verdict(trial)
        rows.append([name, error, gain, loss, verdict])
    error = f"nested hold-out error ({INTERVAL})"
    columns = ["method", error, "more right than equal", "log-loss", "verdict"]
    return pd.DataFrame(rows, columns=columns)


def _verdict(trial: Trial) -> str:
    low, high = trial.comparison.low, trial.comparison.high
    found = "better" if low > 0 else "worse" if high < 0 else "no evidence"
    return found if trial.weights else f"{found}; a yardstick, no weights of members repeat it"
