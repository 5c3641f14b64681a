"""The ways to average the members: how much each one counts, which mean, which temperatures.

Arrays, not tables: `stack` (models, images, classes), `truth` (images,) the column of each label.
A method takes the hold-out and the rows to learn from, and returns a `Blend`. SciPy's optimisers
are imported by the functions that minimise: an average needs none.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from src.evidence import FLOOR, columns_of, join

BAGS, PICKS = 20, 25  # of the greedy selection
LOWEST, HIGHEST = 0.1, 10.0  # temperatures


class Holdout(NamedTuple):
    """The members on the images all of them held out; all in sorted order."""

    models: list[str]
    families: list[str]  # one per model
    images: pd.Index
    classes: pd.Index
    stack: np.ndarray  # (models, images, classes)
    truth: np.ndarray  # (images,)


class Blend(NamedTuple):
    """What a method learnt."""

    weights: np.ndarray  # (models,), 1 in all
    temperatures: np.ndarray | None = None  # (models,), applied before the mean
    geometric: bool = False


def gather(
    tables: Mapping[str, pd.DataFrame], families: Mapping[str, str], labels: pd.Series
) -> Holdout:
    """The `tables` (model → probabilities) as one stack, whatever the order they come in."""
    models = sorted(tables)
    first = tables[models[0]].sort_index().sort_index(axis=1)
    joined = join([first, *(tables[name] for name in models[1:])])
    stack = np.stack([table.to_numpy(dtype=np.float64) for table in joined])
    kinds = [families[name] for name in models]
    return Holdout(models, kinds, first.index, first.columns, stack, columns_of(first, labels))


def apply(blend: Blend, stack: np.ndarray) -> np.ndarray:
    """The probabilities (images, classes) that `blend` makes of the members' `stack`."""
    if blend.temperatures is not None:
        stack = with_temperature(stack, blend.temperatures[:, None, None])
    mixed = np.tensordot(blend.weights, logs(stack) if blend.geometric else stack, 1)
    return softmax(mixed) if blend.geometric else mixed / mixed.sum(axis=-1, keepdims=True)


def equal(held: Holdout, rows: np.ndarray) -> Blend:
    """Every model counts the same; nothing is learnt."""
    return Blend(np.full(len(held.models), 1 / len(held.models)))


def geometric(held: Holdout, rows: np.ndarray) -> Blend:
    """The mean of logarithms; nothing is learnt."""
    return equal(held, rows)._replace(geometric=True)


def family_weights(held: Holdout, rows: np.ndarray) -> Blend:
    """One weight per family by log-loss, divided equally among its models."""
    names = np.unique(held.families)
    share = (names[:, None] == np.array(held.families)).astype(float)  # (families, models)
    share /= share.sum(axis=1, keepdims=True)
    return Blend(simplex(share @ label_probs(held, rows)) @ share)


def model_weights(held: Holdout, rows: np.ndarray) -> Blend:
    """One weight per model by log-loss."""
    return Blend(simplex(label_probs(held, rows)))


def label_probs(held: Holdout, rows: np.ndarray) -> np.ndarray:
    """The probability each model gives the label of each of the `rows`: (models, images)."""
    return np.maximum(held.stack[:, rows, held.truth[rows]], FLOOR)


def simplex(likelihood: np.ndarray) -> np.ndarray:
    """Weights of 0 or more, 1 in all, whose mean of `likelihood` has the least log-loss.

    `likelihood` (members, images) of the labels is all that the log-loss of a mean depends on.
    """
    from scipy.optimize import minimize

    members, images = likelihood.shape

    def _loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        mean = np.maximum(weights @ likelihood, FLOOR)
        return -np.log(mean).mean(), -(likelihood @ (1 / mean)) / images

    total = {"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like}
    found = minimize(_loss, np.full(members, 1 / members), jac=True, method="SLSQP",
                     bounds=[(0, 1)] * members, constraints=total, options={"ftol": 1e-7})
    weights = np.clip(found.x, 0, 1)
    return weights / weights.sum()


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
        likelihood = np.log(np.maximum(sums, FLOOR)).mean(axis=1)  # above -17: less than an image
        pick = int((count + likelihood / 100).argmax())
        picks.append(pick)
        total += probs[:, pick : pick + 1]
        of_label += label[pick]
    return picks


def temperatures(held: Holdout, rows: np.ndarray) -> Blend:
    """The equal mean of members that each have their own temperature."""
    found = [fit_temperature(probs[rows], held.truth[rows]) for probs in held.stack]
    return equal(held, rows)._replace(temperatures=np.array(found))


def fit_temperature(probs: np.ndarray, truth: np.ndarray) -> float:
    """The temperature that gives `probs` (images, classes) the least log-loss (Guo et al. 2017).

    It is above 1 for an overconfident model. `truth` (images,) is the column of each label.
    """
    from scipy.optimize import minimize_scalar

    logits = logs(probs.T.astype(np.float32, order="C"))  # (classes, images): summed faster
    logits -= logits[truth, np.arange(len(truth))]

    def _loss(log_temperature: float) -> float:
        powers = np.exp(logits * np.float32(np.exp(-log_temperature)))
        return float(np.log(powers.sum(axis=0)).mean())

    bounds = np.log([LOWEST, HIGHEST])
    return float(np.exp(minimize_scalar(_loss, bounds=bounds, options={"xatol": 0.01}).x))


def with_temperature(probs: np.ndarray, temperature: float | np.ndarray) -> np.ndarray:
    """`probs` (…, classes) with their logarithms divided by `temperature`."""
    return softmax(logs(probs) / temperature)


def logs(probs: np.ndarray) -> np.ndarray:
    """Logarithms of `probs`, which count as FLOOR at least."""
    return np.log(np.maximum(probs, probs.dtype.type(FLOOR)))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities from `logits` (…, classes)."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


Method = Callable[[Holdout, np.ndarray], Blend]
# The choices of --select that are searched, in order of what they learn. The first three find
# weights alone, for --weights; the last two also set --mean or --temperatures.
WEIGHTS: dict[str, Method] = {
    "families": family_weights, "simplex": model_weights, "greedy": greedy,
}  # fmt: skip
METHODS: dict[str, Method] = WEIGHTS | {"geometric": geometric, "temperature": temperatures}
