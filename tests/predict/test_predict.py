"""Predictions of the test set: the model's own, repeatable, never stale, one decoding an image."""

import json
import os

import numpy as np
import pandas as pd
import PIL.Image
import PIL.ImageOps
import pytest
from small_bundles import (
    RESNET,
    VIT,
    call,
    learner,
    refused,
    snapshot,
    tables_of,
    variant,
)

from src import bundle
from src.competition import dataset as competition
from src.predict import predict
from src.predict.__main__ import main


@pytest.fixture
def models(predicted):
    """Two models that have predicted the test set."""
    return predicted


# What is predicted


@pytest.mark.parametrize("name", [RESNET, VIT])
def test_the_plain_view_is_what_load_learner_and_get_preds_say(models, data, name):
    learn, paths = learner(models, name), competition.test_paths(data)
    probs, _ = learn.get_preds(dl=learn.dls.test_dl(list(paths.values())))
    plain = tables_of(models, name)[0]["plain"]
    assert list(plain.index) == list(paths)
    assert list(plain.columns) == list(learn.dls.vocab)
    np.testing.assert_allclose(plain.to_numpy(), probs.numpy(), atol=1e-4)
    assert np.ptp(plain.to_numpy(), axis=0).max() > 1e-3, "all images alike: this shows nothing"


def test_flips_are_the_model_s_answers_to_the_mirrored_photographs(models, data):
    learners, asked = {VIT: learner(models, VIT)}, {VIT: variant(VIT, tta="flips")}
    paths = competition.test_paths(data)
    mirrored = predict(learners, asked, paths)[VIT]["views"]
    for path in paths.values():
        PIL.ImageOps.mirror(PIL.Image.open(path)).save(path, format="png")
    plain = predict(learners, asked, paths)[VIT]["plain"]
    np.testing.assert_allclose(mirrored, plain, atol=0.02)
    assert np.ptp(plain.to_numpy(), axis=0).max() > 0.05, "all images alike: this shows nothing"


@pytest.mark.parametrize("kind", ["flips", "crops", "rotations"])
def test_each_kind_of_fixed_views_can_be_asked_for(models, kind):
    before = tables_of(models, VIT)[0]["views"]
    assert call(main, VIT, "--tta", kind).stdout == f"{VIT}: predicted\n"
    tables, meta = tables_of(models, VIT)
    assert meta["tta"]["tta"] == kind and not tables["views"].equals(before)
    assert bundle.read_card(models, VIT)["variant"]["tta"] == kind


@pytest.mark.parametrize("split", ["test", "valid"])
def test_rows_sum_to_one_under_the_ids_and_the_class_names(models, data, split):
    tables, meta = tables_of(models, VIT, split)
    ids = competition.sample(data).image_id
    for table in tables.values():
        np.testing.assert_allclose(table.sum(axis=1), 1, atol=1e-5)
        assert list(table.columns) == competition.classes(data)
        assert split == "valid" or set(table.index) == set(ids)
    assert list(tables) == ["plain", "views"] and not tables["views"].equals(tables["plain"])
    card = bundle.read_card(models, VIT)
    assert meta == {
        "kind": "probability", "split": split, "model": VIT, "sha256": card["sha256"],
        "tta": bundle.tta_settings(card),
        "images": competition.test_fingerprint(data) if split == "test" else card["held_out"],
    }


def test_the_path_that_predicts_the_test_set_repeats_the_stored_hold_out(models, data):
    stored = tables_of(models, RESNET, "valid")[0]["plain"]
    paths = competition.train_paths(data)[stored.index].to_dict()
    again = predict({"it": learner(models, RESNET)}, {"it": variant(RESNET)}, paths)["it"]
    np.testing.assert_allclose(stored.to_numpy(), again["plain"].to_numpy(), atol=1e-4)


def test_the_views_of_a_seed_repeat_exactly_and_another_seed_has_others(models, data):
    learn, paths = learner(models, RESNET), competition.test_paths(data)
    first, again, other = (
        predict({"it": learn}, {"it": variant(RESNET, seed=s)}, paths)["it"] for s in (1, 1, 2)
    )
    pd.testing.assert_frame_equal(first["views"], again["views"], check_exact=True)
    pd.testing.assert_frame_equal(first["plain"], other["plain"], check_exact=True)
    assert not np.allclose(first["views"], other["views"], atol=1e-5)


def test_a_file_that_was_deleted_comes_back_the_same(models):
    path = bundle.probs_path(models, VIT, "test")
    before = tables_of(models, VIT)[0]
    path.unlink()
    assert call(main, VIT).stdout == f"{VIT}: predicted\n"
    after = tables_of(models, VIT)[0]
    for view in ("plain", "views"):
        pd.testing.assert_frame_equal(before[view], after[view], check_exact=True)


def test_a_model_says_the_same_alone_and_beside_another(models, data):
    paths, name = competition.test_paths(data), "it"
    alone = predict({name: learner(models, VIT)}, {name: variant(VIT)}, paths)[name]
    pair = {"other": learner(models, RESNET), name: learner(models, VIT)}
    beside = predict(pair, {"other": variant(RESNET), name: variant(VIT)}, paths)[name]
    for view in ("plain", "views"):
        np.testing.assert_allclose(alone[view], beside[view], atol=1e-6)


def test_each_image_is_decoded_once_for_two_models(models, data, tmp_path, monkeypatch):
    """Counted in a file: the images may be opened in the loader's own processes."""
    opened, original = tmp_path / "opened", PIL.Image.open

    def counting(file, *args, **kwargs):
        with open(opened, "a") as log:
            log.write(f"{os.path.basename(file)}\n")
        return original(file, *args, **kwargs)

    pair = {RESNET: learner(models, RESNET), VIT: learner(models, VIT)}
    monkeypatch.setattr(PIL.Image, "open", counting)
    predict(pair, {name: variant(name) for name in pair}, competition.test_paths(data))
    assert sorted(opened.read_text().split()) == sorted(competition.sample(data).image_id)


def test_a_killed_prediction_goes_on_where_it_was(models, data, tmp_path, monkeypatch):
    """Whatever a run had answered when it was killed is not asked, not even read, again."""
    learners, variants = {RESNET: learner(models, RESNET)}, {RESNET: variant(RESNET)}
    paths, keep = competition.test_paths(data), tmp_path / "kept"
    whole = predict(learners, variants, paths)[RESNET]
    early = dict(list(paths.items())[:5])
    predict(learners, variants, early, keep)
    for path in early.values():
        path.unlink()
    resumed = predict(learners, variants, paths, keep)[RESNET]
    for view in ("plain", "views"):
        pd.testing.assert_frame_equal(resumed[view], whole[view], atol=1e-6)


# What is refused


def test_an_unreadable_image_stops_it_with_the_file_s_name_and_writes_nothing(models, data):
    path = data / "test_images" / "200005.jpg"
    path.write_bytes(path.read_bytes()[:700])
    before = snapshot(models, data)
    line = refused(call(main, RESNET))
    assert "200005.jpg" in line and "truncated" in line
    assert snapshot(models, data) == before


def test_an_unknown_model_stops_with_those_that_are_finished(models):
    line = refused(call(main, "test_vit"))
    assert "'test_vit'" in line and f"{RESNET}, {VIT}" in line


@pytest.mark.parametrize("words", [("--views", "0"), ("--beta", "2")])
def test_settings_out_of_range_are_refused(models, words):
    before = snapshot(models)
    assert words[0].strip("-") in refused(call(main, VIT, *words))
    assert snapshot(models) == before


def test_a_hold_out_is_not_predicted_again_on_other_photographs(models, data):
    train = data / "train_images" / "disease_a" / "100001.jpg"
    train.write_bytes(train.read_bytes() + b"\0")
    before = snapshot(models)
    assert "other images" in refused(call(main, VIT, "--views", "3"))
    assert snapshot(models) == before


def test_a_stored_setting_this_version_does_not_know_is_refused(models):
    path = bundle.card_path(models, VIT)
    card = json.loads(path.read_text())
    card["variant"]["focal"] = 0.4
    path.write_text(json.dumps(card))
    assert "focal" in refused(call(main, VIT))


def test_help_shows_the_use():
    done = call(main, "--help")
    assert done.returncode == 0 and "python -m src.predict vit_small_squish_224" in done.stdout


def test_a_model_named_twice_is_refused_before_any_work(models):
    before = snapshot(models)
    line = refused(call(main, RESNET, VIT, RESNET, "--tta", "none"))
    assert f"{RESNET} is given twice" in line
    assert snapshot(models) == before
