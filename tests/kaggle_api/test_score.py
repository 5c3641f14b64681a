"""Kaggle's scores are whole numbers of images right, against numbers worked by hand."""

import pytest
from conftest import run

from src.core import UserError
from src.evidence import images_right, score_in_images


@pytest.mark.parametrize(
    ("score", "images", "right"),
    [
        # Kaggle cuts off: 2571 / 2601 = 0.988466
        (0.98846, 2601, 2571),
        ("0.98808", 2601, 2570),
        # rounded scores are taken as well
        ("0.98847", 2601, 2571),
        ("0.9827", 2601, 2556),
        (0.98732, 868, 857),
        ("1.00000", 2601, 2601),
        ("0.0", 868, 0),
    ],
)
def test_a_score_is_a_whole_number_of_images(score, images, right):
    assert images_right(score, images) == right


def test_every_whole_number_of_images_is_found_again_from_its_score():
    for images in (2601, 868):
        for right in range(images + 1):
            cut = int(right * 100_000 / images) / 100_000
            assert images_right(cut, images) == right
            assert images_right(f"{right / images:.5f}", images) == right


def test_a_score_is_told_in_images_with_its_standard_error():
    # sqrt(31 × 2570 / 2601) = 5.53
    assert score_in_images("0.98808") == "2,570 of 2,601 right, 31 wrong ± 5.5 (one standard error)"
    # sqrt(11 × 857 / 868) = 3.30
    assert score_in_images(0.98732, 868) == "857 of 868 right, 11 wrong ± 3.3 (one standard error)"


def test_the_command_tells_a_public_and_a_private_score_in_images():
    done = run("-m", "src.evidence", "0.98808", "0.98732")
    assert done.stdout.splitlines() == [
        "public: 2,570 of 2,601 right, 31 wrong ± 5.5 (one standard error)",
        "private: 857 of 868 right, 11 wrong ± 3.3 (one standard error)",
    ]
    one = run("-m", "src.evidence", "98.8")
    assert one.returncode != 0 and one.stderr.count("\n") == 1 and "five digits" in one.stderr


@pytest.mark.parametrize("score", ["0.98820", "0.988", "98.8", "-0.1", "nan", "none"])
def test_what_is_no_score_of_these_images_is_refused(score):
    with pytest.raises(UserError, match="score .* is no "):
        score_in_images(score)
