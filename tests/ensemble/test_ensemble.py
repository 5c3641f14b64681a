"""The command: the weights that are typed, and what is written."""

import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_bundles import (
    CLASSES,
    bundle_in,
    call,
    labels_of,
    probabilities,
    random_table,
    record,
    refused,
    snapshot,
    sure,
    weights_of,
)

from src import bundle, competition
from src.core import DEMO_MARKER
from src.ensemble.__main__ import main

# Weights


def test_a_family_weight_of_two_equals_listing_every_model_of_it_twice(family, data):
    assert call(main, "--weights", "vit=2", "--notebook", "weighted").returncode == 0
    weighted = probabilities(family, "weighted")
    for seed, name in enumerate(("vit_one", "vit_two")):
        bundle_in(family, data, f"{name}_again", "vit", test=random_table(data, seed))
    assert call(main, "--notebook", "listed").returncode == 0
    assert len(record(family, "listed")["members"]) == 5
    pd.testing.assert_frame_equal(weighted, probabilities(family, "listed"), atol=1e-7)
    assert call(main, "--notebook", "other", "vit_one", "vit_two", "resnet_one").returncode == 0
    assert not np.allclose(weighted, probabilities(family, "other"), atol=1e-3)


@pytest.mark.parametrize(
    "words",
    [
        ("--weights", "vit=2", "vit_one=5"),
        ("--weights", "vit_one=5", "vit=2"),
        ("--weights", "vit=2", "--weights", "vit_one=5"),
    ],
)
def test_a_model_s_own_weight_goes_before_its_family_s(family, words):
    assert call(main, *words).returncode == 0
    assert weights_of(family) == {"resnet_one": 1.0, "vit_one": 5.0, "vit_two": 2.0}


@pytest.mark.parametrize(
    "word, told",
    [
        ("vitt=2", "did you mean 'vit'"),
        ("mamba=2", "known: resnet, vit, resnet_one, vit_one, vit_two"),
        ("vit=-1", "'vit=-1'"),
        ("vit=two", "write vit=2, a number of 0 or more"),
        ("vit=", "'vit='"),
        ("vit", "'vit'"),
        ("vit=nan", "'vit=nan'"),
        ("vit=inf", "'vit=inf'"),
        ("=2", "known: "),
    ],
)
def test_a_weight_that_makes_no_sense_is_refused_and_nothing_written(family, word, told):
    before = snapshot(family.parent)
    assert told in refused(call(main, "--weights", word))
    assert snapshot(family.parent) == before


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--weights", "vit=2", "vit=3"), "the weight of vit is given twice"),
        (("--weights", "vit=2", "resnet=1", "--weights", "vit=2"), "the weight of vit is"),
        (("--weights", "vit=2", "vit_one=3", "vit_one=4"), "the weight of vit_one is given twice"),
        (("--temperatures", "vit=2", "vit=3"), "the temperature of vit is given twice"),
        (("vit_one", "resnet_one", "vit_one"), "vit_one is given twice; name it once .*--weights"),
    ],
)
def test_what_is_given_twice_is_refused_and_nothing_written(family, words, told):
    before = snapshot(family.parent)
    assert re.search(told, refused(call(main, *words)))
    assert snapshot(family.parent) == before


def test_weights_that_are_all_zero_are_refused(family):
    assert "weights are 0" in refused(call(main, "--weights", "vit=0", "resnet=0"))


def test_a_weight_of_zero_keeps_a_model_out_of_the_average_and_of_its_hold_out(models, data):
    truth = competition.train_table(data).label
    bundle_in(models, data, "one", valid=sure(dict(truth.iloc[:6]), CLASSES))
    bundle_in(models, data, "two", "swin", valid=sure(dict(truth.iloc[4:8]), CLASSES),
              test=random_table(data, 1))
    done = call(main, "--weights", "swin=0")
    assert done.returncode == 0, done.stderr
    assert weights_of(models) == {"one": 1.0}
    assert record(models)["holdout"] == {"wrong": 0, "images": 6}
    assert list(labels_of(models)) == list(competition.solution(data))


# What is written


def test_the_csv_is_in_the_order_of_the_sample(family, data):
    assert call(main).returncode == 0
    expected = labels_of(family)
    sample = pd.read_csv(data / "sample_submission.csv").sample(frac=1, random_state=3)
    sample.to_csv(data / "sample_submission.csv", index=False)
    assert call(main, "--notebook", "shuffled").returncode == 0
    shuffled = labels_of(family, "shuffled")
    assert list(shuffled.index) == list(sample.image_id) != list(expected.index)
    assert shuffled.sort_index().equals(expected.sort_index())


def test_the_provenance_tells_members_weights_hold_out_error_and_commit(family):
    assert call(main, "--weights", "vit=2").returncode == 0
    told = record(family)
    card = bundle.read_card(family, "vit_two")
    assert told["members"][2] == {
        "name": "vit_two", "family": "vit", "weight": 2.0, "tta": "none",
        "models": {"vit_two": {"sha256": card["sha256"], "commit": "c0ffee"}},
    }
    assert [member["name"] for member in told["members"]] == ["resnet_one", "vit_one", "vit_two"]
    assert told["holdout"] == {"wrong": 0, "images": 6}
    assert {"commit", "dirty", "created", "sha256"} < told.keys()
    assert (told["notebook"], told["rows"], told["submitted"]) == ("paddy_train", 9, False)


def test_the_printed_line_submits_the_file(family):
    out = call(main).stdout
    words = shlex.split(out.splitlines()[-1])
    assert words[:5] == ["kaggle", "competitions", "submit", "-c", "paddy-disease-classification"]
    assert Path.cwd() / words[words.index("-f") + 1] == family.parent / "submissions" / (
        "paddy_train.csv"
    )
    assert "3 models" in words[words.index("-m") + 1] and len(words) == 9


def test_where_the_answers_are_known_the_error_on_the_test_images_is_told(models, data):
    bundle_in(models, data, "one")
    wrong = competition.solution(data).copy()
    wrong.iloc[0] = "disease_b"
    bundle_in(models, data, "two", test=sure(dict(wrong), CLASSES, 0.5))
    out = call(main).stdout
    assert re.search(r"one +0 of 9 wrong: 0.00 %", out)
    assert re.search(r"two +1 of 9 wrong: 11.11 %", out)
    assert re.search(r"ensemble +0 of 9 wrong", out)
    assert "drawn" not in out and "kaggle competitions submit" in out
    (data / "solution.csv").unlink()
    out = call(main).stdout
    assert "solution" not in out and "kaggle competitions submit" in out


def test_a_drawn_competition_is_recorded_and_no_line_to_submit_it_is_printed(family, data):
    assert call(main).returncode == 0 and record(family)["drawn"] is False
    (data / DEMO_MARKER).write_text("{}")
    out = call(main).stdout
    assert record(family)["drawn"] is True
    assert "kaggle competitions" not in out
    assert out.splitlines()[-1].startswith("not for Kaggle: the competition is drawn")


def test_one_class_for_all_images_is_refused(models, data):
    ids = dict.fromkeys(competition.sample(data).image_id, "disease_a")
    bundle_in(models, data, "one", test=sure(ids, CLASSES))
    assert "every row says disease_a" in refused(call(main))
    assert not list((models.parent / "submissions").glob("*.csv"))


def test_help_shows_the_use():
    done = call(main, "--help")
    assert done.returncode == 0 and "python -m src.ensemble --weights vit=2" in done.stdout
