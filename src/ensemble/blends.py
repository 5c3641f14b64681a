"""How the members' probabilities become one table: the blends that challenge the equal mean.

Arrays, not tables: `stack` (models, images, classes), `truth` (images,) the column of each label.
Every method takes the hold-out and the rows to learn from, and returns a `Blend`. SciPy is loaded
inside the functions that minimise: it takes longer than averaging does.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from src.core import UserError, nearest
from src.ensemble.temperature import fit_temperature, logs, softmax, temper, temper_table
from src.evidence import FLOOR, columns_of, join

BAGS, PICKS = 20, 25  # of the greedy selection


class Holdout(NamedTuple):
    """The members on the images all of them held out; all in sorted order."""

    models: list[str]
    families: list[str]  # one per model
    images: pd.Index
    classes: pd.Index
    stack: np.ndarray  # (models, images, classes)
    truth: np.ndarray  # (images,)


class Blend(NamedTuple):
    """What a method learnt: of weights alone, the weighted mean."""

    weights: np.ndarray  # (models,)
    temperatures: np.ndarray | None = None  # (models,); each member is tempered before the mean
    biases: np.ndarray | None = None  # (classes,); the mean is that of logarithms


def gather(
    tables: Mapping[str, pd.DataFrame], families: Mapping[str, str], labels: pd.Series
) -> Holdout:
    """The `tables` (model → probabilities) as one stack, whatever the order they come in."""
    models = sorted(tables)
    if missing := [name for name in models if name not in families]:
        raise UserError(f"no family for {missing[0]!r}; {nearest(missing[0], list(families))}")
    first = tables[models[0]].sort_index().sort_index(axis=1)
    joined = join([first, *(tables[name] for name in models[1:])])
    stack = np.stack([table.to_numpy(dtype=np.float64) for table in joined])
    kinds = [families[name] for name in models]
    return Holdout(models, kinds, first.index, first.columns, stack, columns_of(first, labels))


def calibrate(probs: pd.DataFrame, labels: pd.Series) -> tuple[float, pd.DataFrame]:
    """The temperature that fits `probs` to the `labels` best, and `probs` with it."""
    heat = fit_temperature(probs.to_numpy(), columns_of(probs, labels))
    return heat, temper_table(probs, heat)


def apply(blend: Blend, stack: np.ndarray) -> np.ndarray:
    """The probabilities (images, classes) that `blend` makes of the members' `stack`."""
    if blend.temperatures is not None:
        stack = temper(stack, blend.temperatures[:, None, None])
    if blend.biases is None:
        mixed = np.tensordot(blend.weights, stack, 1)
        return mixed / mixed.sum(axis=-1, keepdims=True)
    return softmax(np.tensordot(blend.weights, logs(stack), 1) + blend.biases)


def equal(held: Holdout, rows: np.ndarray) -> Blend:
    """The incumbent: every model weighs the same; nothing is learnt."""
    return Blend(np.full(len(held.models), 1 / len(held.models)))


def geometric(held: Holdout, rows: np.ndarray) -> Blend:
    """The mean of logarithms; nothing is learnt."""
    return equal(held, rows)._replace(biases=np.zeros(len(held.classes)))


def family_weights(held: Holdout, rows: np.ndarray) -> Blend:
    """One weight per family by log-loss, shared alike by its models."""
    names = np.unique(held.families)
    share = (names[:, None] == np.array(held.families)).astype(float)  # (families, models)
    share /= share.sum(axis=1, keepdims=True)
    return Blend(simplex(share @ own(held, rows)) @ share)


def simplex_weights(held: Holdout, rows: np.ndarray) -> Blend:
    """One weight per model by log-loss."""
    return Blend(simplex(own(held, rows)))


def simplex(likelihood: np.ndarray) -> np.ndarray:
    """Weights of 0 or more, summing to 1, whose mean has the least log-loss.

    `likelihood` (members, images) of the labels is all that the log-loss of a mean depends on.
    """
    from scipy.optimize import minimize

    members, images = likelihood.shape

    def _loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        mean = np.maximum(weights @ likelihood, FLOOR)
        return -np.log(mean).mean(), -(likelihood @ (1 / mean)) / images

    one = {"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like}
    found = minimize(_loss, np.full(members, 1 / members), jac=True, method="SLSQP",
                     bounds=[(0, 1)] * members, constraints=one, options={"ftol": 1e-7})
    return np.clip(found.x, 0, 1) / np.clip(found.x, 0, 1).sum()


def greedy(held: Holdout, rows: np.ndarray) -> Blend:
    """Forward selection with replacement by images right, in bags of half the models.

    Caruana et al., Ensemble Selection from Libraries of Models (2004) and Getting the Most Out of
    Ensemble Selection (2006).
    """
    # An image that all models have right is right in any mean of them; it decides nothing.
    wrong = held.stack[:, rows].argmax(axis=2) != held.truth[rows]
    rows = rows[wrong.any(axis=0)]
    if not len(rows):
        return equal(held, rows)
    # Classes first: the maximum over them is what takes the time.
    probs = held.stack[:, rows].transpose(2, 0, 1).astype(np.float32, order="C")
    random, models = np.random.default_rng(0), len(held.models)
    counts = np.zeros(models)
    for _ in range(BAGS):
        bag = random.choice(models, (models + 1) // 2, replace=False)
        counts += np.bincount(bag[forward(probs[:, bag], held.truth[rows])], minlength=models)
    return Blend(counts / counts.sum())


def forward(probs: np.ndarray, truth: np.ndarray) -> list[int]:
    """The members of `probs` (classes, members, images) picked one by one, with replacement.

    Each pick leaves most images right, and among equals the least log-loss.
    """
    label = np.ascontiguousarray(probs[truth, :, np.arange(len(truth))].T)  # (members, images)
    total, of_label, picks = np.zeros_like(probs[:, :1]), np.zeros_like(label[:1]), []
    for _ in range(PICKS):
        sums = of_label + label
        count = (sums >= (total + probs).max(axis=0)).sum(axis=1)
        likelihood = np.log(np.maximum(sums, FLOOR)).mean(axis=1)  # above -17: never worth an image
        pick = int((count + likelihood / 100).argmax())
        picks.append(pick)
        total += probs[:, pick : pick + 1]
        of_label += label[pick]
    return picks


def tempered(held: Holdout, rows: np.ndarray) -> Blend:
    """The equal mean of members that each have their own temperature."""
    heats = [fit_temperature(probs[rows], held.truth[rows]) for probs in held.stack]
    return equal(held, rows)._replace(temperatures=np.array(heats))


def stacked(held: Holdout, rows: np.ndarray) -> Blend:
    """Multinomial regression: one weight per model's logarithms and one bias per class.

    Ridge-regularised towards the geometric mean, as if each weight were known to ± its equal share
    and each bias to ± 1. scikit-learn's regression has a weight per model and class pair: 2,000 for
    20 models, ten times the time and more wrong on other images.
    """
    from scipy.optimize import minimize

    truth, classes, models = held.truth[rows], len(held.classes), len(held.models)
    features = logs(held.stack[:, rows].transpose(0, 2, 1).astype(np.float32, order="C"))
    features = features.reshape(models, -1)  # (models, classes x images)
    at = truth * len(rows) + np.arange(len(rows))

    def _loss(x: np.ndarray) -> tuple[float, np.ndarray]:
        weights = ((1 + x[:models]) / models).astype(np.float32)
        logits = (weights @ features).reshape(classes, -1) + x[models:, None].astype(np.float32)
        probs = softmax(logits, axis=0).ravel()
        # Not FLOOR, where the loss would stop following its own gradient.
        likelihood = np.maximum(probs[at], np.finfo(np.float32).tiny)
        value = -np.log(likelihood).sum(dtype=np.float64) + (x @ x) / 2
        probs[at] -= 1  # now the gradient by the logits
        slope = [features @ probs / models, probs.reshape(classes, -1).sum(axis=1)]
        return float(value), np.concatenate(slope).astype(np.float64) + x

    x = minimize(_loss, np.zeros(models + classes), jac=True, method="L-BFGS-B",
                 options={"maxiter": 60}).x
    return Blend((1 + x[:models]) / models, biases=x[models:])


def regression_weights(held: Holdout, rows: np.ndarray) -> Blend:
    """The model weights of `stacked`, those of 0 or more, for a plain mean.

    They shrink towards equal ones, and the errors of a mean follow them better than its log-loss.
    """
    weights = np.maximum(stacked(held, rows).weights, 0)
    return Blend(weights / weights.sum()) if weights.any() else equal(held, rows)


def own(held: Holdout, rows: np.ndarray) -> np.ndarray:
    """The probability each model gives the label of each of the `rows`: (models, images)."""
    return np.maximum(held.stack[:, rows, held.truth[rows]], FLOOR)


Method = Callable[[Holdout, np.ndarray], Blend]
# Whose result is weights for --weights; in order of what they learn.
PLAIN: dict[str, Method] = {
    "families": family_weights,
    "simplex": simplex_weights,
    "greedy": greedy,
    "regression": regression_weights,
}
# Whose result --mean and --temperatures tell.
MEAN_METHODS: dict[str, Method] = {"geometric": geometric, "temperature": tempered}
# Judged beside them as yardsticks: its biases of classes are no property of any member.
OTHERS: dict[str, Method] = {"stacking": stacked}
