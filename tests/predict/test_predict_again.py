"""When the test set is predicted again: whenever the files there are of something else."""


import numpy as np
import pandas as pd
import pytest
from conftest import run
from PIL import Image
from small_bundles import RESNET, VIT, call, learner, refused, settings, snapshot, tables_of

from src import bundle, competition
from src.core import config
from src.ensemble.__main__ import main as ensemble
from src.predict import bundles as predict
from src.predict.__main__ import main
from src.vision import open_image


@pytest.fixture
def models(predicted):
    """Two models that have predicted the test set."""
    return predicted


def test_fresh_predictions_are_not_made_again(models):
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


def test_an_image_of_other_bytes_is_predicted_anew_never_read_from_old_files(models, data):
    Image.new("RGB", (48, 64), "red").save(data / "test_images" / "200001.jpg", quality=95)
    before = tables_of(models, RESNET)[0]["plain"]
    assert call(ensemble).returncode == 0
    after, meta = tables_of(models, RESNET)
    assert meta["images"] == competition.test_fingerprint(data)
    moved = (after["plain"] - before).abs().max(axis=1)
    assert moved["200001.jpg"] > 1e-3 and moved.drop("200001.jpg").max() < 1e-6


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


def test_a_killed_prediction_of_a_hold_out_resumes(models, monkeypatch):
    whole, opened = predict.predict, []

    def killed(learners, variants, paths, unfinished):
        whole(learners, variants, dict(list(paths.items())[:2]), unfinished)
        raise KeyboardInterrupt

    def noted(path):
        opened.append(path.name)
        return open_image(path)

    with monkeypatch.context() as patch:
        patch.setattr(predict, "predict", killed)
        pytest.raises(KeyboardInterrupt, predict.predict_bundles, {VIT: {"views": 3}}, models)
    monkeypatch.setattr("src.vision.open_image", noted)
    assert call(main, VIT, "--views", "3").returncode == 0
    held_out = list(tables_of(models, VIT, "valid")[0]["plain"].index)
    assert set(held_out) - set(opened) == set(held_out[:2])
    assert not list(config.cache_dir().glob("predicting_*"))


def test_folds_that_hold_out_other_images_are_refused_with_both_remedies(models, data):
    (path,) = models.glob("folds_*_seed42.csv")
    content = path.read_text()
    table = pd.read_csv(path)
    table.assign(fold=(table.fold + 1) % 5).to_csv(path, index=False)
    line = refused(call(main, VIT, "--beta", "1"))
    assert "restore the folds_….csv of its training, or train it again: " in line
    assert line.endswith(f"python -m src.run {VIT} --overwrite")
    path.write_text(content)
    assert call(main, VIT, "--beta", "1").returncode == 0


def test_another_share_of_the_plain_view_gives_the_card_its_new_error(models, data):
    card = bundle.read_card(models, VIT)
    bundle.write_card(models, card | {"holdout": bundle.holdout_counts(6, 0, 5)})
    assert call(main, VIT, "--beta", "1").returncode == 0
    tables, labels = tables_of(models, VIT, "valid")[0], competition.train_table(data).label
    assert bundle.read_card(models, VIT)["holdout"] == bundle.holdout_facts(tables, labels, 1)


def test_predictions_of_an_older_model_of_the_name_are_not_taken_for_its_own(models, data):
    card, learn = bundle.read_card(models, VIT), learner(models, VIT)
    for weights in learn.model.parameters():
        weights.data.mul_(0.5)
    learn.export(bundle.pkl_path(models, VIT))
    bundle.write_card(models, card)
    old = tables_of(models, VIT)[0]["plain"]
    assert call(ensemble).returncode == 0
    new, meta = tables_of(models, VIT)
    assert meta["sha256"] == bundle.read_card(models, VIT)["sha256"] != card["sha256"]
    assert not np.allclose(new["plain"], old, atol=1e-3)


def test_a_missing_or_half_written_prediction_file_is_made_again_the_same(models):
    before = tables_of(models, VIT)[0], tables_of(models, RESNET)[0]
    bundle.probs_path(models, VIT, "test").unlink()
    path = bundle.probs_path(models, RESNET, "test")
    path.write_bytes(path.read_bytes()[:500])
    assert call(main, VIT, RESNET).stdout == f"{VIT}: predicted\n{RESNET}: predicted\n"
    for old, name in zip(before, (VIT, RESNET), strict=True):
        for view, table in tables_of(models, name)[0].items():
            pd.testing.assert_frame_equal(table, old[view], check_exact=True)
