"""The second camera of the demo: the same leaves and answers, other photographs."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import refusal
from PIL import Image
from small_bundles import call

from src.demo.__main__ import main
from src.demo.camera import second_photograph
from src.demo.draw import SHARES, draw
from src.demo.leaves import drawn_size, photograph

SIZE = 480, 640


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> tuple[Path, Path]:
    """A drawn competition, and the same one with the test photographs of the second camera."""
    place = tmp_path_factory.mktemp("cameras")
    draw(place / "first", 30, seed=5)
    done = call(main, place / "second", "--images", 30, "--seed", 5, "--shift")
    assert "drew 30 training and 10 test photographs of a second camera" in done.stdout, done
    return place / "first", place / "second"


def test_only_the_test_photographs_are_others(both):
    first, second = ({str(path.relative_to(folder)): path.read_bytes()
                      for path in folder.rglob("*") if path.is_file()} for folder in both)
    assert first.keys() == second.keys()
    tests = {name for name in first if name.startswith("test_images/")}
    assert len(tests) == 10
    assert {name for name in first if first[name] != second[name]} == {*tests, "demo.json"}
    for name in tests:  # also those that lie on their side
        assert Image.open(both[0] / name).size == Image.open(both[1] / name).size


def test_each_of_the_two_is_known_again_and_not_taken_for_the_other(both):
    first, second = both
    assert draw(second, 30, 5, shift=True) is False and draw(first, 30, 5) is False
    assert "name a new folder" in refusal(draw, second, 30, 5)
    assert "name a new folder" in refusal(draw, first, 30, 5, True)


@pytest.mark.parametrize("label", ["blast", "dead_heart", "bacterial_panicle_blight"])
def test_on_another_ground_lie_the_same_leaves(label):
    width, height = drawn_size(SIZE)
    black = np.zeros((3, height, width), np.float32)
    field, leaves = (np.asarray(photograph(label, np.random.default_rng(7), SIZE, ground), float)
                     for ground in (None, black))
    on_leaf = leaves.sum(axis=2) > 120
    assert 0.02 < on_leaf.mean() < 0.9
    assert np.median(np.abs(field - leaves)[on_leaf]) < 2
    assert np.median(np.abs(field - leaves)[~on_leaf]) > 20


def test_colours_sharpness_and_compression_vary_more_than_the_first_cameras():
    taken = pd.DataFrame(
        {"first": measured(photograph(label, np.random.default_rng(seed), SIZE)),
         "second": measured(image), "quality": quality}
        for seed, label in enumerate(SHARES)
        for image, quality in [second_photograph(
            label, np.random.default_rng(seed), np.random.default_rng([seed, 2]), SIZE)]
    )
    first, second = (np.array([*taken[name]]) for name in ("first", "second"))
    assert (second.std(axis=0) > 1.3 * first.std(axis=0)).all(), (first, second)
    assert taken.quality.between(25, 70).all() and taken.quality.nunique() > 5


def measured(image: Image.Image) -> list[float]:
    """Warmth, brightness and log sharpness of a photograph."""
    pixels = np.asarray(image, float)
    red, _, blue = pixels.mean(axis=(0, 1))
    grey = pixels.mean(axis=2)
    return [np.log(red / blue), grey.mean(), np.log(np.abs(np.diff(grey)).mean())]
