"""Two tables of probabilities on the same images: the difference, its test and its interval.

Differences are counted in images and tested exactly (`sign_test`); those of log-losses, which no
test decides, have a bootstrap interval.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from src.core import UserError
from src.evidence.probabilities import join
from src.evidence.sign_test import sign_test
from src.evidence.statistics import ALPHA, log_losses, p_phrase, right, signed

DRAWS, BLOCK = 1_000, 5  # samples, and how many at a time: fewer calls, still in the cache
Pair = Sequence[pd.DataFrame]  # the new probabilities and the old, of the same images


@dataclass(frozen=True)
class Comparison:
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


def compare(
    new: pd.DataFrame, old: pd.DataFrame, labels: pd.Series, alpha: float = ALPHA
) -> Comparison:
    """`new` against `old` on the images both hold and `labels` (image_id → label) know."""
    new, old, labels = _common(new, old, labels)
    return comparison_of(right(new, labels) * 1 - right(old, labels), alpha=alpha)


def comparison_of(
    gains: np.ndarray, net: np.ndarray | None = None, alpha: float = ALPHA
) -> Comparison:
    """The comparison that `gains` of predictions are: 1 became right, −1 became wrong, 0 neither.

    Where some are of the same image, `net` has the sum for each image.
    """
    gained, lost = int((gains == 1).sum()), int((gains == -1).sum())
    return Comparison(
        len(gains), gained, lost, *sign_test(gains if net is None else net, alpha), alpha
    )


def compare_log_loss(
    new: pd.DataFrame, old: pd.DataFrame, labels: pd.Series, seed: int = 0
) -> LogLoss:
    """The log-loss of `new` less that of `old` on the images both hold and `labels` know."""
    new, old, labels = _common(new, old, labels)
    return log_loss_of(log_losses(new, labels) - log_losses(old, labels), seed)


def log_loss_of(differences: np.ndarray, seed: int = 0) -> LogLoss:
    """The mean of the `differences`, one per image, with its interval."""
    return LogLoss(float(differences.mean()), *interval_of_mean(differences, seed))


def compare_repeats(pairs: Sequence[Pair], labels: pd.Series) -> tuple[Comparison, LogLoss]:
    """The `pairs` of several trainings as one comparison, counted in predictions; and log-losses.

    An image held out in several trainings is one piece of evidence: test and intervals take whole
    images, with all their predictions.
    """
    joined = [join(pair) for pair in pairs]
    gains = _changes(right, joined, labels).astype(int)
    per_image = _changes(log_losses, joined, labels).groupby(level=0).mean()
    net = gains.groupby(level=0).sum()
    return comparison_of(gains.to_numpy(), net.to_numpy()), log_loss_of(per_image.to_numpy())


def _changes(score: Callable, pairs: Sequence[Pair], labels: pd.Series) -> pd.Series:
    """How much higher the new table of each pair scores than the old, by image."""
    return pd.concat(
        pd.Series(score(new, labels) * 1.0 - score(old, labels), new.index) for new, old in pairs
    )


def _common(
    new: pd.DataFrame, old: pd.DataFrame, labels: pd.Series
) -> tuple[pd.DataFrame, pd.DataFrame, pd.Series]:
    """Both tables and the labels of the images that all of them have, in one order."""
    common = new.index.intersection(old.index).intersection(labels.index)
    if not len(common):
        raise UserError("no image was held out by both; compare models of the same folds and seed")
    new, old = join([new.loc[common], old.loc[common]])
    return new, old, labels.reindex(new.index)


def sentence(c: Comparison, subject: str, whom: str) -> str:
    """`+4 of 2,081 images (95 % −8 … +15, p 0.62): no evidence that TTA helps vit_small`."""
    found = "evidence" if c.decided else "no evidence"
    verb = "hurts" if c.decided and c.difference < 0 else "helps"
    gain = f"{signed(c.difference)} of {c.images:,} images ({interval_phrase(c)})"
    return f"{gain}: {found} that {subject} {verb} {whom}"


def gain_phrase(c: Comparison) -> str:
    """`+4 (95 % −8 … +15, p 0.62)`: the cell of a table that compares."""
    return f"{signed(c.difference)} ({interval_phrase(c)})"


def interval_phrase(c: Comparison) -> str:
    """`95 % −8 … +15, p 0.62`."""
    level, p = f"{100 * (1 - c.alpha):.3g} %", p_phrase(c.p, c.alpha)
    return f"{level} {signed(c.low)} … {signed(c.high)}, p {p}"


def log_loss_phrase(found: LogLoss) -> str:
    """`log-loss −0.0123 per image (95 % −0.0201 … −0.0040)`; below 0 is better."""
    value, low, high = map(_nats, found)
    return f"log-loss {value} per image (95 % {low} … {high})"


def _nats(value: float) -> str:
    """Four decimals, or as many as show which side of zero `value` is on."""
    if not value:
        return "0"
    return f"{value:+.{max(4, math.ceil(-math.log10(abs(value))))}f}".replace("-", "−")


def interval_of_mean(values: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """95 % percentile interval of the mean of `values` under resampling of the images."""
    random = np.random.default_rng(seed)
    size = BLOCK, len(values)
    means = [random.choice(values, size).mean(axis=1) for _ in range(DRAWS // BLOCK)]
    low, high = np.quantile(means, [ALPHA / 2, 1 - ALPHA / 2])
    return float(low), float(high)
