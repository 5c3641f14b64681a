"""The ways to average the members: how much each one counts, which mean, which temperatures.

A method takes the hold-out and the rows to learn from, and returns a `Blend`. SciPy's optimisers
are imported by the functions that minimise: an average needs none.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from src.evidence import FLOOR, columns_of, join, mean_of

Tables = Mapping[str, pd.DataFrame]  # hold-out probabilities of the same images, by model
PICKS = 25  # of a bag of the greedy selection


class Holdout(NamedTuple):
    """The members on the images all of them held out; all in sorted order."""

    models: list[str]
    families: list[str]  # one per model
    images: pd.Index
    classes: pd.Index
    stack: np.ndarray  # (models, images, classes)
    truth: np.ndarray  # (images,), the column of each label


class Blend(NamedTuple):
    """What a method learnt."""

    weights: np.ndarray  # (models,), 1 in all
    temperatures: np.ndarray | None = None  # (models,), applied before the mean
    geometric: bool = False


def gather(tables: Tables, families: Mapping[str, str], labels: pd.Series) -> Holdout:
    """The `tables` as one stack, whatever the order they come in; `families`: model → family."""
    models = sorted(tables)
    first = tables[models[0]].sort_index().sort_index(axis=1)
    joined = join([first, *(tables[name] for name in models[1:])])
    stack = np.stack([table.to_numpy(dtype=np.float64) for table in joined])
    truth, kinds = columns_of(first, labels), [families[name] for name in models]
    return Holdout(models, kinds, first.index, first.columns, stack, truth)


def apply(blend: Blend, stack: np.ndarray) -> np.ndarray:
    """The probabilities (images, classes) that `blend` makes of the members' `stack`."""
    if blend.temperatures is not None:
        stack = with_temperature(stack, blend.temperatures[:, None, None])
    return mean_of(stack, blend.weights, blend.geometric)


def with_temperature(probs: np.ndarray, temperature: float | np.ndarray) -> np.ndarray:
    """`probs` (…, classes) with their logarithms divided by `temperature`."""
    logits = np.log(np.maximum(probs, FLOOR)) / temperature
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def equal(held: Holdout, rows: np.ndarray) -> Blend:
    """Every model counts the same; nothing is learnt."""
    return Blend(np.full(len(held.models), 1 / len(held.models)))


def geometric(held: Holdout, rows: np.ndarray) -> Blend:
    """The mean of logarithms; nothing is learnt."""
    return equal(held, rows)._replace(geometric=True)


def family_weights(held: Holdout, rows: np.ndarray) -> Blend:
    """One weight per family by log-loss, divided equally among its models."""
    share = pd.get_dummies(held.families, dtype=float).to_numpy().T  # (families, models)
    share = share / share.sum(axis=1, keepdims=True)
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
    rows = rows[(held.stack[:, rows].argmax(axis=2) != held.truth[rows]).any(axis=0)]
    if not len(rows):
        return equal(held, rows)
    random, models = np.random.default_rng(0), len(held.models)
    counts = np.zeros(models)
    for _ in range(20):
        bag = random.choice(models, (models + 1) // 2, replace=False)
        picks = forward(held.stack[np.ix_(bag, rows)], held.truth[rows])
        counts += np.bincount(bag[picks], minlength=models)
    return Blend(counts / counts.sum())


def forward(stack: np.ndarray, truth: np.ndarray) -> list[int]:
    """Members of `stack`, picked one by one for most images right and then the least log-loss."""
    total, picks = np.zeros_like(stack[0]), []
    for _ in range(PICKS):
        sums = total + stack
        of_label = sums[:, np.arange(len(truth)), truth]
        count = (of_label >= sums.max(axis=2)).sum(axis=1)
        likelihood = np.log(np.maximum(of_label, FLOOR)).mean(axis=1)
        picks.append(int(np.lexsort((likelihood, count))[-1]))
        total += stack[picks[-1]]
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

    logits = np.log(np.maximum(probs.T, FLOOR))  # (classes, images): summed faster
    logits -= logits[truth, np.arange(len(truth))]

    def _loss(log_temperature: float) -> float:
        return np.log(np.exp(logits * np.exp(-log_temperature)).sum(axis=0)).mean()

    found = minimize_scalar(_loss, bounds=np.log([0.1, 10]), options={"xatol": 0.01})
    return float(np.exp(found.x))


Method = Callable[[Holdout, np.ndarray], Blend]
WEIGHTS: dict[str, Method] = {"families": family_weights, "simplex": model_weights,
                              "greedy": greedy}  # they find weights alone
METHODS: dict[str, Method] = WEIGHTS | {"geometric": geometric, "temperature": temperatures}
SELECT = ("auto", "equal", *METHODS)  # the choices of --select
