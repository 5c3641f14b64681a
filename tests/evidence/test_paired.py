"""Two tables on the same images: counted by hand, and sentences that agree with their interval."""

import re
from itertools import product

import numpy as np
import pandas as pd
import pytest
from small_tables import probs_of

from src.compare import verdict
from src.core import UserError
from src.evidence import (
    ALPHA,
    LogLoss,
    compare,
    compare_log_loss,
    compare_repeats,
    comparison_of,
    gain_phrase,
    log_loss_phrase,
    sentence,
)  # fmt: skip
from src.evidence.paired import log_loss_of

IDS = [f"{number}.jpg" for number in range(200)]
LABELS = pd.Series("blast", IDS)


def probs(ids, wrong=(), certainty=0.8):
    """Probabilities of the images `ids`, all of them blast, right but for those in `wrong`."""
    return probs_of({i: 1 - certainty if i in set(wrong) else certainty for i in ids})


def comparison(gained, lost, images=2081, alpha=ALPHA):
    """A comparison with these counts."""
    return comparison_of(np.repeat([1, -1, 0], [gained, lost, images - gained - lost]), alpha=alpha)


# One training


def test_a_comparison_counts_gained_and_lost_images():
    old, new = probs(IDS[:10], IDS[6:10]), probs(IDS[:10], [IDS[5], IDS[9]])
    c = compare(new, old, LABELS)
    assert (c.images, c.gained, c.lost, c.difference) == (10, 3, 1, 2)
    # 2 × (1 + 4) / 16
    assert c.p == pytest.approx(0.625)
    # two images fewer at -log 0.2, two more at -log 0.8, over ten
    log_loss = compare_log_loss(new, old, LABELS)
    assert log_loss.difference == pytest.approx(-0.2 * np.log(4))
    assert log_loss.low < log_loss.difference < log_loss.high


def test_a_comparison_turned_round_changes_only_signs():
    old, new = probs(IDS[:100], IDS[60:100]), probs(IDS[:100], IDS[:10])
    there, back = compare(new, old, LABELS), compare(old, new, LABELS)
    assert (there.gained, there.lost) == (back.lost, back.gained) == (40, 10)
    assert there.p == pytest.approx(back.p) and there.decided and back.decided
    assert (there.low, there.high) == (-back.high, -back.low)


def test_only_images_that_both_held_out_count():
    old, new = probs(IDS[:8]), probs(IDS[1:5], [IDS[1], IDS[4]])
    c = compare(new.sample(frac=1, random_state=0), old, LABELS)
    assert (c.images, c.gained, c.lost) == (4, 0, 2)


def test_nothing_in_common_and_other_classes_are_refused():
    old = probs(IDS[:2])
    with pytest.raises(UserError, match="no image was held out by both; compare models of the"):
        compare(old.iloc[:1], old.iloc[1:], LABELS)
    with pytest.raises(UserError, match="different classes"):
        compare(old.set_axis(["blast", "hispa"], axis=1), old, LABELS)


def test_the_interval_of_a_log_loss_is_about_two_standard_errors_wide_and_repeats():
    found = log_loss_of(np.repeat([0.0, 1.0], 200))
    # standard error 0.5 / sqrt(400) = 0.025
    assert found == pytest.approx((0.5, 0.451, 0.549), abs=0.006)
    assert found == log_loss_of(np.repeat([0.0, 1.0], 200))


# Several trainings


def test_one_training_is_compared_as_ever():
    new, old = probs(IDS, IDS[:5]), probs(IDS, IDS[3:20])
    many, log_loss = compare_repeats([(new, old)], LABELS)
    assert many == compare(new, old, LABELS)
    assert log_loss.difference == pytest.approx(compare_log_loss(new, old, LABELS).difference)


def test_trainings_of_other_images_add_up():
    halves = IDS[:100], IDS[100:]
    pairs = [(probs(ids, ids[:2]), probs(ids, ids[2:12])) for ids in halves]
    assert compare_repeats(pairs, LABELS)[0] == comparison(20, 4, 200)


def test_the_same_images_five_times_are_not_five_times_the_evidence():
    new, old = probs(IDS, IDS[:2]), probs(IDS, IDS[2:11])
    once, log_loss = compare_repeats([(new, old)], LABELS)
    five, same = compare_repeats([(new, old)] * 5, LABELS)
    assert five.difference == 5 * once.difference == 35
    assert five.p == pytest.approx(once.p)  # 9 images for it, 2 against it, however often predicted
    assert five.low == pytest.approx(5 * once.low, abs=5)
    assert five.high == pytest.approx(5 * once.high, abs=5)
    assert five.decided == once.decided
    assert same == pytest.approx(log_loss)


def test_an_image_counts_by_its_gain_over_all_trainings():
    # Of four images one became right in both trainings, one in one of them, one wrong in one.
    old = probs(IDS[:4], IDS[:2])
    pairs = [(probs(IDS[:4]), old), (probs(IDS[:4], [IDS[1], IDS[2]]), old)]
    c, _ = compare_repeats(pairs, LABELS)
    assert (c.images, c.gained, c.lost) == (8, 3, 1)
    assert c.p == pytest.approx(2 * 3 / 8)  # of 2, 1 and −1: +2 +1 +1, +2 +1 −1 and +2 −1 +1


def test_rows_and_columns_may_come_in_any_order():
    new, old = probs(IDS, IDS[:2]), probs(IDS, IDS[2:30])
    turned = old.iloc[::-1, ::-1]
    assert compare_repeats([(new, turned)], LABELS) == compare_repeats([(new, old)], LABELS)


# The sentences


def test_a_difference_within_chance_is_called_no_evidence():
    assert sentence(comparison(20, 16), "TTA", "vit_small_squish_224") == (
        "+4 of 2,081 images (95 % −8 … +15, p 0.62): no evidence that TTA helps "
        "vit_small_squish_224"
    )


def test_a_clear_gain_helps_and_a_clear_loss_hurts():
    helps, hurts = (sentence(comparison(*c), "TTA", "swin") for c in ((40, 10), (10, 40)))
    assert helps == (
        "+30 of 2,081 images (95 % +17 … +39, p 2.4e-05): evidence that TTA helps swin"
    )
    assert hurts == (
        "−30 of 2,081 images (95 % −39 … −17, p 2.4e-05): evidence that TTA hurts swin"
    )


def test_a_stricter_level_is_shown_with_its_interval():
    assert gain_phrase(comparison(9, 1)) == "+8 (95 % +2 … +9, p 0.021)"
    assert gain_phrase(comparison(9, 1, alpha=ALPHA / 6)) == "+8 (99.2 % −1 … +9, p 0.021)"


@pytest.mark.parametrize(
    ("counts", "result"),
    [((3, 2), "the difference cannot be told from zero"), ((30, 0), "b is better than a"),
     ((0, 30), "b is worse than a")],
)
def test_the_verdict_names_the_better_row_only_where_it_is_decided(counts, result):
    text = verdict(comparison(*counts), LogLoss(0, 0, 0), "a", "b")
    assert re.fullmatch(rf"\S+ predictions \(95 % .*\): {result}; log-loss 0 .*", text)


@pytest.mark.parametrize("alpha", [ALPHA, ALPHA / 6])
def test_no_sentence_contradicts_its_interval_or_its_p(alpha):
    for gained, lost in product(range(0, 40, 3), range(0, 24, 2)):
        c = comparison(gained, lost, alpha=alpha)
        for text in (sentence(c, "TTA", "swin"), verdict(c, LogLoss(0, 0, 0), "a", "b")):
            low, high, p = re.search(r" % (\S+) … (\S+), p ([\d.e-]+)\)", text).groups()
            low, high = (int(bound.replace("−", "-")) for bound in (low, high))
            proven = not re.search("no evidence|cannot be told from zero", text)
            assert proven == (not low <= 0 <= high) == (float(p) < alpha), text
            assert low <= c.difference <= high


@pytest.mark.parametrize(("high", "shown"), [(0.004, "+0.0040"), (-0.00003, "−0.00003")])
def test_a_log_loss_has_a_true_minus_and_shows_on_which_side_of_zero_a_bound_is(high, shown):
    text = log_loss_phrase(LogLoss(-0.0123, -0.02, high))
    assert text == f"log-loss −0.0123 per image (95 % −0.0200 … {shown})"


def test_gains_of_thousands_fit_into_a_table():
    assert gain_phrase(comparison(0, 1204)) == "−1,204 (95 % −1,204 … −1,197, p 0)"
