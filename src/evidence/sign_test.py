"""The exact sign test of gains by image, and the interval that inverts it.

The gain of an image is how many of its predictions became right, less those that became wrong:
1, 0 or −1 for one training, whole numbers for several. Tested is that every gain but 0 has its sign
by the toss of a fair coin. The interval holds the sums to be expected of those other coins that the
same test does not reject: it excludes 0 exactly when p is below `alpha`.

With gains of 1 and −1 alone, these are McNemar's exact test and Clopper and Pearson's interval.
"""

from collections.abc import Callable
from functools import partial
from math import ceil, log, log1p

import numpy as np
from scipy.special import gammaln

HALVINGS = 40  # of the interval from 0 to 1: what is left is less than a millionth of an image


def sign_test(gains: np.ndarray, alpha: float) -> tuple[float, int, int]:
    """Two-sided p-value of the whole `gains`, and the whole numbers at the ends of the interval.

    They lie inside it, so that 0 is between them just when the interval holds it.
    """
    sizes, counts = np.unique(np.abs(gains[gains != 0]), return_counts=True)
    ways = [_log_ways(count) for count in counts]
    tails = [partial(_tail, sizes, ways, int(side[side > 0].sum())) for side in (gains, -gains)]
    p = min(1.0, 2 * min(tail(0.5) for tail in tails))
    total = int(np.abs(gains).sum())
    low, high = (ceil((2 * _rejected(tail, alpha / 2) - 1) * total) for tail in tails)
    return p, low, -high


def _log_ways(count: int) -> np.ndarray:
    """The logarithms of how many ways there are of winning 0, 1, … of `count` tosses."""
    won = np.arange(count + 1)
    return gammaln(count + 1) - gammaln(won + 1) - gammaln(count - won + 1)


def _tail(sizes: np.ndarray, ways: list[np.ndarray], least: int, share: float) -> float:
    """The chance that the sizes won sum to `least` or more, each won in a `share` of tosses."""
    chances = np.ones(1)  # of the sums 0, 1, …
    for size, log_ways in zip(sizes, ways, strict=True):
        won, count = np.arange(len(log_ways)), len(log_ways) - 1
        gained = np.zeros(size * count + 1)
        gained[::size] = np.exp(log_ways + won * log(share) + (count - won) * log1p(-share))
        chances = np.convolve(chances, gained)
    return float(chances[least:].sum())


def _rejected(tail: Callable[[float], float], level: float) -> float:
    """The greatest share whose `tail` is below `level`; one half is tried first, as p is found."""
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if tail(middle) < level else (low, middle)
    return low
