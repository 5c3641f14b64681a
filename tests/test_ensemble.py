"""The vote: who takes part, with which weight, what is printed, what is written."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import draw_competition, run
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
    strong_and_weak_in,
    sure,
    weights_of,
)

from src import bundle, competition
from src.ensemble import main
from src.evidence import LEAST, too_few
from src.variant import make_variant


@pytest.fixture
def sixty(tmp_path, monkeypatch) -> Path:
    """A competition of 60 training images, enough for a search."""
    folder = draw_competition(tmp_path / "sixty", each=20)
    monkeypatch.setenv("PADDY_DATA", str(folder))
    return folder


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


def test_the_average_is_the_weighted_mean_worked_by_hand(models, data):
    ids = dict.fromkeys(competition.sample(data).image_id, "disease_a")
    bundle_in(models, data, "one", "vit", test=sure(ids, CLASSES, 0.6))
    bundle_in(models, data, "two", "swin", test=sure(ids, CLASSES, 0.2))
    assert call(main, "--weights", "vit=3", "--force").returncode == 0
    row = probabilities(models).iloc[0]
    # (3 × 0.6 + 0.2) / 4 = 0.5, the rest is shared by the other two classes.
    assert row.to_list() == pytest.approx([0.5, 0.25, 0.25], abs=1e-6)


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


def test_weights_that_are_all_zero_are_refused(family):
    assert "weights are 0" in refused(call(main, "--weights", "vit=0", "resnet=0"))


def test_a_weight_of_zero_keeps_a_model_out_of_the_vote_and_of_its_hold_out(models, data):
    truth = competition.train_table(data).label
    bundle_in(models, data, "one", valid=sure(dict(truth.iloc[:6]), CLASSES))
    bundle_in(models, data, "two", "swin", valid=sure(dict(truth.iloc[4:8]), CLASSES),
              test=random_table(data, 1))
    done = call(main, "--weights", "swin=0")
    assert done.returncode == 0, done.stderr
    assert weights_of(models) == {"one": 1.0}
    assert record(models)["holdout"] == {"wrong": 0, "images": 6}
    assert list(labels_of(models)) == list(competition.solution(data))


# The hold-out error


def test_the_hold_out_error_is_that_of_the_images_all_members_held_out(models, data):
    truth = competition.train_table(data).label  # 100001 a, 100002 b, 100003 c, 100004 a, …
    one = sure(dict(truth.iloc[:4]), CLASSES, 0.5)  # 0.5, 0.25, 0.25
    two = sure(dict(truth.iloc[2:6]), CLASSES, 0.5)
    two.loc["100003.jpg"] = [0.9, 0.05, 0.05]  # is c: (0.9 + 0.25) / 2 against (0.05 + 0.5) / 2
    bundle_in(models, data, "one", valid=one)
    bundle_in(models, data, "two", "swin", valid=two)
    done = call(main)
    assert "all of them held out: 1 of 2 wrong (50.00 %" in done.stdout
    assert record(models)["holdout"] == {"wrong": 1, "images": 2}
    assert re.search(r"^ *one +vit +0 of 4 wrong.* 0 of 4 wrong", done.stdout, re.M)
    assert re.search(r"^ *two +swin +1 of 4 wrong", done.stdout, re.M)
    # Four to one: 0.38 for a, 0.41 for c.
    assert "held out: 0 of 2 wrong" in call(main, "--weights", "vit=4").stdout


@pytest.mark.parametrize("common", [0, 4, LEAST - 1])
def test_what_too_few_common_images_cannot_tell_is_not_told(models, sixty, common):
    labels, classes = competition.train_table(sixty).label, competition.classes(sixty)
    rest = (len(labels) - common) // 2
    held = {"vit": labels.iloc[: rest + common], "swin": labels.iloc[rest : 2 * rest + common]}
    for fold, (family, truth) in enumerate({**held, "resnet": labels}.items()):
        variant = make_variant(arch="test_vit", tta="none", fold=fold).recipe
        bundle_in(models, sixty, f"{family}_x", family, sure(dict(truth), classes), variant=variant)
    out = call(main, "--weights", "vit=2").stdout
    lacks = ("no hold-out, so no error is known", too_few(common))[common > 0]
    folds = "resnet_x held out fold 2, swin_x held out fold 1, vit_x held out fold 0"
    assert f"{lacks}: {folds}: train them for the same fold" in out
    for claim in ("evidence", "worth", "disagree", "bring", "log-loss", "common images "):
        assert claim not in out
    assert "there are 3 and" in refused(call(main, "--select", "auto"))


def test_without_a_common_hold_out_no_error_is_claimed(models, data):
    truth = competition.train_table(data).label
    bundle_in(models, data, "one", valid=sure(dict(truth.iloc[:4]), CLASSES))
    bundle_in(models, data, "two", valid=sure(dict(truth.iloc[4:8]), CLASSES))
    done = call(main)
    assert done.returncode == 0 and "no error is known" in done.stdout
    assert record(models)["holdout"] == {"wrong": None, "images": 0}


def test_what_ensembling_is_worth_and_how_alike_members_are_takes_two_lines(models, sixty):
    strong_and_weak_in(models, sixty)
    out = call(main).stdout
    assert "ensemble, on the images all of them held out: 20 of 60 wrong (33.33 %" in out
    assert re.search(r"^what ensembling is worth: −20 of 60 .*hurts against strong", out, re.M)
    assert re.search(r"^two members disagree on 0 … 20 of 60 images, weak_one and weak", out, re.M)
    assert "against equal weights" not in out and "method" not in out


def test_what_each_of_three_members_brings_is_told_without_a_search(models, sixty):
    strong_and_weak_in(models, sixty)
    out = call(main).stdout
    assert "\nwhat they bring to the equal mean of all:\nwithout " in out
    assert re.search(r"^resnet +2 +0 of 60 wrong .* −20 \(95 %", out, re.M)
    assert re.search(r"^strong +1 +20 of 60 wrong .* 0 \(95 %", out, re.M)
    assert "bring" not in call(main, "strong", "weak_one").stdout


def test_a_vote_loads_nothing_that_takes_long_to_load(models, sixty):
    strong_and_weak_in(models, sixty)
    slow = {"torch", "fastai", "timm", "scipy", "sklearn", "matplotlib"}
    done = run("-c", f"import sys; from src.ensemble import main; sys.argv = ['ensemble']; main(); "
                     f"print({slow} & set(sys.modules))")
    assert done.stdout.splitlines()[-1] == "set()", done.stderr
    assert "what they bring" in done.stdout


def test_typed_temperatures_are_shown_beside_the_weights(models, sixty):
    strong_and_weak_in(models, sixty)
    out = call(main, "--temperatures", "vit=1.5", "weak_one=0.8").stdout
    assert re.search(r"^model .* weight +temperature$", out, re.M)
    shown = re.findall(r"^(\w+) +\w+ +\d+ of 60 .* 1 +([\d.]+)$", out, re.M)
    assert shown == [("strong", "1.5"), ("weak_one", "0.8"), ("weak_two", "1")]
    assert "temperature" not in call(main).stdout.splitlines()[0]


def test_typed_weights_are_compared_with_equal_ones(models, sixty):
    strong_and_weak_in(models, sixty)
    out = call(main, "--weights", "vit=3").stdout
    assert re.search(r"^\+20 of 60 .*: evidence that weighing like this helps against equal",
                     out, re.M)


def test_one_model_alone_is_compared_with_nobody(models, data):
    bundle_in(models, data, "one")
    out = call(main).stdout
    assert "worth" not in out and "disagree" not in out


# The search


def test_the_search_is_printed_with_what_each_member_brings(models, sixty):
    strong_and_weak_in(models, sixty)
    out = call(main, "--select", "auto").stdout
    assert re.search(r"^equal +20 of 60 wrong .*the incumbent$", out, re.M)
    assert re.search(r"^stacking +.*; a yardstick, no plain weights express it$", out, re.M)
    assert not re.search(r"^(geometric|temperature) .*yardstick", out, re.M)
    assert re.search(r"^the weights by \w+ are taken: \+\d+ of 60 images", out, re.M)
    assert re.search(r"^resnet +2 +0 of 60 wrong", out, re.M)
    assert re.search(r"^strong +1 +20 of 60 wrong", out, re.M)
    assert "wrong (0.00 %, 95 % 0.00 … 6.02 %); each by what was learnt from others" in out


@pytest.mark.parametrize("select", ["greedy", "geometric", "temperature"])
def test_the_printed_line_repeats_the_search(models, sixty, select):
    strong_and_weak_in(models, sixty)
    out = call(main, "--select", select).stdout
    (line,) = re.findall(r"^the same again: (--weights .*)$", out, re.M)
    assert call(main, *line.split(), "--notebook", "again").returncode == 0
    pd.testing.assert_frame_equal(
        probabilities(models), probabilities(models, "again"), check_exact=True
    )


def test_a_search_without_enough_images_is_refused_with_what_is_lacking(family):
    line = refused(call(main, "--select", "auto"))
    assert "there are 3 and 6:" in line
    assert not (family.parent / "submissions").exists()


def test_weights_and_a_search_for_them_are_refused_together(family):
    assert "give one of them" in refused(call(main, "--select", "auto", "--weights", "vit=2"))


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


def test_a_csv_that_was_submitted_is_never_overwritten(family):
    assert call(main).returncode == 0
    path = family.parent / "submissions" / "paddy_train.json"
    path.write_text(json.dumps(record(family) | {"submitted": True}))
    before = snapshot(family.parent)
    line = refused(call(main, "--weights", "vit=0", "--force"))
    assert "submitted" in line and "--notebook" in line
    assert snapshot(family.parent) == before
    assert call(main, "--weights", "vit=0", "--force", "--notebook", "second").returncode == 0


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
    assert re.search(r"one +0 of 9 wrong \(0.00 %", out)
    assert re.search(r"two +1 of 9 wrong \(11.11 %", out)
    assert re.search(r"ensemble +0 of 9 wrong", out)
    assert re.search("Kaggle knows nothing of drawn images.*\nkaggle competitions submit", out)
    (data / "solution.csv").unlink()
    out = call(main).stdout
    assert "solution" not in out and "drawn" not in out


def test_one_class_for_all_images_is_refused(models, data):
    ids = dict.fromkeys(competition.sample(data).image_id, "disease_a")
    bundle_in(models, data, "one", test=sure(ids, CLASSES))
    assert "every row says disease_a" in refused(call(main))
    assert not list((models.parent / "submissions").glob("*.csv"))


# The command


def test_help_shows_the_use():
    done = run("-m", "src.ensemble", "--help")
    assert done.returncode == 0 and "python -m src.ensemble --weights vit=2" in done.stdout
