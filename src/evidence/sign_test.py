"""The exact sign test of gains by image, and the interval that inverts it.

The gain of an image is how many of its predictions became right, less those that became wrong:
1, 0 or −1 for one training, whole numbers for several. Tested is that every gain but 0 has its sign
by the toss of a fair coin. The interval holds the sums to be expected of those other coins that the
same test does not reject: it excludes 0 exactly when p is below `alpha`.

With gains of 1 and −1 alone, these are McNemar's exact test and Clopper and Pearson's interval.
"""

from collections.abc import Callable
from math import ceil, floor, log, log1p

import numpy as np
from scipy.special import gammaln

HALVINGS = 40  # of the interval from 0 to 1: what is left is less than a millionth of an image


def sign_test(gains: np.ndarray, alpha: float) -> tuple[float, int, int]:
    """Two-sided p-value of the `gains`, and the whole numbers at the ends of the interval.

    They lie inside it, so that 0 is between them just when the interval holds it.
    """
    sizes, counts = np.unique(np.abs(gains[gains != 0]), return_counts=True)
    ways = [_log_ways(count) for count in counts]
    won, total = int(gains[gains > 0].sum()), int(np.abs(gains).sum())

    def _tails(share: float) -> tuple[float, float]:
        chances = _distribution(sizes, ways, share)
        return chances[: won + 1].sum(), chances[won:].sum()

    least, _ = _crossing(lambda share: _tails(share)[1] < alpha / 2)
    _, greatest = _crossing(lambda share: _tails(share)[0] >= alpha / 2)
    low, high = ((2 * share - 1) * total for share in (least, greatest))
    return min(1.0, 2 * float(min(_tails(0.5)))), ceil(low), floor(high)


def _log_ways(count: int) -> np.ndarray:
    """The logarithms of how many ways there are of winning 0, 1, … of `count` tosses."""
    won = np.arange(count + 1)
    return gammaln(count + 1) - gammaln(won + 1) - gammaln(count - won + 1)


def _distribution(sizes: np.ndarray, ways: list[np.ndarray], share: float) -> np.ndarray:
    """The chances of 0, 1, … as the sum of the sizes won, each won in a `share` of tosses."""
    chances = np.ones(1)
    for size, log_ways in zip(sizes, ways, strict=True):
        won, count = np.arange(len(log_ways)), len(log_ways) - 1
        gained = np.zeros(size * count + 1)
        gained[::size] = np.exp(log_ways + won * log(share) + (count - won) * log1p(-share))
        chances = np.convolve(chances, gained)
    return chances


def _crossing(below: Callable[[float], bool]) -> tuple[float, float]:
    """Floats on both sides of where `below` turns from true to false between 0 and 1.

    One half is tried first: on which side of it the crossing lies is decided as the p-value is.
    """
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if below(middle) else (low, middle)
    return low, high
