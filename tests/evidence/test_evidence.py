"""Errors and scores in images, against numbers worked by hand."""

import pandas as pd
import pytest
from conftest import refusal
from small_bundles import call, refused
from small_tables import probs_of

from src.evidence import (
    error_both_ways,
    error_cell,
    error_phrase,
    images_right,
    same_mix,
    wilson,
    wrong_of,
)
from src.evidence.__main__ import main


def test_an_error_is_reported_in_images_with_wilsons_interval():
    # z² / (n + z²) with z = 1.959964, and 0.5 ± z × sqrt(n / 4 + z² / 4) / (n + z²)
    assert wilson(0, 100) == pytest.approx((0, 3.841459 / 103.841459), rel=1e-6)
    half = 1.959964 * (25 + 3.841459 / 4) ** 0.5 / 103.841459
    assert wilson(50, 100) == pytest.approx((0.5 - half, 0.5 + half), rel=1e-6)
    assert error_phrase(37, 2081) == "37 of 2,081 wrong: 1.78 % (95 % interval 1.29 to 2.44)"
    assert error_cell(37, 2081) == "37 of 2,081 wrong: 1.78 % (1.29 to 2.44)"
    assert error_phrase(0, 0) == "no hold-out, so no error is known"


def test_wrong_images_are_counted_by_name_and_a_label_that_is_no_class_is_refused():
    probs = probs_of({"1.jpg": 0.8, "2.jpg": 0.2, "3.jpg": 0.8}).iloc[::-1, ::-1]
    labels = pd.Series({"1.jpg": "normal", "2.jpg": "normal", "3.jpg": "blast"})
    assert wrong_of(probs, labels) == (1, 3)
    assert "3.jpg has the label hispa" in refusal(wrong_of, probs, labels.replace("blast", "hispa"))
    assert "3.jpg has the label (none)" in refusal(wrong_of, probs, labels.drop("3.jpg"))


def test_an_error_is_reported_with_and_without_the_images_that_leak():
    probs = probs_of({"1.jpg": 0.8, "2.jpg": 0.2, "3.jpg": 0.8})
    labels = pd.Series({"1.jpg": "normal", "2.jpg": "normal", "3.jpg": "blast"})
    whole = error_phrase(1, 3)
    assert error_both_ways(probs, labels, pd.Index(["9.jpg"])) == whole
    text = error_both_ways(probs, labels, pd.Index(["2.jpg", "9.jpg"]))
    assert text == (f"{whole}; with a twin in training {error_phrase(0, 1)}; "
                    f"without {error_phrase(1, 2)}")


def test_the_class_mix_is_a_two_sample_test_in_which_rare_classes_are_taken_together():
    known = pd.Series({"blast": 500, "normal": 500})
    # n (ad - bc)² over the four margins: 1100 × (60 × 500 - 40 × 500)² / (100 × 1000 × 560 × 540)
    # = 3.6376, and erfc(sqrt(3.6376 / 2)) = 0.0565
    found = same_mix(pd.Series({"blast": 60, "normal": 40}), known)
    assert found == pytest.approx(0.0565, abs=5e-5)
    known = pd.Series({"blast": 980, "hispa": 10, "normal": 10})
    # One in a hundred expected of each rare class: apart, three of one would look odd.
    apart, moved = (pd.Series({"blast": 97, "hispa": n, "normal": 3 - n}) for n in (3, 1))
    assert same_mix(apart, known) == same_mix(moved, known) > 0.4
    assert same_mix(pd.Series({"blast": 3}), pd.Series({"blast": 100})) == 1


@pytest.mark.parametrize("images", [2601, 868])
def test_every_number_of_images_is_found_again_from_its_score(images):
    for right in range(images + 1):
        cut = int(right * 100_000 / images) / 100_000  # as Kaggle shows it
        assert images_right(cut, images) == right
        assert images_right(f"{right / images:.5f}", images) == right


def test_the_command_prints_both_scores_in_images_with_their_standard_errors():
    # sqrt(31 × 2570 / 2601) = 5.53 and sqrt(11 × 857 / 868) = 3.30
    assert call(main, "0.98808", "0.98732").stdout.splitlines() == [
        "public: 2,570 of 2,601 right, 31 wrong ± 5.5 (one standard error)",
        "private: 857 of 868 right, 11 wrong ± 3.3 (one standard error)",
    ]
    for score in ("0.98820", "0.988", "98.8", "nan", "none"):
        assert "five digits" in refused(call(main, score))
