"""A bundle on disk: what is in its card, and what is loaded."""

import json
import pickle
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from conftest import ROOT, TINY, refusal
from small_bundles import RESNET, VIT, bundle_in, call, refused, snapshot

from src import bundle, competition
from src.bundle import versions
from src.competition import digest, get_folds
from src.core import make_variant, sha256
from src.evidence import read_probs
from src.predict.__main__ import main as predict


@pytest.fixture
def models(work, data) -> Path:
    """The models folder of two finished trainings."""
    return work / "models"


def read(path):
    """A card as plain JSON."""
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name, family", [(RESNET, "resnet"), (VIT, "vit")])
def test_a_card_says_how_to_make_the_model_again(models, data, name, family):
    card, pkl = read(models / f"{name}.json"), models / f"{name}.pkl"
    variant = make_variant(**TINY | {"arch": f"test_{family}"})
    packages = {"pillow", "opencv-python-headless", "plum-dispatch", *versions.PACKAGES}
    here = {package: version(package) for package in packages}
    expected = {
        "name": name, "family": family, "notebook": "paddy_train", "variant": variant.recipe,
        "classes": competition.classes(data), "versions": {"python": sys.version.split()[0]} | here,
        "data": competition.train_fingerprint(data), "folds": digest(get_folds(data, 42, models)),
        "sha256": sha256(pkl), "bytes": pkl.stat().st_size,
    }
    assert card | expected == card
    assert make_variant(**card["variant"]).name == name and isinstance(card["dirty"], bool)
    assert len(card["commit"]) == 40 * (ROOT / ".git").exists()
    assert card["seconds"] > 0 and card["peak_memory_mb"] > 50
    tables, folds = read_probs(models / f"{name}.valid.parquet")[0], get_folds(data, 42, models)
    assert set(tables["plain"].index) == set(folds.index[folds == 0])
    labels = competition.train_table(data).label
    assert card["holdout"] == bundle.holdout_facts(tables, labels, variant.beta)


def test_errors_plain_and_with_tta_are_counted_apart(models, data):
    tables, labels = read_probs(models / f"{VIT}.valid.parquet")[0], competition.classes(data)
    wrong = tables["plain"].set_axis([*labels[1:], labels[0]], axis=1)[labels]
    truth = wrong.idxmax(axis=1)
    truth.iloc[:2] = tables["plain"].idxmax(axis=1)[:2]
    facts = bundle.holdout_facts({"plain": tables["plain"], "views": wrong}, truth, 0)
    assert facts == {"images": 6, "wrong_plain": 4, "wrong_tta": 2,
                     "error_plain": 0.666667, "error_tta": 0.333333}


def test_a_pkl_with_one_byte_changed_is_refused_and_trusted_for_one_run_alone(models):
    raw = bytearray((models / f"{VIT}.pkl").read_bytes())
    raw[raw.index(b"ZZZZ") + 1] = ord("z")  # of padding: the same size, the same weights
    (models / f"{VIT}.pkl").write_bytes(raw)
    before = snapshot(models)
    line = refused(call(predict, VIT))
    assert f"{VIT}.pkl" in line and "sha256" in line and "--trust" in line
    assert snapshot(models) == before
    trusted = bundle.load(models, VIT, trust=True)
    assert list(trusted.dls.vocab) == read(models / f"{VIT}.json")["classes"]
    assert call(predict, VIT, "--trust", "--views", "3").returncode == 0
    assert "sha256" in refusal(bundle.load, models, VIT)


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
    assert "without a card" in refusal(bundle.load, models, "foreign", True)
    size = {"name": "foreign", "bytes": path.stat().st_size}  # a card made up for it
    (models / "foreign.json").write_text(json.dumps(card | size))
    assert "sha256" in refusal(bundle.load, models, "foreign")
    assert "sha256" in refused(call(predict, "foreign"))
    assert not ran.exists()
    pickle.loads(path.read_bytes())
    assert ran.exists(), "the file is harmless: this shows nothing"


def test_a_pkl_of_other_versions_names_those_that_differ_from_the_ones_here(models, data):
    made = {"python": sys.version.split()[0], "fastai": "2.5.0", "pillow": version("pillow"),
            "timm": version("timm") + "+local", "plum-dispatch": "1.0", "opencv-python": "4.1"}
    bundle_in(models, data, "old", versions=made)
    (models / "old.pkl").write_bytes(b"cno_such_module\nClass\n.")
    bundle.write_card(models, read(models / "old.json"))
    line = refusal(bundle.load, models, "old")
    assert "cannot be loaded" in line and "no_such_module" in line
    differ = [f"fastai 2.5.0 (here {version('fastai')})",
              f"plum-dispatch 1.0 (here {version('plum-dispatch')})", "opencv-python 4.1 ("]
    assert f"made with {', '.join(differ)}" in line
    assert not any(name in line for name in ("python 3", "pillow", "timm"))


def test_half_bundles_are_listed_apart_from_finished_ones(models):
    text = (models / f"{VIT}.json").read_text()
    (models / f"{VIT}.json").unlink()
    (models / "gone.json").write_text(text.replace(VIT, "gone"))
    (models / "copy.json").write_text(text)
    (models / "torn.json").write_text('{"name": "torn"')
    pkl = models / f"{RESNET}.pkl"
    cards, reasons = bundle.read_cards(models)
    assert set(cards) == {RESNET} and set(reasons) == {VIT, "gone", "copy", "torn"}
    for name, reason in {
        VIT: f"{VIT}.pkl is without a card", "gone": "gone.pkl is missing",
        "copy": f"a copy of the card of {VIT}", "torn": "no model card",
    }.items():
        assert reason in reasons[name] and "\n" not in reasons[name]
        assert refusal(bundle.read_card, models, name) == reasons[name]
    assert all(f"src.run {name} --overwrite" in reasons[name] for name in (VIT, "gone", "torn"))
    assert refusal(bundle.read_card, models, "none").endswith(f"finished are: {RESNET}")
    pkl.write_bytes(pkl.read_bytes()[:-1])
    assert f"{pkl} is not the file" in refusal(bundle.read_card, models, RESNET)


@pytest.mark.parametrize("content", ["null", '{"name": "half"}', '{"name'])
def test_a_file_that_is_no_card_is_refused(tmp_path, content):
    (tmp_path / f"{VIT}.json").write_text(content)
    assert "is no model card" in refusal(bundle.read_card, tmp_path, VIT)


def test_a_card_with_a_field_of_another_kind_is_refused(models):
    card = read(models / f"{VIT}.json") | {"variant": 3}
    (models / f"{VIT}.json").write_text(json.dumps(card))
    assert "no model card (variant missing or wrong)" in refusal(bundle.read_card, models, VIT)
