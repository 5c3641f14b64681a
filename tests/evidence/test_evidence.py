"""Errors and scores in images, against numbers worked by hand."""

import numpy as np
import pandas as pd
import pytest

from src.core import UserError
from src.evidence import error_cell, error_phrase, same_mix, signed, wilson, wrong_of

LABELS = pd.Series("blast", [f"{number}.jpg" for number in range(100)])


def probs_of(right, certainty=0.8):
    """Two classes; image i is right where `right[i]`, the label always being blast."""
    chance = np.where(right, certainty, 1 - certainty)
    table = np.column_stack([chance, 1 - chance])
    return pd.DataFrame(table, index=LABELS.index[: len(right)], columns=["blast", "normal"])


def test_the_interval_of_an_error_is_wilsons():
    # z² / (n + z²) with z = 1.959964, and 0.5 ± z × sqrt(n / 4 + z² / 4) / (n + z²)
    assert wilson(0, 100) == pytest.approx((0, 3.841459 / 103.841459), rel=1e-6)
    half = 1.959964 * (25 + 3.841459 / 4) ** 0.5 / 103.841459
    assert wilson(50, 100) == pytest.approx((0.5 - half, 0.5 + half), rel=1e-6)


def test_an_error_is_reported_in_images_with_its_interval():
    assert error_phrase(37, 2081) == "37 of 2,081 wrong: 1.78 % (95 % interval 1.29 to 2.44)"
    assert error_phrase(0, 100) == "0 of 100 wrong: 0.00 % (95 % interval 0.00 to 3.70)"
    assert error_cell(37, 2081) == "37 of 2,081 wrong: 1.78 % (1.29 to 2.44)"
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


def test_signed_counts():
    assert [signed(n) for n in (4, 0, -6, -1234)] == ["+4", "0", "−6", "−1,234"]


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


def test_one_class_alone_is_one_mix():
    assert same_mix(pd.Series({"blast": 3}), pd.Series({"blast": 100})) == 1
