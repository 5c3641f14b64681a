"""A fitted Learner becomes a bundle: proven on reload, whole or not there at all."""

import os
import shutil
import sys
import zipfile

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import TINY, refusal
from fastai.vision.all import Learner
from small_bundles import snapshot
from small_training import run_of, untrained
from torch import backends

from src import bundle, competition, core
from src.core import UserError, make_variant, sha256
from src.evidence import blend, read_probs
from src.training import export, holdout_probs, holdout_table, plot_mistakes
from src.training.export import full_precision

LEVELS = backends.cudnn.conv, backends.cuda.matmul
VARIANT = make_variant(**TINY)
NAME = VARIANT.name


@pytest.fixture(scope="module")
def learn(competition_once, tmp_path_factory):
    """One Learner for all tests of this file."""
    return untrained(competition_once, tmp_path_factory.mktemp("models"), VARIANT)


@pytest.fixture(scope="module")
def tables(learn):
    """Its hold-out probabilities."""
    return holdout_probs(learn, VARIANT)


@pytest.fixture
def here(competition_once, tmp_path):
    """A run with an empty models folder."""
    return run_of(competition_once, tmp_path / "models", VARIANT)


@pytest.fixture(scope="module")
def bundled(learn, tables, competition_once, tmp_path_factory):
    """The run that has exported it."""
    run = run_of(competition_once, tmp_path_factory.mktemp("bundled"), VARIANT)
    attributes = dict(vars(learn))
    assert export(learn, VARIANT, tables, run) == run.models / f"{NAME}.pkl"
    assert vars(learn) == attributes and len(learn.dls.valid_ds) == len(tables["plain"])
    return run


def test_stored_plain_probabilities_are_those_of_the_learner(learn, bundled):
    stored, meta = read_probs(bundled.models / f"{NAME}.valid.parquet")
    paths = competition.train_paths(bundled.folder)
    paths = paths[bundled.folds.loc[paths.index] == 0]  # the hold-out, sorted by id
    assert list(stored["plain"].index) == list(paths.index)
    assert list(stored["plain"]) == list(learn.dls.vocab) == competition.classes(bundled.folder)
    probs, _ = learn.get_preds()
    np.testing.assert_allclose(stored["plain"].to_numpy(), probs.numpy(), atol=1e-6)
    assert (meta["split"], meta["model"]) == ("valid", NAME)
    assert meta["sha256"] == sha256(bundled.models / f"{NAME}.pkl")
    assert meta["tta"] == {"tta": "random", "views": 2, "beta": 0.25, "seed": 42}


def test_card_has_what_makes_the_model_again_and_its_errors(tables, bundled):
    cards, labels = bundle.read_cards(bundled.models)[0], competition.train_table(bundled.folder)
    expected = {
        "variant": VARIANT.recipe, "family": "resnet", "timm_name": "test_resnet",
        "data": competition.train_fingerprint(bundled.folder),
        "folds": competition.digest(bundled.folds), "seconds": 1.2, "notebook": "paddy_train",
        "epochs": [{"train_loss": 0.5, "valid_loss": 0.75, "wrong": 2, "seconds": 1.25}],
        "started": "2026-01-02T03:04:05+00:00", "machine": core.machine(),
    }
    assert cards == {NAME: cards[NAME] | expected}
    held, shown = cards[NAME]["holdout"], holdout_table(tables, bundled.folder, VARIANT.beta)
    ways = {"plain": tables["plain"], "tta": blend(tables, VARIANT.beta)}
    for (way, table), cell in zip(ways.items(), shown.iloc[:, 0], strict=True):
        wrong = int((table.idxmax(axis=1) != labels.label.loc[table.index]).sum())
        assert (held["images"], held[f"wrong_{way}"]) == (6, wrong)
        assert held[f"error_{way}"] == pytest.approx(wrong / 6, abs=1e-6)
        assert cell.startswith(f"{wrong} of 6 wrong: ")


# parity


@pytest.mark.parametrize("lie", [lambda p: p.iloc[::-1].set_axis(p.index), lambda p: p * np.nan])
def test_model_that_predicts_otherwise_on_reload_leaves_the_bundle(learn, tables, bundled, lie):
    before = snapshot(bundled.models)
    wrong = tables | {"plain": lie(tables["plain"])}
    assert "not the trained one" in refusal(export, learn, VARIANT, wrong, bundled)
    assert snapshot(bundled.models) == before


def test_without_a_hold_out_the_reloaded_model_is_checked_on_training_images(
    competition_once, tmp_path, monkeypatch
):
    variant, load = make_variant(**TINY, fold="all"), bundle.load_pkl
    learn, here = (make(competition_once, tmp_path, variant) for make in (untrained, run_of))
    assert holdout_probs(learn, variant) == {}
    export(learn, variant, {}, here)
    assert bundle.read_cards(here.models)[0].keys() == {variant.name}
    before = snapshot(here.models)

    def another(path):
        reloaded = load(path)
        for weights in reloaded.model.parameters():
            weights.data.mul_(0.9)
        return reloaded

    monkeypatch.setattr(bundle, "load_pkl", another)
    assert "not the trained one" in refusal(export, learn, variant, {}, here)
    assert snapshot(here.models) == before


def precisions() -> list[str]:
    """The precision in force for convolutions and matrix products."""
    return [level.fp32_precision for level in LEVELS]


@pytest.mark.parametrize("fold", [0, "all"])
def test_both_sides_are_computed_without_tf32(competition_once, tmp_path, monkeypatch, fold):
    variant, room, seen = make_variant(**TINY, fold=fold), sys.modules["src.training.export"], []

    def noting(predict):
        return lambda *args, **kwargs: seen.append(precisions()) or predict(*args, **kwargs)

    learn = untrained(competition_once, tmp_path, variant)
    monkeypatch.setattr(Learner, "get_preds", noting(Learner.get_preds))
    tables = holdout_probs(learn, variant)
    monkeypatch.setattr(room, "predict", noting(room.predict))
    export(learn, variant, tables, run_of(competition_once, tmp_path, variant))
    assert seen == [["ieee", "ieee"]] * 2


def test_precision_is_restored_after_an_interruption():
    before = precisions()
    assert before[0] == "tf32", "torch's default"
    with pytest.raises(KeyboardInterrupt), full_precision():
        raise KeyboardInterrupt
    assert precisions() == before


# accidents


class Killed(BaseException):
    """Ends an export at once."""


@pytest.mark.parametrize("older", [True, False])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_kill_between_the_files_leaves_whole_ones_that_a_rerun_completes(
    learn, tables, bundled, here, monkeypatch, number, older
):
    if older:
        shutil.copytree(bundled.models, here.models, dirs_exist_ok=True)
    replace, written = os.replace, []

    def replace_until_killed(temporary, path):
        replace(temporary, path)
        written.append(path)
        if len(written) == number:
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(os, "replace", replace_until_killed)
        export(learn, VARIANT, tables, here)
    kinds = [path.name.removeprefix(NAME) for path in written]
    assert kinds == [".pkl", ".valid.parquet", ".json"][:number]
    assert zipfile.ZipFile(here.models / f"{NAME}.pkl").testzip() is None
    if number < 3:
        with pytest.raises(UserError, match="not the file its card|no finished model"):
            bundle.load(here.models, NAME)
    export(learn, VARIANT, tables, here)
    assert list(bundle.load(here.models, NAME).dls.vocab) == list(learn.dls.vocab)


def test_full_disk_while_the_model_is_written_is_one_line_and_leaves_what_was_there(
    learn, tables, bundled, monkeypatch
):
    def full(_, path):
        path.write_bytes(b"PK half of it")
        raise RuntimeError("PytorchStreamWriter failed writing file: No space left")

    before = snapshot(bundled.models)
    monkeypatch.setattr(torch, "save", full)
    assert "cannot write" in refusal(export, learn, VARIANT, tables, bundled)
    assert snapshot(bundled.models) == before


def test_mistakes_are_drawn_of_a_hold_out_of_a_few_images(competition_once, tmp_path):
    folder = shutil.copytree(competition_once, tmp_path / "few")
    table = pd.read_csv(folder / "train.csv")
    few = table.groupby("label").head(5)
    for image, label in table.drop(few.index)[["image_id", "label"]].to_numpy():
        (folder / "train_images" / label / image).unlink()
    few.to_csv(folder / "train.csv", index=False)
    learn = untrained(folder, tmp_path / "models", VARIANT)
    assert 0 < len(learn.dls.valid_ds) < 6
    before = plt.get_fignums()
    plot_mistakes(learn)
    drawn = [number for number in plt.get_fignums() if number not in before]
    plt.close("all")
    assert len(drawn) == 2
