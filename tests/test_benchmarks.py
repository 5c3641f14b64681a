"""The figures that docs/ quote: computed as the benchmarks say, on numbers made by hand."""

from argparse import Namespace

import bench_effects
import bench_members
import bench_recipes
import bench_time_to_error as bench_time
import numpy as np
import pandas as pd
import pytest

from src.core import UserError

CLASSES = ["blast", "normal"]
IMAGES = pd.Index(list("abcd"), name="image_id")
LABELS = pd.Series("normal", IMAGES)


def probs(right: str) -> pd.DataFrame:
    """Probabilities that have the images named in `right` right."""
    normal = np.array([0.9 if image in right else 0.1 for image in IMAGES])
    return pd.DataFrame({"blast": 1 - normal, "normal": normal}, IMAGES)[CLASSES]


def outcome(*rows: tuple[float, str]) -> bench_time.Outcome:
    """A training: after each epoch its seconds, and the images it has right."""
    right = [[image in images for image in IMAGES] for _, images in rows]
    return bench_time.Outcome([seconds for seconds, _ in rows], right, "")


def test_effects_of_candidates_are_found_whatever_the_default_has():
    true = np.arange(13) - 6.0
    names = list(bench_effects.CANDIDATES)
    runs = [50 + sum(true[names.index(name)] for name in bench_effects.chosen(number))
            for number in range(-1, 13)]
    assert bench_effects.effects(np.array(runs)) == pytest.approx(true)


def test_one_large_effect_is_beyond_the_margin_of_the_small_ones():
    effects = np.array([1.0, -1, 2, -2, 1, -1, 2, -2, 1, -1, 1, -1, 30])
    assert 2 < bench_effects.margin(effects) < 10


def test_recipes_are_compared_prediction_by_prediction():
    new, old = probs("abc"), probs("a")
    assert bench_recipes.cell([(old, old)], LABELS, True) == "3"
    assert bench_recipes.cell([(new, old)] * 2, LABELS, False).startswith("2, +4 (")


def test_a_finished_run_of_another_recipe_is_not_taken_for_this_one(tmp_path):
    args = Namespace(work=tmp_path, arch="a", size="96", folds=3)
    job = {"name": "crops", "seed": 42, "fields": {"min_scale": 0.35}}
    assert not bench_recipes.is_finished(args, job)
    table = probs("a")
    table.attrs = {"fields": {"min_scale": 0.35}, "folds": 3}
    table.to_pickle(bench_recipes.finished(args, job))
    assert bench_recipes.is_finished(args, job)
    for other in (job | {"fields": {"min_scale": 0.5}}, job):
        args.folds = 3 if other is not job else 5
        with pytest.raises(UserError, match="was trained with .*; delete it"):
            bench_recipes.is_finished(args, other)


def test_members_are_grouped_by_what_they_differ_in_and_a_longer_training_stands_alone():
    lite0, lite2 = "tf_efficientnet_lite0", "tf_efficientnet_lite2"
    found = [(lite0, "default", 42), (lite0, "crop", 42), (lite2, "default", 42),
             (lite2, "default", 43), (lite2, "longer", 42)]
    tables = {member: pd.concat({bench_recipes.WAYS[0]: probs("ab"[: 1 + number])}, axis=1)
              for number, member in enumerate(found)}
    groups = bench_members.ways(tables, LABELS)
    assert groups["one, longer: tf_efficientnet_lite2, seed 42"] == [found[4]]
    assert groups["seeds: tf_efficientnet_lite2, default"] == found[2:4]
    assert groups["resizes: tf_efficientnet_lite0, seed 42"] == found[:2]
    assert groups["architectures: default, seed 42"] == [found[0], found[2]]
    assert groups["all"] == found[:4]


def test_the_shortest_whole_training_without_more_wrong_is_the_answer():
    fast, slow = outcome((10, "a"), (20, "abc")), outcome((15, "abc"), (30, "abcd"))
    short = outcome((5, "a"), (9, "ab"))
    one = {bench_time.FASTAI: outcome((50, "a"), (100, "abc")), "8": slow, "4": fast, "2": short}
    assert bench_time.shortest([one]) == "4" and bench_time.ratio([one], "4") == 0.2
    assert [bench_time.reached(one, side) for side in ("8", "4", "2")] == ["15", "20", "never"]
    assert bench_time.more_right([one], [IMAGES], "2").startswith("−1 (")
