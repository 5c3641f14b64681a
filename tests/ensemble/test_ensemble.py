"""Weights, mean and temperatures: typed or searched for, applied, written and recorded."""

import re
import shlex
from pathlib import Path

import pandas as pd
import pytest
from conftest import refusal
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
    spoil,
    strong_and_weak_in,
    sure,
    weights_of,
)  # fmt: skip

from src import bundle, competition
from src.core import DEMO_MARKER, make_variant
from src.ensemble import ensemble_probs, find_trials, open_ensemble, reweigh, write_ensemble
from src.ensemble.__main__ import main
from src.evidence import wrong_of

# Weights that are typed


def test_a_model_s_own_weight_goes_before_its_family_s(family):
    assert call(main, "--weights", "vit_one=5", "--weights", "vit=2").returncode == 0
    assert weights_of(family) == {"resnet_one": 1.0, "vit_one": 5.0, "vit_two": 2.0}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--weights mamba=2", "known: resnet, vit, resnet_one, vit_one, vit_two"),
        ("--weights vit=-1", "'vit=-1'"),
        ("--weights vit=two", "'vit=two'"),
        ("--weights vit=nan", "'vit=nan'"),
        ("--weights vit=inf", "'vit=inf'"),
        ("--weights vit=0 resnet=0", "weights are 0"),
        ("--temperatures vit=0", "'vit=0'"),
        ("--weights vit=2 resnet=1 --weights vit=2", "the weight of vit is given twice"),
        ("vit_one resnet_one vit_one", "vit_one is given twice; name it once .*--weights"),
        ("--weights vit=2 --select auto", "select=auto"),
        ("--mean geometric --select greedy", "select=greedy"),
        ("--temperatures vit=2 --select auto", "select=auto"),
        ("--select auto", "needs 2 models and 50 images .* there are 3 and 6: "),
    ],
)
def test_what_cannot_be_meant_is_refused_and_nothing_written(family, words, message):
    before = snapshot(family.parent)
    assert re.search(message, refused(call(main, *words.split())))
    assert snapshot(family.parent) == before


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mean": "geometrc"}, "mean='geometrc' is no choice; did you mean 'geometric'"),
        ({"select": "gredy"}, "select='gredy' is no choice; did you mean 'greedy'"),
        ({"weights": "vitt=2"}, "no family or model 'vitt' among the members; did you mean 'vit'"),
        ({"weights": 2}, "no family or model '2'"),
        ({"models": "none"}, "no model in"),
    ],
)
def test_a_notebook_s_wrong_parameter_is_refused_before_any_model_is_read(
    family, given, message, monkeypatch
):
    fail = lambda *_: pytest.fail("models were read")  # noqa: E731
    monkeypatch.setattr("src.ensemble.ensemble.read_members", fail)
    assert message in refusal(open_ensemble, **given)


def test_a_weight_of_zero_keeps_a_model_out_of_the_average_and_of_its_hold_out(models, data):
    truth = competition.train_table(data).label
    bundle_in(models, data, "one", valid=sure(dict(truth.iloc[:6]), CLASSES))
    bundle_in(models, data, "two", "swin", valid=sure(dict(truth.iloc[4:8]), CLASSES),
              test=random_table(data, 1))
    assert call(main, "--weights", "swin=0").returncode == 0
    assert weights_of(models) == {"one": 1.0}
    assert record(models)["weights"] == "one=1 two=0"
    assert record(models)["holdout"] == {"wrong": 0, "images": 6}
    assert list(labels_of(models)) == list(competition.solution(data))


def test_the_mean_and_temperatures_are_worked_by_hand(models, data):
    ids = dict.fromkeys(competition.sample(data).image_id, "disease_a")
    bundle_in(models, data, "one", "vit", test=sure(ids, CLASSES, 0.8))  # 8 : 1 : 1
    bundle_in(models, data, "two", "swin", test=sure(ids, CLASSES, 0.5))  # 2 : 1 : 1
    for given, row in (
        ({"mean": "geometric"}, [4 / 6, 1 / 6, 1 / 6]),  # √(8 × 2) = 4
        ({"weights": "swin=0", "temperatures": "vit=3"}, [2 / 4, 1 / 4, 1 / 4]),  # ∛8 = 2
        ({"temperatures": "one=3"}, [0.5, 0.25, 0.25]),
    ):
        assert ensemble_probs(open_ensemble(**given)).iloc[0].to_list() == pytest.approx(row, 1e-6)


# Weights that are searched for


@pytest.fixture(scope="module")
def trials(sixty_once, tmp_path_factory):
    """What a search finds among the strong and the weak models."""
    models = tmp_path_factory.mktemp("searched") / "models"
    strong_and_weak_in(models, sixty_once)
    return find_trials(open_ensemble(data=str(sixty_once), models=str(models)))


def test_a_model_that_proves_better_gets_more_weight_and_its_error_is_the_nested_one(sixty, trials):
    strong_and_weak_in(sixty, competition.find(""))
    equal = open_ensemble()
    assert reweigh(equal, trials) is equal and wrong_of(equal.valid, equal.labels) == (20, 60)
    ensemble = reweigh(open_ensemble(select="auto"), trials)
    assert wrong_of(ensemble.valid, ensemble.labels)[0] < 20
    write_ensemble(ensemble)
    weights = weights_of(sixty)  # those of weight 0 are not listed
    assert weights["strong"] > 2 * max(weights.get("weak_one", 0), weights.get("weak_two", 0))
    written = record(sixty)
    assert written["select"] == "auto" and "is taken" in written["why"]


@pytest.mark.parametrize("select", ["auto", "geometric", "temperature"])
def test_what_was_chosen_and_passed_back_writes_the_same_bytes(sixty, trials, select):
    data = competition.find("")
    strong_and_weak_in(sixty, data)
    for number, name in enumerate(("strong", "weak_one", "weak_two")):
        test = random_table(data, number)
        spoil(bundle.probs_path(sixty, name, "test"),
              lambda _, test=test: pd.concat({"plain": test}, names=["view", "image_id"]))
    ensemble = reweigh(open_ensemble(select=select), trials)
    write_ensemble(ensemble, force=True)
    written = record(sixty)
    same = ("weights", "mean", "temperatures")
    write_ensemble(open_ensemble(**{key: written[key] for key in same}, notebook="again"),
                   force=True)
    first, second = (sixty.parent / "submissions" / f"{n}.csv" for n in ("paddy_train", "again"))
    assert first.read_bytes() == second.read_bytes()
    pd.testing.assert_frame_equal(
        probabilities(sixty), probabilities(sixty, "again"), check_exact=True
    )
    assert {key: record(sixty, "again")[key] for key in same} == {key: written[key] for key in same}
    if select != "auto":
        pd.testing.assert_frame_equal(ensemble.valid, trials[select].probs)
    assert (written["mean"] == "geometric") == (select == "geometric")
    assert bool(written["temperatures"]) == (select == "temperature")


# What is written


def test_the_provenance_has_members_weights_hold_out_error_and_commit(family):
    out = call(main, "--weights", "vit=2").stdout
    written = record(family)
    card = bundle.read_card(family, "vit_two")
    assert written["members"][2] == {
        "name": "vit_two", "family": "vit", "weight": 2.0, "tta": "none",
        "models": {"vit_two": {"sha256": card["sha256"], "commit": "c0ffee"}},
    }  # fmt: skip
    assert weights_of(family) == {"resnet_one": 1, "vit_one": 2, "vit_two": 2}
    assert written["holdout"] == {"wrong": 0, "images": 6}
    assert {"commit", "dirty", "created", "sha256"} < written.keys()
    assert (written["notebook"], written["rows"], written["submitted"]) == ("paddy_train", 9, False)
    assert (written["select"], written["why"]) == ("equal", "")
    words = shlex.split(out.splitlines()[-1])  # the printed line submits the file
    assert words[:5] == ["kaggle", "competitions", "submit", "-c", "paddy-disease-classification"]
    csv = family.parent / "submissions" / "paddy_train.csv"
    assert Path.cwd() / words[words.index("-f") + 1] == csv
    assert "3 models" in words[words.index("-m") + 1] and len(words) == 9


def test_where_the_answers_are_known_the_error_on_the_test_images_is_shown(models, data):
    bundle_in(models, data, "one")
    answers = competition.solution(data)
    others = answers.map(dict(zip(CLASSES, [*CLASSES[1:], CLASSES[0]], strict=True)))
    plain, views = (sure(dict(answers) | dict(others[:wrong]), CLASSES, 0.5) for wrong in (1, 2))
    valid = sure(dict(competition.train_table(data).label.iloc[:6]), CLASSES)
    recipe = make_variant(arch="test_vit").recipe  # with TTA
    bundle_in(models, data, "two", valid=valid, test=plain, views=(valid, views), variant=recipe)
    out = call(main).stdout.partition("solution.csv")[2]
    for name, count, tta in (("one", 0, 0), ("two", 1, 2), ("ensemble", 0, 0)):
        assert re.search(rf"^{name} +{count} of 9 wrong: .* {tta} of 9 wrong", out, re.M), out
    (data / "solution.csv").unlink()
    assert "solution" not in call(main).stdout


def test_a_drawn_competition_is_recorded_and_no_line_to_submit_it_is_printed(family, data):
    assert call(main).returncode == 0 and record(family)["drawn"] is False
    (data / DEMO_MARKER).write_text("{}")
    out = call(main).stdout
    assert record(family)["drawn"] is True
    assert "kaggle competitions" not in out and "not for Kaggle" in out.splitlines()[-1]
