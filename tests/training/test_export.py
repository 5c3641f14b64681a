"""A fitted Learner becomes a bundle: proven on reload, whole or not there at all."""

import json
import signal
import zipfile

import numpy as np
import pytest
from conftest import ROOT, TINY, run
from fastai.learner import load_learner
from small_bundles import snapshot
from small_training import run_of, untrained

from src import bundle, competition
from src.competition import digest
from src.core import UserError, make_variant, sha256
from src.evidence import blend, read_probs
from src.notebook import Run
from src.training import export, get_learner, holdout_probs, holdout_table
from src.vision import get_dls

VARIANT = make_variant(**TINY)
NAME = VARIANT.name


def a_run(folder, models):
    """What `notebook.start` returns, without its checks."""
    return run_of(folder, models, VARIANT)


@pytest.fixture(scope="module")
def learn(competition_once, tmp_path_factory):
    """One Learner for all tests of this file."""
    return untrained(competition_once, tmp_path_factory.mktemp("models"), VARIANT)


@pytest.fixture(scope="module")
def tables(learn):
    """Its hold-out probabilities."""
    return holdout_probs(learn, VARIANT)


@pytest.fixture
def here(competition_once, tmp_path) -> Run:
    """An empty models folder to export into."""
    models = tmp_path / "models"
    return a_run(competition_once, models)


def held_out_files(here):
    """The image files of fold 0, sorted by id."""
    paths = competition.train_paths(here.folder)
    return paths[here.folds.loc[paths.index] == 0]


def test_an_export_leaves_a_bundle_and_nothing_else(learn, tables, here):
    before = set(here.models.iterdir())
    assert export(learn, VARIANT, tables, here) == here.models / f"{NAME}.pkl"
    new = {path.name for path in set(here.models.iterdir()) - before}
    assert new == {f"{NAME}.pkl", f"{NAME}.json", f"{NAME}.valid.parquet"}
    assert bundle.read_cards(here.models)[0].keys() == {NAME}


def test_the_stored_plain_probabilities_are_those_of_the_learner(learn, tables, here):
    probs, targets = learn.get_preds()
    export(learn, VARIANT, tables, here)
    stored = read_probs(here.models / f"{NAME}.valid.parquet")[0]["plain"]
    assert list(stored.index) == list(held_out_files(here).index)
    assert list(stored.columns) == list(learn.dls.vocab) == competition.classes(here.folder)
    np.testing.assert_allclose(stored.to_numpy(), probs.numpy(), atol=1e-6)
    labels = competition.train_table(here.folder).label.loc[stored.index]
    assert [learn.dls.vocab[t] for t in targets] == list(labels)


def test_an_export_leaves_the_learner_as_it_was(learn, tables, here):
    before = dict(vars(learn))
    export(learn, VARIANT, tables, here)
    assert vars(learn).keys() == before.keys()
    assert not [name for name, value in before.items() if vars(learn)[name] is not value]
    assert len(learn.dls.valid_ds) == len(tables["plain"])


def test_a_plain_load_learner_repeats_the_hold_out(learn, tables, here):
    reloaded = load_learner(export(learn, VARIANT, tables, here))
    probs, _ = reloaded.get_preds(dl=reloaded.dls.test_dl(list(held_out_files(here))))
    np.testing.assert_allclose(tables["plain"].to_numpy(), probs.numpy(), atol=1e-4)


def test_the_card_has_what_makes_the_model_again(learn, tables, here):
    export(learn, VARIANT, tables, here)
    card, labels = bundle.read_card(here.models, NAME), competition.train_table(here.folder).label
    assert card["variant"] == VARIANT.recipe
    assert (card["family"], card["timm_name"]) == ("resnet", "test_resnet")
    assert (card["data"], card["folds"]) == (
        competition.train_fingerprint(here.folder), digest(here.folds)
    )
    held = card["holdout"]
    for way, table in (("plain", tables["plain"]), ("tta", blend(tables, VARIANT.beta))):
        wrong = int((table.idxmax(axis=1) != labels.loc[table.index]).sum())
        assert held[f"wrong_{way}"] == wrong
        assert held[f"error_{way}"] == pytest.approx(wrong / 6, abs=1e-6)
    assert (held["images"], card["seconds"]) == (6, 1.2)
    meta = read_probs(here.models / f"{NAME}.valid.parquet")[1]
    assert (meta["split"], meta["model"], meta["sha256"]) == ("valid", NAME, card["sha256"])
    assert meta["tta"] == {"tta": "random", "views": 2, "beta": 0.25, "seed": 42}


def test_the_table_for_the_reader_counts_in_images(tables, here):
    shown = holdout_table(tables, here.folder, 0.25)
    assert list(shown.index) == ["plain", "with TTA"]
    errors = shown["hold-out error (95 % interval)"]
    assert errors.str.fullmatch(r"\d of 6 wrong: .* % \(.*\)").all()


def test_without_tta_no_views_are_kept(learn, here):
    variant = make_variant(**TINY, tta="none")
    export(learn, variant, holdout_probs(learn, variant), here)
    views, meta = read_probs(here.models / f"{NAME}.valid.parquet")
    assert list(views) == ["plain"] and meta["tta"]["tta"] == "none"
    held = bundle.read_card(here.models, NAME)["holdout"]
    assert held["wrong_tta"] == held["wrong_plain"]


@pytest.mark.parametrize("lie", [lambda p: p.iloc[::-1].set_axis(p.index), lambda p: p * np.nan])
def test_a_model_that_predicts_otherwise_on_reload_is_not_written(learn, tables, here, lie):
    wrong = tables | {"plain": lie(tables["plain"])}
    before = snapshot(here.models)
    with pytest.raises(UserError, match="exported model is not the trained one.*nothing was"):
        export(learn, VARIANT, wrong, here)
    assert snapshot(here.models) == before


def test_without_a_hold_out_the_reloaded_model_is_checked_on_training_images(here, monkeypatch):
    variant = make_variant(**TINY, fold="all")
    learn = get_learner(get_dls(here.folder, here.folds, variant), variant)
    learn.history.seconds, learn.history.outcome = 1.0, {}
    assert holdout_probs(learn, variant) == {}
    export(learn, variant, {}, here)
    assert bundle.read_cards(here.models)[0].keys() == {variant.name}
    load = bundle.load_pkl
    before = snapshot(here.models)

    def another(path):
        reloaded = load(path)
        for weights in reloaded.model.parameters():
            weights.data.mul_(0.9)
        return reloaded

    monkeypatch.setattr(bundle, "load_pkl", another)
    with pytest.raises(UserError, match="exported model is not the trained one.*nothing was"):
        export(learn, variant, {}, here)
    assert snapshot(here.models) == before


def test_a_failing_export_leaves_the_older_bundle(learn, tables, here):
    export(learn, VARIANT, tables, here)
    before = snapshot(here.models)
    with pytest.raises(UserError):
        export(learn, VARIANT, tables | {"plain": tables["plain"].iloc[:, ::-1] * 0 + 1 / 3}, here)
    assert snapshot(here.models) == before


@pytest.fixture(scope="module")
def wrecked(competition_once, trained_once, tmp_path_factory):
    """Folders named after accidents, with the exit codes and what was there before.

    The `new-` ones were empty, in the others an older bundle of the same name was to be replaced.
    """
    places, old = tmp_path_factory.mktemp("wrecked"), trained_once / "models"
    accidents = ["torn", "1", "2", "3", "full", "new-torn", "new-2", "new-full", "none"]
    for name in accidents:
        (places / name).mkdir()
        for path in [] if name.startswith("new-") else old.glob(f"{NAME}.*"):
            (places / name / path.name).write_bytes(path.read_bytes())
    # One thread: a fork of a process whose torch has started more of them can wait for ever.
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    words = ["tests/export_accidents.py", str(competition_once), str(places), *accidents]
    done = run(*words, **environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return places, json.loads(done.stdout.splitlines()[-1]), done.stderr


def visible(folder):
    """name → sha256 of what stands in `folder` under a final name, the split aside."""
    files = {p.name: sha256(p) for p in folder.iterdir() if not p.name.startswith((".", "folds"))}
    return dict(sorted(files.items()))


def test_the_accidents_happened(wrecked):
    _, codes, _ = wrecked
    kills = {"1", "2", "3", "new-2"}
    assert {name for name, code in codes.items() if code == -signal.SIGKILL} == kills
    assert codes["torn"] == codes["new-torn"] == -signal.SIGXFSZ
    assert (codes["full"], codes["new-full"], codes["none"]) == (1, 1, 0)


def test_a_kill_while_the_model_is_written_leaves_what_was_there(wrecked, trained_once):
    places, _, _ = wrecked
    old = {p.name: sha256(p) for p in sorted((trained_once / "models").glob(f"{NAME}.*"))}
    assert visible(places / "torn") == visible(places / "1") == old
    assert visible(places / "new-torn") == {}
    assert bundle.read_cards(places / "1")[0].keys() == {NAME}


@pytest.mark.parametrize("accident", ["2", "3", "new-2"])
def test_a_kill_between_the_files_leaves_whole_ones_and_no_bundle_that_passes(wrecked, accident):
    models = wrecked[0] / accident
    assert zipfile.ZipFile(models / f"{NAME}.pkl").testzip() is None
    if accident != "new-2":
        read_probs(models / f"{NAME}.valid.parquet")
    with pytest.raises(UserError, match="not the file its card|no finished model"):
        bundle.load(models, NAME)


def test_a_full_disk_is_one_line_and_leaves_what_was_there(wrecked, trained_once):
    places, _, stderr = wrecked
    old = {p.name: sha256(p) for p in sorted((trained_once / "models").glob(f"{NAME}.*"))}
    assert visible(places / "full") == old and visible(places / "new-full") == {}
    errors = [line for line in stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 2 and "Traceback" not in stderr
    assert all("cannot write" in line and "free some space" in line for line in errors)


def test_a_rerun_finishes_what_a_kill_broke_off(wrecked, competition_once, learn, tables):
    for accident in ("torn", "2", "new-2"):
        models = wrecked[0] / accident
        export(learn, VARIANT, tables, a_run(competition_once, models))
        assert sorted(visible(models)) == [f"{NAME}.{e}" for e in ("json", "pkl", "valid.parquet")]
        assert list(bundle.load(models, NAME).dls.vocab) == list(learn.dls.vocab)
