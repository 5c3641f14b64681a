"""Predictions of the test set: the model's own, repeatable, one decoding an image."""

import os
import threading
from types import SimpleNamespace

import numpy as np
import pandas as pd
import PIL.Image
import PIL.ImageOps
import pytest
from small_bundles import RESNET, VIT, call, learner, refused, snapshot, tables_of, variant

from src import bundle, competition
from src.predict import bundles, predict
from src.predict.__main__ import main


@pytest.fixture
def models(predicted):
    """Two models that have predicted the test set."""
    return predicted


def assert_same(one, other, **options):
    for view in ("plain", "views"):
        pd.testing.assert_frame_equal(one[view], other[view], **options)


@pytest.mark.parametrize("name", [RESNET, VIT])
def test_the_plain_view_is_what_load_learner_and_get_preds_predict(models, data, name):
    learn, paths = learner(models, name), competition.test_paths(data)
    probs, _ = learn.get_preds(dl=learn.dls.test_dl(list(paths.values())))
    plain = tables_of(models, name)[0]["plain"]
    assert list(plain.index) == list(paths)
    assert list(plain.columns) == list(learn.dls.vocab)
    np.testing.assert_allclose(plain.to_numpy(), probs.numpy(), atol=1e-4)
    assert np.ptp(plain.to_numpy(), axis=0).max() > 1e-3, "all images are equal: shows nothing"


def test_flips_are_the_predictions_of_the_mirrored_photographs(models, data):
    learners, variants = {VIT: learner(models, VIT)}, {VIT: variant(VIT, tta="flips")}
    paths = competition.test_paths(data)
    mirrored = predict(learners, variants, paths)[VIT]["views"]
    for path in paths.values():
        PIL.ImageOps.mirror(PIL.Image.open(path)).save(path, format="png")
    plain = predict(learners, variants, paths)[VIT]["plain"]
    np.testing.assert_allclose(mirrored, plain, atol=0.02)
    assert np.ptp(plain.to_numpy(), axis=0).max() > 0.05, "all images are equal: shows nothing"


def test_no_thread_of_a_prediction_ends_since_loaders_are_forked_after_it(models, data):
    """A lock of MKL that an ending thread holds would stay locked in them: they hang, rarely."""
    predict({VIT: learner(models, VIT)}, {VIT: variant(VIT)}, competition.test_paths(data))
    assert [thread for thread in threading.enumerate() if "ThreadPoolExecutor" in thread.name]


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


def test_views_depend_on_the_seed_of_each_model_and_not_on_its_neighbours(models, data):
    paths, vit, resnet = competition.test_paths(data), learner(models, VIT), learner(models, RESNET)

    def alone(seed):
        return predict({"it": vit}, {"it": variant(VIT, seed=seed)}, paths)["it"]

    first, again, other = alone(1), alone(1), alone(2)
    assert_same(first, again, check_exact=True)
    pd.testing.assert_frame_equal(first["plain"], other["plain"], check_exact=True)
    assert not np.allclose(first["views"], other["views"], atol=1e-5)
    variants = {"a": variant(RESNET), "b": variant(VIT, seed=1), "c": variant(VIT, seed=2)}
    beside = predict({"a": resnet, "b": vit, "c": vit}, variants, paths)
    assert_same(beside["b"], first, atol=1e-6)
    assert_same(beside["c"], other, atol=1e-6)


def test_each_image_is_decoded_once_for_two_models(models, data, monkeypatch):
    opened, original = [], PIL.Image.open

    def counting(file, *args, **kwargs):
        opened.append(os.path.basename(file))
        return original(file, *args, **kwargs)

    pair = {RESNET: learner(models, RESNET), VIT: learner(models, VIT)}
    monkeypatch.setattr(PIL.Image, "open", counting)
    predict(pair, {name: variant(name) for name in pair}, competition.test_paths(data))
    assert sorted(opened) == sorted(competition.sample(data).image_id)


def test_a_killed_prediction_resumes(models, data, tmp_path):
    learners, variants = {RESNET: learner(models, RESNET)}, {RESNET: variant(RESNET)}
    paths, unfinished = competition.test_paths(data), tmp_path / "unfinished"
    whole = predict(learners, variants, paths)[RESNET]
    last = dict(list(paths.items())[-5:])
    predict(learners, variants, last, unfinished)
    for path in last.values():
        path.unlink()
    assert_same(predict(learners, variants, paths, unfinished)[RESNET], whole, atol=1e-6)


def test_models_that_do_not_fit_into_memory_together_take_turns(monkeypatch):
    monkeypatch.setattr(bundles.torch, "cuda", SimpleNamespace(is_available=lambda: False))
    monkeypatch.setattr(bundles.core, "free_memory", lambda: 100 / bundles.SHARE)
    cards = [{"bytes": size} for size in (40, 60, 1, 200, 10, 10)]
    groups = [[card["bytes"] for card in group] for group in bundles.groups_that_fit(cards)]
    assert groups == [[40, 60], [1], [200], [10, 10]]


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["test_vit"], ["'test_vit'", f"{RESNET}, {VIT}"]),
        ([VIT, "--views", "0"], ["views"]),
        ([RESNET, VIT, RESNET, "--tta", "none"], [f"{RESNET} is given twice"]),
    ],
)
def test_mistakes_of_the_command_are_refused(models, words, parts):
    before = snapshot(models)
    line = refused(call(main, *words))
    assert all(part in line for part in parts) and snapshot(models) == before


def test_an_unreadable_image_stops_it_with_the_file_s_name_and_writes_nothing(models, data):
    path = data / "test_images" / "200005.jpg"
    path.write_bytes(path.read_bytes()[:700])
    before = snapshot(models, data)
    assert "200005.jpg" in refused(call(main, RESNET))
    assert snapshot(models, data) == before


def test_a_hold_out_is_not_predicted_again_on_other_photographs(models, data):
    train = data / "train_images" / "disease_a" / "100001.jpg"
    train.write_bytes(train.read_bytes() + b"\0")
    before = snapshot(models)
    assert "other images" in refused(call(main, VIT, "--views", "3"))
    assert snapshot(models) == before


def test_a_stored_setting_this_version_does_not_know_is_refused(models):
    card = bundle.read_card(models, VIT)
    card["variant"]["focal"] = 0.4
    bundle.write_card(models, card)
    assert "focal" in refused(call(main, VIT))
