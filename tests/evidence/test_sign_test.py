"""The exact test of gains and its interval: they never disagree, and are what SciPy's are."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from src.evidence import sign_test


def gains_of(gained, lost, unchanged=7):
    """One image each: 1 where it was gained, −1 where it was lost."""
    return np.repeat([1, -1, 0], [gained, lost, unchanged])


@pytest.mark.parametrize(
    ("gained", "lost", "p"),
    [
        # twice the binomial tail of one half: 2 × (1 + 10) / 1024
        (9, 1, 22 / 1024),
        (1, 9, 22 / 1024),
        # 2 × 1 / 32
        (5, 0, 1 / 16),
        # 2 × (1 + 6 + 15) / 64
        (4, 2, 44 / 64),
        # more than one half on each side
        (3, 3, 1.0),
        (0, 0, 1.0),
    ],
)
def test_single_gains_are_tested_by_the_binomial_tail_doubled(gained, lost, p):
    assert sign_test(gains_of(gained, lost), 0.05)[0] == pytest.approx(p, rel=1e-12)


def test_larger_gains_are_tested_by_the_signs_that_fair_coins_give_them():
    # Of the 8 signs of 3, 2 and 1: +3 +2 +1, and with +3 +2 −1 half as many as 4 or more.
    assert sign_test(np.array([3, 2, 1]), 0.05)[0] == pytest.approx(2 / 8)
    assert sign_test(np.array([3, 2, 0, -1]), 0.05)[0] == pytest.approx(2 * 2 / 8)
    # 3 − 2 − 1 = 0: as many ways lead above it as below
    assert sign_test(np.array([3, -2, -1]), 0.05)[0] == 1


@pytest.mark.parametrize("alpha", [0.05, 0.05 / 6])
@pytest.mark.parametrize(("gained", "lost"), [(20, 16), (0, 1), (9, 1), (12, 0), (400, 330)])
def test_single_gains_have_clopper_and_pearsons_interval_in_whole_images(gained, lost, alpha):
    count = gained + lost
    known = binomtest(gained, count)
    low, high = ((2 * share - 1) * count for share in known.proportion_ci(1 - alpha))
    p, least, greatest = sign_test(gains_of(gained, lost), alpha)
    assert p == pytest.approx(known.pvalue, rel=1e-10)
    assert (least, greatest) == (np.ceil(low), np.floor(high))


def random_gains():
    """Nets of several trainings, many of them with a p close to 0.05."""
    random = np.random.default_rng(0)
    for drift in np.linspace(-0.25, 0.25, 30):
        signs = np.where(random.random(40) < 0.5 + drift, 1, -1)
        yield signs * random.choice([0, 1, 1, 1, 2, 2, 3, 5], 40)


def test_the_interval_excludes_zero_exactly_when_p_is_below_alpha():
    grid = [gains_of(*counts) for counts in product(range(0, 25, 2), range(12))]
    decided = 0
    for gains in [*grid, *random_gains()]:
        p, low, high = sign_test(gains, 0.05)
        assert low <= gains.sum() <= high
        assert (low > 0 or high < 0) == (p < 0.05), (p, low, high)
        decided += p < 0.05
    assert decided > 50


def test_turned_round_gains_turn_the_interval_round():
    for gains in list(random_gains())[::3]:
        p, low, high = sign_test(gains, 0.05)
        back = sign_test(-gains, 0.05)
        assert back[0] == pytest.approx(p) and back[1:] == (-high, -low)


@pytest.mark.parametrize("share", [0.5, 0.6, 0.9])
def test_the_interval_covers_the_true_sum_of_single_gains_often_enough(share):
    truth = round((2 * share - 1) * 40)
    covers = [low <= truth <= high for k in range(41)
              for _, low, high in [sign_test(gains_of(k, 40 - k), 0.05)]]
    assert binom.pmf(range(41), 40, share)[covers].sum() >= 0.95


def test_the_interval_covers_the_true_sum_of_unequal_gains_often_enough(share=0.75):
    sizes, counts = (1, 2, 3), (6, 3, 2)
    truth, covered = round((2 * share - 1) * 18), 0
    for heads in product(*(range(count + 1) for count in counts)):
        times = [k for n, count in zip(heads, counts, strict=True) for k in (n, count - n)]
        gains = np.repeat([sign * size for size in sizes for sign in (1, -1)], times)
        _, low, high = sign_test(gains, 0.05)
        covered += binom.pmf(heads, counts, share).prod() * (low <= truth <= high)
    assert covered >= 0.95


def test_no_gain_at_all_has_no_width_and_proves_nothing():
    assert sign_test(np.zeros(50, dtype=int), 0.05) == (1.0, 0, 0)


def test_thousands_of_differing_images_are_tested_as_exactly():
    # Normal approximation with continuity: z = 99 / sqrt(5900), p = 0.1975
    assert sign_test(gains_of(3000, 2900), 0.05)[0] == pytest.approx(0.1975, abs=2e-4)
