"""Two tables of probabilities on the same images: the difference, its test and its interval.

Differences are counted in images and tested exactly (`sign_test`); those of log-losses, which no
test decides, have a bootstrap interval.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from src.core import UserError
from src.evidence.probabilities import join
from src.evidence.sign_test import sign_test
from src.evidence.statistics import ALPHA, log_losses, right

DRAWS, BATCH = 1_000, 5  # bootstrap samples, and how many at a time: five fit into the cache
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
    """`new` against `old` on the images that both and `labels` (image_id → label) have."""
    return comparison_of(_changes(right, [_common(new, old, labels)], labels), alpha=alpha)


def compare_log_loss(new: pd.DataFrame, old: pd.DataFrame, labels: pd.Series) -> LogLoss:
    """The log-loss of `new` less that of `old` on the images that both and `labels` have."""
    return log_loss_of(_changes(log_losses, [_common(new, old, labels)], labels))


def compare_repeats(pairs: Sequence[Pair], labels: pd.Series) -> tuple[Comparison, LogLoss]:
    """The `pairs` of several trainings as one comparison, counted in predictions; and log-losses.

    An image held out in several trainings is one piece of evidence: test and intervals take whole
    images, with all their predictions.
    """
    joined = [join(pair) for pair in pairs]
    gains, losses = (_changes(score, joined, labels) for score in (right, log_losses))
    net = gains.groupby(level=0).sum()
    return comparison_of(gains, net), log_loss_of(losses.groupby(level=0).mean())


def comparison_of(
    gains: np.ndarray | pd.Series, net: pd.Series | None = None, alpha: float = ALPHA
) -> Comparison:
    """The comparison that `gains` of predictions are: 1 became right, −1 became wrong, 0 neither.

    Where some are of the same image, `net` has the sum for each image.
    """
    tested = np.asarray(gains if net is None else net, dtype=int)
    gained, lost = int((gains == 1).sum()), int((gains == -1).sum())
    return Comparison(len(gains), gained, lost, *sign_test(tested, alpha), alpha)


def log_loss_of(differences: np.ndarray | pd.Series) -> LogLoss:
    """The mean of the `differences`, one per image, and its percentile interval."""
    from scipy.stats import bootstrap

    sample = (np.asarray(differences),)
    settings = {"n_resamples": DRAWS, "batch": BATCH, "method": "percentile", "rng": 0}
    mean = float(sample[0].mean())
    if len(sample[0]) == 1:  # nothing to draw from
        return LogLoss(mean, mean, mean)
    low, high = bootstrap(sample, np.mean, **settings).confidence_interval
    return LogLoss(mean, float(low), float(high))


def _changes(score: Callable, pairs: Sequence[Pair], labels: pd.Series) -> pd.Series:
    """How much higher the new table of each pair scores than the old, by image."""
    return pd.concat(
        pd.Series(score(new, labels) * 1.0 - score(old, labels), new.index) for new, old in pairs
    )


def _common(new: pd.DataFrame, old: pd.DataFrame, labels: pd.Series) -> Pair:
    """Both tables, cut to the images that they and the labels have."""
    common = new.index.intersection(old.index).intersection(labels.index)
    if not len(common):
        raise UserError("no image was held out by both; compare models of the same folds and seed")
    return join([new.loc[common], old.loc[common]])
