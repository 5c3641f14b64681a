"""A bundle on disk: what is in its card, and what is loaded."""

import json
import pickle
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from conftest import ROOT, TINY
from small_bundles import RESNET, VIT, bundle_in, call, learner, refused, snapshot

from src import bundle, competition
from src.bundle import versions
from src.competition import digest, get_folds
from src.core import UserError, make_variant, sha256
from src.evidence import blend, read_probs
from src.predict.__main__ import main as predict


@pytest.fixture
def models(work, data) -> Path:
    """The models folder of two finished trainings."""
    return work / "models"


def read(path):
    """A card as plain JSON."""
    return json.loads(path.read_text(encoding="utf-8"))


# The card


@pytest.mark.parametrize("name, family", [(RESNET, "resnet"), (VIT, "vit")])
def test_a_card_says_how_to_make_the_model_again(models, data, name, family):
    card = read(models / f"{name}.json")
    variant = make_variant(**TINY | {"arch": f"test_{family}"})
    assert card["variant"] == variant.recipe and make_variant(**card["variant"]).name == name
    assert (card["name"], card["family"], card["notebook"]) == (name, family, "paddy_train")
    assert card["classes"] == competition.classes(data)
    packages = {*versions.PACKAGES} | {"pillow", "opencv-python-headless", "plum-dispatch"}
    here = {package: version(package) for package in packages}
    assert card["versions"] == {"python": sys.version.split()[0]} | here
    assert card["data"] == competition.train_fingerprint(data)
    assert card["folds"] == digest(get_folds(data, 42, models))
    assert card["seconds"] > 0 and card["peak_memory_mb"] > 50
    pkl = models / f"{name}.pkl"
    assert (card["sha256"], card["bytes"]) == (sha256(pkl), pkl.stat().st_size)


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not in a git repository")
def test_a_card_has_the_commit_and_whether_the_tree_was_dirty(models):
    card = read(models / f"{RESNET}.json")
    git = ["git", "-C", str(ROOT), "cat-file", "-t", card["commit"]]
    assert subprocess.run(git, capture_output=True, text=True).stdout == "commit\n"
    assert isinstance(card["dirty"], bool)


@pytest.mark.parametrize("name", [RESNET, VIT])
def test_a_card_has_the_errors_of_the_stored_hold_out(models, data, name):
    held, labels = read(models / f"{name}.json")["holdout"], competition.train_table(data).label
    tables, _ = read_probs(models / f"{name}.valid.parquet")
    folds = get_folds(data, 42, models)
    assert set(tables["plain"].index) == set(folds.index[folds == 0])
    for way, table in (("plain", tables["plain"]), ("tta", blend(tables, 0.25))):
        wrong = int((table.idxmax(axis=1) != labels.loc[table.index]).sum())
        assert held[f"wrong_{way}"] == wrong
        assert held[f"error_{way}"] == pytest.approx(wrong / held["images"], abs=1e-6)
    assert held["images"] == 6


def test_a_plain_load_learner_opens_the_pkl_and_predicts(models, data):
    path = data / "test_images" / "200001.jpg"
    label, number, probs = learner(models, VIT).predict(path)
    assert label == competition.classes(data)[int(number)]
    assert float(probs.sum()) == pytest.approx(1, abs=1e-5)


# What is loaded


def tamper(path):
    """Change one byte of padding: the same size, the same weights, another file."""
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"ZZZZ") + 1] = ord("z")
    path.write_bytes(raw)


def test_a_pkl_with_one_byte_changed_is_refused_unless_trusted(models):
    path = models / f"{VIT}.pkl"
    before = path.stat().st_size
    tamper(path)
    assert path.stat().st_size == before
    with pytest.raises(UserError, match=r"sha256.*--trust"):
        bundle.load(models, VIT)
    assert list(bundle.load(models, VIT, trust=True).dls.vocab) == read(
        models / f"{VIT}.json"
    )["classes"]


def test_the_command_refuses_a_changed_pkl_and_predicts_nothing(models):
    tamper(models / f"{VIT}.pkl")
    before = snapshot(models)
    line = refused(call(predict, VIT))
    assert f"{VIT}.pkl" in line and "sha256" in line and "--trust" in line
    assert snapshot(models) == before


class Attack:
    """Pickled, it is a command that runs when the file is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return Path.touch, (self.mark,)


def test_the_code_in_a_foreign_pkl_is_not_run(models, tmp_path):
    card, ran = read(models / f"{VIT}.json"), tmp_path / "ran"
    path = models / "foreign.pkl"
    path.write_bytes(pickle.dumps(Attack(ran)))
    with pytest.raises(UserError, match="no finished model 'foreign'"):
        bundle.load(models, "foreign", trust=True)
    size = {"name": "foreign", "bytes": path.stat().st_size}  # a card made up for it
    (models / "foreign.json").write_text(json.dumps(card | size))
    with pytest.raises(UserError, match="sha256"):
        bundle.load(models, "foreign")
    assert "sha256" in refused(call(predict, "foreign"))
    assert not ran.exists()
    pickle.loads(path.read_bytes())
    assert ran.exists(), "the file is harmless: this shows nothing"


def test_a_trusted_pkl_does_not_become_the_one_of_the_card(models):
    """Else the next run would load it without --trust."""
    tamper(models / f"{VIT}.pkl")
    assert call(predict, VIT, "--trust", "--views", "3").returncode == 0
    with pytest.raises(UserError, match="sha256"):
        bundle.load(models, VIT)


def test_a_pkl_of_other_versions_names_first_those_that_differ_from_the_ones_here(models, data):
    made = {"python": sys.version.split()[0], "fastai": "2.5.0", "pillow": version("pillow"),
            "timm": version("timm") + "+local", "plum-dispatch": "1.0", "opencv-python": "4.1"}
    bundle_in(models, data, "old", versions=made)
    (models / "old.pkl").write_bytes(b"cno_such_module\nClass\n.")
    bundle.write_card(models, read(models / "old.json"))
    with pytest.raises(UserError, match="cannot be loaded.*'no_such_module'") as caught:
        bundle.load(models, "old")
    differ = f"made with fastai 2.5.0 (here {version('fastai')}), plum-dispatch 1.0 (here "
    assert differ + version("plum-dispatch") + "), opencv-python 4.1 (" in str(caught.value)
    alike = f"), python {made['python']}, pillow {made['pillow']}, timm {made['timm']}: install"
    assert alike in str(caught.value) and "\n" not in str(caught.value)


def test_a_pkl_without_a_card_is_of_unknown_versions(tmp_path):
    (tmp_path / "x.pkl").write_bytes(b"none")
    with pytest.raises(UserError, match="made with unknown versions: install"):
        bundle.load_pkl(tmp_path / "x.pkl")


# Half bundles


def test_half_bundles_are_listed_apart_from_finished_ones(models):
    (models / f"{VIT}.json").unlink()
    (models / "lonely.pkl").write_bytes(b"anything")
    (models / "gone.json").write_text((models / f"{RESNET}.json").read_text())
    (models / "torn.json").write_text('{"name": "torn"')
    cards, reasons = bundle.survey(models)
    assert set(cards) == {RESNET}
    assert set(reasons) == {VIT, "lonely", "gone", "torn"}
    assert "without a card" in reasons["lonely"] and "without a card" in reasons[VIT]
    assert "no model card" in reasons["torn"]


def test_a_pkl_without_its_card_is_named_as_such_and_not_as_finished(models):
    (models / f"{VIT}.json").unlink()
    with pytest.raises(UserError, match=rf"'{VIT}'.*without a card.*finished are: {RESNET}$"):
        bundle.read_card(models, VIT)


@pytest.mark.parametrize("content", ['"family"', "3", "[]", "null", '{"name": "half"}', '{"name'])
def test_a_file_that_is_no_card_is_refused(tmp_path, content):
    (tmp_path / f"{VIT}.json").write_text(content)
    with pytest.raises(UserError, match=f"no model card.*python -m src.run {VIT} --overwrite"):
        bundle.read_card(tmp_path, VIT)


def test_a_card_with_a_field_of_another_kind_is_refused(models):
    card = read(models / f"{VIT}.json") | {"variant": 3}
    (models / f"{VIT}.json").write_text(json.dumps(card))
    with pytest.raises(UserError, match=r"no model card \(variant missing or wrong\)"):
        bundle.read_card(models, VIT)


def test_a_card_without_its_pkl_names_the_file_and_the_way_out(models):
    (models / f"{VIT}.pkl").unlink()
    with pytest.raises(UserError, match=rf"{VIT}.pkl is missing.*python -m src.run {VIT}"):
        bundle.read_card(models, VIT)
