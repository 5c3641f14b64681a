"""Predictions of the test set: the model's own, repeatable, never stale, one decoding an image."""

import json
import os
import shutil

import numpy as np
import pandas as pd
import PIL.Image
import pytest
from conftest import draw_competition, run
from fastai.learner import load_learner
from PIL import Image
from small_bundles import call, refused, snapshot

from src import bundle, competition
from src.ensemble import main as ensemble
from src.predict import main, predict
from src.probs import is_fresh, read_probs

RESNET, VIT = "test_resnet_squish_32", "test_vit_squish_32"


@pytest.fixture(scope="module")
def predicted_once(trained_once, competition_once, tmp_path_factory):
    """A work folder whose two models have predicted the test set."""
    work = shutil.copytree(trained_once, tmp_path_factory.mktemp("predicted") / "work")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PADDY_WORK", str(work))
        patch.setenv("PADDY_DATA", str(competition_once))
        done = call(main, RESNET, VIT)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{RESNET}: predicted\n{VIT}: predicted\n"
    return work


@pytest.fixture
def models(predicted_once, tmp_path, monkeypatch, data):
    """A models folder of the test's own, with finished predictions."""
    work = shutil.copytree(predicted_once, tmp_path / "predicted")
    monkeypatch.setenv("PADDY_WORK", str(work))
    return work / "models"


def tables_of(models, name, split="test"):
    """The probabilities of a bundle by view, and their metadata."""
    return read_probs(bundle.probs_path(models, name, split))


def learner(models, name):
    """The Learner as plain fastai loads it."""
    return load_learner(bundle.pkl_path(models, name))


def settings(seed=42, tta="random", views=2):
    """How a model is asked."""
    return {"tta": tta, "views": views, "beta": 0.25, "seed": seed}


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
        "tta": settings(),
        "images": competition.test_fingerprint(data) if split == "test" else card["held_out"],
    }


def test_the_path_that_predicts_the_test_set_repeats_the_stored_hold_out(models, data):
    stored = tables_of(models, RESNET, "valid")[0]["plain"]
    labels = competition.train_table(data).label
    paths = {i: competition.train_path(data, i, labels[i]) for i in stored.index}
    again = predict({"it": learner(models, RESNET)}, paths, {"it": settings()})["it"]
    np.testing.assert_allclose(stored.to_numpy(), again["plain"].to_numpy(), atol=1e-4)


def test_the_views_of_a_seed_repeat_exactly_and_another_seed_has_others(models, data):
    learn, paths = learner(models, RESNET), competition.test_paths(data)
    first, again, other = (
        predict({"it": learn}, paths, {"it": settings(seed)})["it"] for seed in (1, 1, 2)
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
    alone = predict({name: learner(models, VIT)}, paths, {name: settings()})[name]
    pair = {"other": learner(models, RESNET), name: learner(models, VIT)}
    beside = predict(pair, paths, {"other": settings(), name: settings()})[name]
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
    predict(pair, competition.test_paths(data), {name: settings() for name in pair})
    assert sorted(opened.read_text().split()) == sorted(competition.sample(data).image_id)


# When it is predicted again


def test_fresh_predictions_are_kept_as_they_are(models):
    before = {path: path.stat().st_mtime_ns for path in models.iterdir()}
    assert call(main, RESNET, VIT).stdout == f"{RESNET}: up to date\n{VIT}: up to date\n"
    assert {path: path.stat().st_mtime_ns for path in models.iterdir()} == before


def test_an_ensemble_of_fresh_predictions_imports_no_torch(models):
    before = {path: path.stat().st_mtime_ns for path in models.iterdir()}
    done = run("-X", "importtime", "-m", "src.ensemble")
    assert done.returncode == 0, done.stderr[-2000:]
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "pyarrow" in imported and not imported & {"torch", "fastai", "timm"}
    assert {path: path.stat().st_mtime_ns for path in models.iterdir()} == before


def new_bytes(data):
    Image.new("RGB", (48, 64), "red").save(data / "test_images" / "200001.jpg", quality=95)


def fewer_images(data):
    (data / "test_images" / "200009.jpg").unlink()
    for name in ("sample_submission.csv", "solution.csv"):
        pd.read_csv(data / name).iloc[:-1].to_csv(data / name, index=False)


@pytest.mark.parametrize("change", [new_bytes, fewer_images])
def test_other_test_images_are_predicted_anew_never_answered_from_old_files(models, data, change):
    change(data)
    before = tables_of(models, RESNET)[0]["plain"]
    assert call(ensemble).returncode == 0
    after, meta = tables_of(models, RESNET)
    assert meta["images"] == competition.test_fingerprint(data)
    assert set(after["plain"].index) == set(competition.sample(data).image_id)
    if change is new_bytes:
        moved = (after["plain"] - before).abs().max(axis=1)
        assert moved["200001.jpg"] > 1e-3 and moved.drop("200001.jpg").max() < 1e-6


def test_another_test_folder_means_new_predictions(models, tmp_path, monkeypatch):
    other = draw_competition(tmp_path / "other", test=4)
    shutil.rmtree(other / "train_images")
    shutil.copytree(os.environ["PADDY_DATA"] + "/train_images", other / "train_images")
    shutil.copy(os.environ["PADDY_DATA"] + "/train.csv", other)
    done = call(ensemble, "--data", other)
    assert done.returncode == 0, done.stderr
    assert len(tables_of(models, VIT)[0]["plain"]) == 4


@pytest.mark.parametrize(
    "words, views, expected",
    [
        (("--tta", "none"), ["plain"], settings(tta="none")),
        (("--views", "3"), ["plain", "views"], settings(views=3)),
    ],
)
def test_another_tta_setting_means_new_predictions_of_both_splits(models, words, views, expected):
    before = {s: tables_of(models, VIT, s)[0] for s in ("test", "valid")}
    untouched = snapshot(models)
    assert call(main, VIT, *words).stdout == f"{VIT}: predicted\n"
    for split, old in before.items():
        tables, meta = tables_of(models, VIT, split)
        assert list(tables) == views and meta["tta"] == expected
        np.testing.assert_allclose(tables["plain"], old["plain"], atol=1e-4)
        assert "views" not in tables or not tables["views"].equals(old["views"])
    card, after = bundle.read_card(models, VIT), snapshot(models)
    assert {k: card["variant"][k] for k in expected} == expected
    assert {k for k in untouched if untouched[k] != after[k]} == {
        str(models / f"{VIT}.{end}") for end in ("json", "test.parquet", "valid.parquet")
    }
    assert call(main, VIT, *words).stdout == f"{VIT}: up to date\n"


def test_another_share_of_the_plain_view_gives_the_card_its_new_error(models, data):
    assert call(main, VIT, "--beta", "1").returncode == 0
    held = bundle.read_card(models, VIT)["holdout"]
    assert held["wrong_tta"] == held["wrong_plain"]


def test_predictions_of_an_older_model_of_the_name_are_not_taken_for_its_own(models, data):
    """The bundle is replaced by another training, its .test.parquet stays behind."""
    card = bundle.read_card(models, VIT)
    path = bundle.pkl_path(models, VIT)
    learn = learner(models, VIT)
    for weights in learn.model.parameters():
        weights.data.mul_(0.5)
    learn.export(path)
    bundle.write_card(models, card)
    old = tables_of(models, VIT)[0]["plain"]
    assert call(ensemble).returncode == 0
    new, meta = tables_of(models, VIT)
    assert meta["sha256"] == bundle.read_card(models, VIT)["sha256"] != card["sha256"]
    assert not np.allclose(new["plain"], old, atol=1e-3)


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
    card["variant"]["mixup"] = 0.4
    path.write_text(json.dumps(card))
    assert "mixup" in refused(call(main, VIT))


def test_help_shows_the_use():
    done = call(main, "--help")
    assert done.returncode == 0 and "python -m src.predict vit_small_squish_224" in done.stdout


def test_a_half_written_prediction_file_is_made_again(models, data):
    path = bundle.probs_path(models, VIT, "test")
    path.write_bytes(path.read_bytes()[:500])
    assert call(ensemble).returncode == 0
    card = bundle.read_card(models, VIT)
    images = competition.test_fingerprint(data)
    assert is_fresh(path, bundle.expected_meta(card, "test", images))
