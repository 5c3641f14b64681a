"""Kaggle's scores are whole numbers of images right, against numbers worked by hand."""

import pytest
from small_bundles import call, refused

from src.core import UserError
from src.evidence import images_right, score_in_images
from src.evidence.__main__ import main


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
    assert "five digits" in refused(call(main, "98.8"))


@pytest.mark.parametrize("score", ["0.98820", "0.988", "98.8", "-0.1", "nan", "none"])
def test_what_is_no_score_of_these_images_is_refused(score):
    with pytest.raises(UserError, match="score .* is no "):
        score_in_images(score)
