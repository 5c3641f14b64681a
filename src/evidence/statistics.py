"""Errors counted in images, and two tables of probabilities compared on the same images.

`scipy.stats` takes half a second to import, so only the functions that need it do.
"""

from collections.abc import Callable, Sequence
from functools import partial
from math import ceil, log, log1p
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import gammaln

from src.core import UserError
from src.evidence.probabilities import FLOOR, join

ALPHA = 0.05
FEWEST_IMAGES = 50  # in common; fewer cannot tell one model, or one weight, from another


class Comparison(NamedTuple):
    """A new table of probabilities against an old one, on the same held-out images."""

    images: int
    gained: int  # images the new one has right and the old one wrong
    lost: int  # the other way round
    p: float  # of the exact sign test, two-sided
    low: int  # interval of gained - lost, in images: what the same test does not reject
    high: int
    alpha: float = ALPHA  # the interval's level is 1 - alpha

    @property
    def difference(self) -> int:
        """How many more images the new one has right."""
        return self.gained - self.lost

    @property
    def decided(self) -> bool:
        """Whether the interval excludes zero, which is when p is below alpha."""
        return self.low > 0 or self.high < 0


class LogLoss(NamedTuple):
    """A new table's log-loss less an old one's, in nats per image: below 0 is better."""

    difference: float
    low: float  # 95 % interval, a bootstrap over images
    high: float


def right(probs: pd.DataFrame, labels: pd.Series) -> np.ndarray:
    """Per image of `probs`, whether the most probable class is its label."""
    return probs.to_numpy().argmax(axis=1) == columns_of(probs, labels)


def log_losses(probs: pd.DataFrame, labels: pd.Series) -> np.ndarray:
    """Per image of `probs`, −log of the probability of its label, in nats."""
    chosen = probs.to_numpy(dtype=np.float64)[np.arange(len(probs)), columns_of(probs, labels)]
    return -np.log(np.clip(chosen, FLOOR, 1))


def columns_of(probs: pd.DataFrame, labels: pd.Series) -> np.ndarray:
    """The column number of each image's label."""
    truth = probs.columns.get_indexer(labels.reindex(probs.index))
    if (truth < 0).any():
        image = probs.index[truth < 0][0]
        label = labels.get(image, "(none)")
        raise UserError(f"{image} has the label {label}, which is no class of the model",
                        "train it again on these labels")
    return truth


def wrong_of(probs: pd.DataFrame, labels: pd.Series) -> tuple[int, int]:
    """How many images of `probs` are wrong, of how many."""
    return int((~right(probs, labels)).sum()), len(probs)


def too_few(images: int) -> bool:
    """Whether so few images that all members held out compare nothing."""
    return images < FEWEST_IMAGES


def wilson(wrong: int, images: int) -> tuple[float, float]:
    """95 % interval of an error rate (Wilson 1927), sound for few images and for none wrong."""
    from scipy.stats import binomtest

    low, high = binomtest(wrong, images).proportion_ci(1 - ALPHA, method="wilson")
    return float(low), float(high)


def compare(
    new: pd.DataFrame, old: pd.DataFrame, labels: pd.Series, alpha: float = ALPHA
) -> Comparison:
    """`new` against `old` on the images that both have; `labels`: image_id → label."""
    common = new.index.intersection(old.index)
    pair = join([new.loc[common], old.loc[common]])
    return comparison_of(_gains(right, [pair], labels), alpha)


def compare_repeats(
    pairs: Sequence[Sequence[pd.DataFrame]], labels: pd.Series
) -> tuple[Comparison, LogLoss]:
    """The `pairs` (new, old) of one or more trainings as one comparison, counted in predictions.

    Test and intervals take whole images: one held out several times is one piece of evidence.
    """
    joined = [join(pair) for pair in pairs]
    gains, losses = (_gains(score, joined, labels) for score in (right, log_losses))
    return comparison_of(gains), log_loss_of(losses)


def comparison_of(gains: pd.Series, alpha: float = ALPHA) -> Comparison:
    """The comparison of predictions that became right (1), wrong (−1) or neither, by image."""
    gained, lost = int((gains == 1).sum()), int((gains == -1).sum())
    tested = sign_test(gains.groupby(level=0).sum().to_numpy(dtype=int), alpha)
    return Comparison(len(gains), gained, lost, *tested, alpha)


def log_loss_of(differences: pd.Series) -> LogLoss:
    """The mean of the `differences`, by image, and its percentile interval; one image has none."""
    from scipy.stats import bootstrap

    mean = differences.groupby(level=0).mean().to_numpy()
    if len(mean) == 1:  # which scipy refuses; every sample of it is the image itself
        return LogLoss(float(mean[0]), float(mean[0]), float(mean[0]))
    low, high = bootstrap(  # five samples at a time fit into the cache
        (mean,), np.mean, n_resamples=1_000, batch=5, method="percentile", rng=0
    ).confidence_interval
    return LogLoss(float(mean.mean()), float(low), float(high))


def _gains(score: Callable, pairs: Sequence, labels: pd.Series) -> pd.Series:
    """How much higher the new table of each pair scores than the old, by image."""
    return pd.concat(
        pd.Series(score(new, labels) * 1.0 - score(old, labels), new.index) for new, old in pairs
    )


def sign_test(gains: np.ndarray, alpha: float) -> tuple[float, int, int]:
    """The two-sided p-value of `gains`, and the whole numbers at the ends of their interval.

    A gain is how many predictions of an image became right, less those that became wrong. The exact
    test is whether a fair coin gave every gain its sign; the interval holds the sums expected of
    the other coins that it does not reject, so it excludes 0 exactly when p is below `alpha`.
    With gains of 1 and −1 alone, these are McNemar's exact test and Clopper and Pearson's interval,
    which scipy's `binomtest` has; but the gains of several seeds are whole numbers (+3, −2), and
    their sum is not binomial.
    """
    sizes, counts = np.unique(np.abs(gains[gains != 0]), return_counts=True)
    tails = [partial(_tail, sizes, counts, side[side > 0].sum()) for side in (gains, -gains)]
    p = min(1.0, 2 * min(tail(0.5) for tail in tails))
    total = int(np.abs(gains).sum())
    low, high = (ceil((2 * _rejected(tail, alpha / 2) - 1) * total) for tail in tails)
    return p, low, -high


def _tail(sizes: np.ndarray, counts: np.ndarray, least: int, share: float) -> float:
    """The chance that the sizes won sum to `least` or more, each won in a `share` of tosses."""
    chances = np.ones(1)  # of the sums 0, 1, …
    for size, count in zip(sizes, counts, strict=True):
        won = np.arange(count + 1)
        log_ways = gammaln(count + 1) - gammaln(won + 1) - gammaln(count - won + 1)
        gained = np.zeros(size * count + 1)
        gained[::size] = np.exp(log_ways + won * log(share) + (count - won) * log1p(-share))
        chances = np.convolve(chances, gained)
    return float(chances[least:].sum())


def _rejected(tail: Callable[[float], float], level: float) -> float:
    """The greatest share whose `tail` is below `level`; one half is tried first, as p is found."""
    low, high = 0.0, 1.0
    for _ in range(40):  # what is left then is less than a millionth of an image
        middle = (low + high) / 2
        low, high = (middle, high) if tail(middle) < level else (low, middle)
    return low


def same_mix(counts: pd.Series, known: pd.Series) -> float:
    """p-value of the chi-square test that both count the same mix of classes.

    Both are samples. Classes expected fewer than five times are taken together (Cochran's rule).
    """
    from scipy.stats import chi2_contingency

    rare = known / known.sum() * counts.sum() < 5
    table = np.array([[*c[~rare], c[rare].sum()] for c in (counts, known)])
    return float(chi2_contingency(table[:, table.any(axis=0)], correction=False).pvalue)


def images_right(score: float | str, images: int | None) -> int:
    """How many of `images` a score of five digits stands for."""
    if not images:
        raise UserError("params.yaml, competition: the images of this score are not known",
                        "give public and private their numbers there")
    value = pd.to_numeric(score, errors="coerce")
    count = round(value * images) if 0 <= value <= 1 else -1
    # Kaggle cuts the score off after five digits (2,571 of 2,601 is shown as 0.98846, not 0.98847).
    if not -0.5e-5 <= count / images - value + 1e-12 < 1e-5:
        raise UserError(f"score {score} is no whole number of {images:,} images",
                        "give all five digits, the public score first")
    return count
