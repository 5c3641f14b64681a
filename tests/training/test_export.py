"""A fitted Learner becomes a bundle: proven on reload, whole or not there at all."""

import json
import signal
import sys
import zipfile
from contextlib import suppress

import numpy as np
import pytest
from conftest import ROOT, TINY, refusal, run
from fastai.vision.all import Learner
from small_bundles import snapshot
from small_training import run_of, untrained
from torch import backends

from src import bundle, competition
from src.core import UserError, make_variant, sha256
from src.evidence import blend, read_probs
from src.training import export, holdout_probs, holdout_table
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


def test_export_leaves_a_bundle_and_the_learner_as_it_was(learn, tables, here):
    files, attributes = set(here.models.iterdir()), dict(vars(learn))
    assert export(learn, VARIANT, tables, here) == here.models / f"{NAME}.pkl"
    new = {path.name for path in set(here.models.iterdir()) - files}
    assert new == {f"{NAME}.pkl", f"{NAME}.json", f"{NAME}.valid.parquet"}
    assert bundle.read_cards(here.models)[0].keys() == {NAME}
    assert vars(learn).keys() == attributes.keys()
    assert not [name for name, value in attributes.items() if vars(learn)[name] is not value]
    assert len(learn.dls.valid_ds) == len(tables["plain"])


def test_stored_plain_probabilities_are_those_of_the_learner(learn, tables, here):
    export(learn, VARIANT, tables, here)
    stored, meta = read_probs(here.models / f"{NAME}.valid.parquet")
    paths = competition.train_paths(here.folder)
    paths = paths[here.folds.loc[paths.index] == 0]  # the hold-out, sorted by id
    assert list(stored["plain"].index) == list(paths.index)
    assert list(stored["plain"]) == list(learn.dls.vocab) == competition.classes(here.folder)
    probs, targets = learn.get_preds()
    np.testing.assert_allclose(stored["plain"].to_numpy(), probs.numpy(), atol=1e-6)
    labels = competition.train_table(here.folder).label.loc[paths.index]
    assert [learn.dls.vocab[t] for t in targets] == list(labels)
    assert (meta["split"], meta["model"]) == ("valid", NAME)
    assert meta["sha256"] == bundle.read_card(here.models, NAME)["sha256"]
    assert meta["tta"] == {"tta": "random", "views": 2, "beta": 0.25, "seed": 42}


def test_card_has_what_makes_the_model_again_and_its_errors(learn, tables, here):
    export(learn, VARIANT, tables, here)
    card, labels = bundle.read_card(here.models, NAME), competition.train_table(here.folder).label
    expected = {
        "variant": VARIANT.recipe, "family": "resnet", "timm_name": "test_resnet",
        "data": competition.train_fingerprint(here.folder),
        "folds": competition.digest(here.folds), "seconds": 1.2, "notebook": "paddy_train",
    }
    assert card | expected == card
    held, shown = card["holdout"], holdout_table(tables, here.folder, VARIANT.beta)
    ways = {"plain": tables["plain"], "tta": blend(tables, VARIANT.beta)}
    for (way, table), cell in zip(ways.items(), shown.iloc[:, 0], strict=True):
        wrong = int((table.idxmax(axis=1) != labels.loc[table.index]).sum())
        assert (held["images"], held[f"wrong_{way}"]) == (6, wrong)
        assert held[f"error_{way}"] == pytest.approx(wrong / 6, abs=1e-6)
        assert cell.startswith(f"{wrong} of 6 wrong: ")


def test_without_tta_no_views_are_stored(learn, here):
    variant = make_variant(**TINY, tta="none")
    export(learn, variant, holdout_probs(learn, variant), here)
    views, meta = read_probs(here.models / f"{NAME}.valid.parquet")
    assert list(views) == ["plain"] and meta["tta"]["tta"] == "none"
    held = bundle.read_card(here.models, NAME)["holdout"]
    assert held["wrong_tta"] == held["wrong_plain"]


# parity


@pytest.mark.parametrize("lie", [lambda p: p.iloc[::-1].set_axis(p.index), lambda p: p * np.nan])
def test_model_that_predicts_otherwise_on_reload_leaves_the_older_bundle(learn, tables, here, lie):
    export(learn, VARIANT, tables, here)
    before = snapshot(here.models)
    wrong = tables | {"plain": lie(tables["plain"])}
    assert "not the trained one" in refusal(export, learn, VARIANT, wrong, here)
    assert snapshot(here.models) == before


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


@pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt])
def test_precision_is_restored_afterwards_also_after_an_error(error):
    before = precisions()
    assert before[0] == "tf32", "torch's default"
    with suppress(RuntimeError, KeyboardInterrupt), full_precision():
        assert precisions() == ["ieee", "ieee"]
        if error:
            raise error
    assert precisions() == before


# accidents


@pytest.fixture(scope="module")
def wrecked(competition_once, trained_once, tmp_path_factory):
    """Folders named after accidents, and what was printed on stderr.

    The `new-` ones were empty, in the others an older bundle of the same name was to be replaced.
    """
    places, old = tmp_path_factory.mktemp("wrecked"), trained_once / "models"
    killed, xfsz = -signal.SIGKILL, -signal.SIGXFSZ
    codes = {"torn": xfsz, "1": killed, "2": killed, "3": killed, "full": 1, "new-torn": xfsz,
             "new-2": killed, "new-full": 1, "none": 0}
    for name in codes:
        (places / name).mkdir()
        for path in [] if name.startswith("new-") else old.glob(f"{NAME}.*"):
            (places / name / path.name).write_bytes(path.read_bytes())
    # One thread: a fork of a process whose torch has started more of them can wait for ever.
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    words = ["tests/export_accidents.py", str(competition_once), str(places), *codes]
    done = run(*words, **environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == codes
    return places, done.stderr


def visible(folder):
    """name → sha256 of what stands in `folder` under a final name, the split aside."""
    files = {p.name: sha256(p) for p in folder.iterdir() if not p.name.startswith((".", "folds"))}
    return {name: digest for name, digest in files.items() if name.startswith(NAME)}


def test_kill_or_full_disk_while_the_model_is_written_leaves_what_was_there(wrecked, trained_once):
    places, stderr = wrecked
    for name in ("torn", "1", "full"):
        assert visible(places / name) == visible(trained_once / "models")
    assert visible(places / "new-torn") == visible(places / "new-full") == {}
    assert bundle.read_cards(places / "1")[0].keys() == {NAME}
    errors = [line for line in stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 2 and "Traceback" not in stderr
    assert all("cannot write" in line for line in errors)


@pytest.mark.parametrize("accident", ["2", "3", "new-2"])
def test_kill_between_the_files_leaves_whole_ones_and_no_bundle_that_passes(wrecked, accident):
    models = wrecked[0] / accident
    assert zipfile.ZipFile(models / f"{NAME}.pkl").testzip() is None
    if accident != "new-2":
        read_probs(models / f"{NAME}.valid.parquet")
    with pytest.raises(UserError, match="not the file its card|no finished model"):
        bundle.load(models, NAME)


def test_rerun_finishes_what_a_kill_broke_off(wrecked, competition_once, learn, tables):
    for accident in ("torn", "2", "new-2"):
        models = wrecked[0] / accident
        export(learn, VARIANT, tables, run_of(competition_once, models, VARIANT))
        assert sorted(visible(models)) == [f"{NAME}.{e}" for e in ("json", "pkl", "valid.parquet")]
        assert list(bundle.load(models, NAME).dls.vocab) == list(learn.dls.vocab)
