"""Two tables on the same images: counted by hand, tested exactly, phrased as their interval is."""

import re
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from small_tables import probs_of

from src.compare import verdict
from src.evidence import (
    ALPHA,
    LogLoss,
    compare,
    compare_repeats,
    comparison_of,
    gain_phrase,
    log_loss_phrase,
    sentence,
)  # fmt: skip
from src.evidence.statistics import log_loss_of, sign_test

IDS = [f"{number}.jpg" for number in range(200)]
LABELS = pd.Series("blast", IDS)


def probs(ids, wrong=(), certainty=0.8):
    """Probabilities of the images `ids`, all of them blast, right but for those in `wrong`."""
    return probs_of({i: 1 - certainty if i in set(wrong) else certainty for i in ids})


def gains_of(gained, lost, unchanged=7):
    return np.repeat([1, -1, 0], [gained, lost, unchanged])


def comparison(gained, lost, images=2081, alpha=ALPHA):
    return comparison_of(pd.Series(gains_of(gained, lost, images - gained - lost)), alpha)


# One training


def test_a_comparison_counts_gained_and_lost_images():
    old, new = probs(IDS[:10], IDS[6:10]), probs(IDS[:10], [IDS[5], IDS[9]])
    c = compare(new, old, LABELS)
    assert (c.images, c.gained, c.lost, c.difference) == (10, 3, 1, 2)
    # 2 × (1 + 4) / 16
    assert c.p == pytest.approx(0.625)
    # two images fewer at -log 0.2, two more at -log 0.8, over ten
    _, log_loss = compare_repeats([(new, old)], LABELS)
    assert log_loss.difference == pytest.approx(-0.2 * np.log(4))
    assert log_loss.low < log_loss.difference < log_loss.high


def test_one_image_is_its_own_interval():
    found, log_loss = compare_repeats([(probs(IDS[:1]), probs(IDS[:1], IDS[:1]))], LABELS)
    assert found.difference == 1
    assert log_loss == pytest.approx([-np.log(4)] * 3)


def test_only_images_that_both_held_out_count():
    old, new = probs(IDS[:8]), probs(IDS[1:5], [IDS[1], IDS[4]])
    c = compare(new.sample(frac=1, random_state=0), old, LABELS)
    assert (c.images, c.gained, c.lost) == (4, 0, 2)


def test_the_interval_of_a_log_loss_is_about_two_standard_errors_wide_and_repeats():
    differences = pd.Series(np.repeat([0.0, 1.0], 200))
    # standard error 0.5 / sqrt(400) = 0.025
    assert log_loss_of(differences) == pytest.approx((0.5, 0.451, 0.549), abs=0.006)
    assert log_loss_of(differences) == log_loss_of(differences)


def test_a_probability_of_zero_has_a_finite_log_loss():
    never, ever = (probs(IDS[:2], certainty=share) for share in (0.0, 1.0))
    assert compare_repeats([(never, ever)], LABELS)[1].difference == pytest.approx(np.log(1e7))


# Several trainings


def test_one_training_is_compared_as_ever_in_any_order_of_rows_and_columns():
    new, old = probs(IDS, IDS[:5]), probs(IDS, IDS[3:20])
    turned = compare_repeats([(new, old.iloc[::-1, ::-1])], LABELS)
    assert turned[0] == compare(new, old, LABELS)
    assert turned == compare_repeats([(new, old)], LABELS)


def test_the_same_images_five_times_are_not_five_times_the_evidence():
    new, old = probs(IDS, IDS[:2]), probs(IDS, IDS[2:11])
    once, log_loss = compare_repeats([(new, old)], LABELS)
    five, same = compare_repeats([(new, old)] * 5, LABELS)
    assert five.difference == 5 * once.difference == 35
    assert five.p == pytest.approx(once.p)  # 9 images for it, 2 against it, however often predicted
    assert (five.low, five.high) == pytest.approx((5 * once.low, 5 * once.high), abs=5)
    assert five.decided == once.decided
    assert same == pytest.approx(log_loss)


def test_an_image_counts_by_its_gain_over_all_trainings():
    # Of four images one became right in both trainings, one in one of them, one wrong in one.
    old = probs(IDS[:4], IDS[:2])
    pairs = [(probs(IDS[:4]), old), (probs(IDS[:4], [IDS[1], IDS[2]]), old)]
    c, _ = compare_repeats(pairs, LABELS)
    assert (c.images, c.gained, c.lost) == (8, 3, 1)
    assert c.p == pytest.approx(2 * 3 / 8)  # of 2, 1 and −1: +2 +1 +1, +2 +1 −1 and +2 −1 +1


# The exact test and its interval


@pytest.mark.parametrize("alpha", [0.05, 0.05 / 6])
@pytest.mark.parametrize(
    ("gained", "lost"), [(20, 16), (0, 1), (3, 3), (12, 0), (3000, 2900)]
)
def test_single_gains_are_tested_as_mcnemar_and_clopper_and_pearson_do(gained, lost, alpha):
    count = gained + lost
    known = binomtest(gained, count)
    low, high = ((2 * share - 1) * count for share in known.proportion_ci(1 - alpha))
    p, *interval = sign_test(gains_of(gained, lost), alpha)
    assert p == pytest.approx(known.pvalue, rel=1e-9)
    assert interval == [np.ceil(low), np.floor(high)]


def test_larger_gains_are_tested_by_the_signs_that_fair_coins_give_them():
    # Of the 8 signs of 3, 2 and 1: +3 +2 +1, and with +3 +2 −1 half as many as 4 or more.
    assert sign_test(np.array([3, 2, 1]), 0.05)[0] == pytest.approx(2 / 8)
    assert sign_test(np.array([3, 2, 0, -1]), 0.05)[0] == pytest.approx(2 * 2 / 8)
    # 3 − 2 − 1 = 0: as many ways lead above it as below
    assert sign_test(np.array([3, -2, -1]), 0.05)[0] == 1
    assert sign_test(np.zeros(50, dtype=int), 0.05) == (1.0, 0, 0)  # nothing is proved


def test_the_interval_excludes_zero_exactly_when_p_is_below_alpha_and_turns_with_the_signs():
    random, decided = np.random.default_rng(0), 0
    for drift in np.linspace(-0.25, 0.25, 60):  # of 40 images in several trainings
        signs = np.where(random.random(40) < 0.5 + drift, 1, -1)
        gains = signs * random.choice([0, 1, 1, 1, 2, 2, 3, 5], 40)
        p, low, high = sign_test(gains, 0.05)
        assert low <= gains.sum() <= high
        assert (low > 0 or high < 0) == (p < 0.05), (p, low, high)
        assert sign_test(-gains, 0.05) == (pytest.approx(p), -high, -low)
        decided += p < 0.05
    assert 10 < decided < 50


# The sentences


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        ((20, 16), "+4 of 2,081 images (95 % −8 … +15, p 0.62): no evidence that TTA helps swin"),
        ((40, 10), "+30 of 2,081 images (95 % +17 … +39, p 2.4e-05): evidence that TTA helps swin"),
        ((10, 40), "−30 of 2,081 images (95 % −39 … −17, p 2.4e-05): evidence that TTA hurts swin"),
    ],
)
def test_a_sentence_says_whether_there_is_evidence_and_of_what(counts, text):
    assert sentence(comparison(*counts), "TTA", "swin") == text


def test_a_table_shows_the_level_of_the_interval():
    assert gain_phrase(comparison(9, 1)) == "+8 (95 % +2 … +9, p 0.021)"
    assert gain_phrase(comparison(9, 1, alpha=ALPHA / 6)) == "+8 (99.2 % −1 … +9, p 0.021)"
    assert gain_phrase(comparison(42, 25)).endswith("p 0.0498)")  # not 0.05, which is no evidence
    assert gain_phrase(comparison(0, 1204)) == "−1,204 (95 % −1,204 … −1,197, p 0)"


def test_no_sentence_contradicts_its_interval_or_its_p():
    for gained, lost in product(range(0, 40, 6), range(0, 24, 3)):
        c = comparison(gained, lost)
        for text in (sentence(c, "TTA", "swin"), verdict(c, "a", "b")):
            low, high, p = re.search(r" % (\S+) … (\S+), p ([\d.e-]+)\)", text).groups()
            low, high = (int(bound.replace("−", "-")) for bound in (low, high))
            proven = not re.search("no evidence", text)
            assert proven == (not low <= 0 <= high) == (float(p) < ALPHA), text
            assert low <= c.difference <= high
        assert ("b is better than a" in text) == (c.low > 0)
        assert ("b is worse than a" in text) == (c.high < 0)


@pytest.mark.parametrize(("high", "shown"), [(0.004, "+0.004"), (-0.00003, "−3e−05"), (0, "0")])
def test_a_log_loss_shows_on_which_side_of_zero_a_bound_is(high, shown):
    text = log_loss_phrase(LogLoss(-0.0123, -0.02, high))
    assert text == f"log-loss −0.012 per image (less is better; 95 % −0.02 … {shown})"
