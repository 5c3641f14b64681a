"""Comparisons and errors in images, against numbers worked by hand."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from src.config import ROOT, UserError
from src.evidence import (
    Comparison,
    chi_square_tail,
    compare,
    error_phrase,
    gain_phrase,
    interval_of_gain,
    interval_of_mean,
    log_loss_phrase,
    mcnemar,
    same_mix,
    sentence,
    signed,
    wilson,
    wrong_of,
)

LABELS = pd.Series("blast", [f"{number}.jpg" for number in range(100)])


def probs_of(right, certainty=0.8):
    """Two classes; image i is right where `right[i]`, the label always being blast."""
    chance = np.where(right, certainty, 1 - certainty)
    table = np.column_stack([chance, 1 - chance])
    return pd.DataFrame(table, index=LABELS.index[: len(right)], columns=["blast", "normal"])


def comparison(gained, lost, images=2081):
    """A comparison with these counts and no difference in log-loss."""
    low, high = interval_of_gain(gained, lost, images)
    return Comparison(images, gained, lost, mcnemar(gained, lost), low, high, 0.0, -0.01, 0.01)


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
def test_mcnemar_is_the_exact_binomial_tail_doubled(gained, lost, p):
    assert mcnemar(gained, lost) == pytest.approx(p, rel=1e-15)


def test_mcnemar_holds_for_thousands_of_differing_images():
    # Normal approximation with continuity: z = 99 / sqrt(5900), p = 0.1975
    assert mcnemar(3000, 2900) == pytest.approx(0.1975, abs=2e-4)


def test_the_wilson_interval_of_none_wrong_is_the_closed_form():
    # z² / (n + z²) with z = 1.959964
    low, high = wilson(0, 100)
    assert low == 0 and high == pytest.approx(3.841459 / 103.841459, rel=1e-6)


def test_the_wilson_interval_of_one_half_is_symmetric():
    # 0.5 ± z × sqrt(n / 4 + z² / 4) / (n + z²) for n = 100
    low, high = wilson(50, 100)
    half = 1.959964 * (25 + 3.841459 / 4) ** 0.5 / 103.841459
    assert (low, high) == pytest.approx((0.5 - half, 0.5 + half), rel=1e-6)


def test_an_error_is_told_in_images_with_its_interval():
    assert error_phrase(37, 2081) == "37 of 2,081 wrong (1.78 %, 95 % 1.29 … 2.44 %)"
    assert error_phrase(0, 100) == "0 of 100 wrong (0.00 %, 95 % 0.00 … 3.70 %)"
    assert error_phrase(0, 0) == "no hold-out, so no error is known"


def test_wrong_images_are_counted_by_name():
    probs = probs_of([True, False, True]).iloc[::-1, ::-1]
    assert wrong_of(probs, LABELS) == (1, 3)
    other = pd.Series({"0.jpg": "normal", "1.jpg": "normal", "2.jpg": "normal"})
    assert wrong_of(probs, other) == (2, 3)


def test_a_label_that_is_no_class_or_is_lacking_is_refused():
    with pytest.raises(UserError, match="1.jpg has the label hispa, which is no class"):
        wrong_of(probs_of([True, True]), pd.Series({"0.jpg": "blast", "1.jpg": "hispa"}))
    with pytest.raises(UserError, match=r"1.jpg has the label \(none\)"):
        wrong_of(probs_of([True, True]), pd.Series({"0.jpg": "blast"}))


def test_a_comparison_counts_gained_and_lost_images():
    old = probs_of([True] * 6 + [False] * 4)
    new = probs_of([True] * 5 + [False] + [True] * 3 + [False])
    c = compare(new, old, LABELS)
    assert (c.images, c.gained, c.lost, c.difference) == (10, 3, 1, 2)
    # 2 × (1 + 4) / 16
    assert c.p == pytest.approx(0.625)
    # two images fewer at -log 0.2, two more at -log 0.8, over ten
    assert c.log_loss == pytest.approx(-0.2 * np.log(4))
    assert c.log_loss_low < c.log_loss < c.log_loss_high


def test_a_comparison_turned_round_changes_only_signs():
    old, new = probs_of([True] * 60 + [False] * 40), probs_of([False] * 10 + [True] * 90)
    there, back = compare(new, old, LABELS), compare(old, new, LABELS)
    assert (there.gained, there.lost) == (back.lost, back.gained) == (40, 10)
    assert there.p == back.p and there.log_loss == -back.log_loss
    assert there.decided and back.decided


def test_only_images_that_both_held_out_count():
    old, new = probs_of([True] * 8), probs_of([True, False, True, True, False]).iloc[1:]
    c = compare(new.sample(frac=1, random_state=0), old, LABELS)
    assert (c.images, c.gained, c.lost) == (4, 0, 2)


def test_nothing_in_common_and_other_classes_are_refused():
    old = probs_of([True, True])
    with pytest.raises(UserError, match="no image was held out by both; compare models of the"):
        compare(old.iloc[:1], old.iloc[1:], LABELS)
    with pytest.raises(UserError, match="different classes"):
        compare(old.set_axis(["blast", "hispa"], axis=1), old, LABELS)


def test_the_bootstrap_interval_is_that_of_resampled_images():
    gained, lost, images = 20, 16, 2081
    changes = np.repeat([1, -1, 0], [gained, lost, images - gained - lost])
    random = np.random.default_rng(5)
    sums = [random.choice(changes, images).sum() for _ in range(2000)]
    low, high = interval_of_gain(gained, lost, images)
    # Standard deviation 6: 4 ± 11.8, and the two ways agree within a chance image.
    assert (low, high) == pytest.approx((-8, 16), abs=1)
    assert (low, high) == pytest.approx(np.quantile(sums, [0.025, 0.975]), abs=1)


def test_intervals_repeat_with_the_seed():
    assert interval_of_gain(20, 16, 2081, seed=3) == interval_of_gain(20, 16, 2081, seed=3)
    values = np.random.default_rng(0).normal(size=500)
    assert interval_of_mean(values, seed=3) == interval_of_mean(values, seed=3)
    assert interval_of_mean(values, seed=3) != interval_of_mean(values, seed=4)


def test_the_interval_of_a_mean_is_about_two_standard_errors_wide():
    values = np.repeat([0.0, 1.0], 200)
    low, high = interval_of_mean(values)
    # standard error 0.5 / sqrt(400) = 0.025
    assert (low, high) == pytest.approx((0.451, 0.549), abs=0.006)


def test_no_difference_has_no_width_and_proves_nothing():
    c = compare(probs_of([True] * 50), probs_of([True] * 50), LABELS)
    assert (c.low, c.high, c.p, c.decided) == (0, 0, 1.0, False)


def test_a_difference_within_chance_is_called_no_evidence():
    told = sentence(comparison(20, 16), "TTA", "vit_small_squish_224")
    assert told == (
        "+4 of 2,081 images (95 % −8 … +16): no evidence that TTA helps vit_small_squish_224"
    )


def test_a_clear_gain_helps_and_a_clear_loss_hurts():
    helps = sentence(comparison(40, 10), "TTA", "swin")
    assert helps.startswith("+30 of 2,081 images (95 % +1")
    assert helps.endswith("): evidence that TTA helps swin")
    hurts = sentence(comparison(10, 40), "TTA", "swin")
    assert hurts.startswith("−30 of 2,081 images (95 % −4")
    assert hurts.endswith("): evidence that TTA hurts swin")


def test_an_interval_without_zero_is_not_enough_where_the_exact_test_disagrees():
    c = comparison(5, 0)
    assert c.low > 0 and not c.decided
    told = sentence(c, "TTA", "swin")
    assert "exact p 0.062): no evidence that TTA helps swin" in told


def test_log_loss_is_told_beside_with_a_true_minus():
    c = Comparison(10, 0, 0, 1.0, 0, 0, -0.0123, -0.02, 0.004)
    assert log_loss_phrase(c) == "log-loss −0.0123 per image (95 % −0.0200 … +0.0040)"


def test_a_gain_fits_into_a_table():
    assert gain_phrase(-1_204, -1_300, 6, 0.0312) == "−1,204 (95 % −1,300 … +6), p 0.031"


def test_signed_counts():
    assert [signed(n) for n in (4, 0, -6, -1234)] == ["+4", "0", "−6", "−1,234"]


def test_the_chi_square_tail_has_its_tabled_critical_values():
    for freedom, critical in [(1, 3.841459), (2, 5.991465), (4, 9.487729), (9, 16.918978)]:
        assert chi_square_tail(critical, freedom) == pytest.approx(0.05, rel=1e-6)
    assert chi_square_tail(0, 3) == chi_square_tail(2, 0) == 1


def test_the_class_mix_is_a_two_sample_test_worked_by_hand():
    counts = pd.Series({"blast": 60, "normal": 40})
    known = pd.Series({"blast": 500, "normal": 500})
    # n (ad - bc)² over the four margins: 1100 × (60 × 500 - 40 × 500)² / (100 × 1000 × 560 × 540)
    # = 3.6376, and erfc(sqrt(3.6376 / 2)) = 0.0565
    assert same_mix(counts, known) == pytest.approx(0.0565, abs=5e-5)


def test_rare_classes_are_taken_together():
    known = pd.Series({"blast": 980, "hispa": 10, "normal": 10})
    # One in a hundred expected of each rare class: apart, three of one would look odd.
    apart, moved = (pd.Series({"blast": 97, "hispa": n, "normal": 3 - n}) for n in (3, 1))
    assert same_mix(apart, known) == same_mix(moved, known) > 0.4


def test_evidence_needs_neither_torch_nor_scipy():
    code = "import sys, src.evidence; sys.exit(bool({'torch', 'scipy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
