"""Other competitions of the same shape need nothing but their section in params.yaml."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import ROOT, TINY, refusal
from PIL import Image
from small_bundles import bundle_in, call
from small_training import exported, loaders

from src import competition
from src.competition.__main__ import main as competition_main
from src.core import load_facts, make_variant
from src.demo import draw as demo
from src.ensemble.__main__ import main as ensemble_main
from src.predict import predict_bundles
from src.submission.__main__ import main as submission_main

PAGE = (ROOT / "docs/other-competitions.md").read_text(encoding="utf-8")
SECTIONS = {section["competition"]["label"]: section
            for section in map(yaml.safe_load, re.findall("```yaml\n(.*?)```", PAGE, re.S))}
DOGS, CASSAVA = "breed", "label"
SHIPPED = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))


def noise_around_a_colour(label: str, rng: np.random.Generator, size: tuple) -> Image.Image:
    """A small picture in the colour of its label."""
    kind = list(demo.SHARES).index(label)
    colour = [np.random.default_rng(3).permutation(256)[kind] * 0.8, kind % 7 * 30, 90]
    return Image.fromarray((rng.integers(0, 40, (24, 18, 3)) + colour).astype(np.uint8))


@pytest.fixture
def switch(own_params, tmp_path, monkeypatch):
    """Make the competition of one section of the page the one to work on, drawn by the demo."""
    def to(label: str) -> Path:
        own_params(yaml.safe_dump(SHIPPED | SECTIONS[label]))
        monkeypatch.setenv("PADDY_WORK", str(tmp_path / "work"))
        monkeypatch.setenv("PADDY_DATA", str(tmp_path / "data"))
        classes = load_facts().classes
        labels = [str(k) if label == CASSAVA else f"breed_{k:03}" for k in range(classes)]
        monkeypatch.setattr(demo, "SHARES", dict.fromkeys(labels, 1 / classes))
        monkeypatch.setattr(demo, "photograph", noise_around_a_colour)
        assert demo.draw(tmp_path / "data", max(30, 4 * classes))
        return tmp_path / "data"
    return to


def read(path: Path) -> list[list[str]]:
    return list(csv.reader(path.read_text(encoding="utf-8").splitlines()))


def ensemble_and_check(work: Path) -> list[list[str]]:
    """The rows of the CSV that the ensemble writes and the guard accepts."""
    path = work / "submissions" / "paddy_train.csv"
    for done in (call(ensemble_main), call(submission_main, "check", path)):
        assert done.returncode == 0, done
    return read(path)


def test_dog_breeds_go_from_check_to_a_submission_with_their_own_columns(switch, tmp_path):
    folder, facts = switch(DOGS), load_facts()
    assert {path.name for path in folder.iterdir()} == {*facts.layout, "solution.csv", "demo.json"}
    checked = call(competition_main, "check")
    assert checked.returncode == 0 and "breed_119" in checked.stdout, checked
    for name, family in (("vit_one", "vit"), ("resnet_one", "resnet")):
        bundle_in(tmp_path / "work" / "models", folder, name, family)
    rows = ensemble_and_check(tmp_path / "work")
    assert rows == read(folder / "solution.csv")
    assert rows[0] == ["id", "breed"] and len(rows) == 161 and ".jpg" not in rows[1][0]


@pytest.mark.usefixtures("in_this_process")
def test_cassava_is_trained_predicted_and_averaged_with_numeric_labels(switch, tmp_path):
    folder, models = switch(CASSAVA), tmp_path / "work" / "models"
    variant = make_variant(**TINY | {"bs": 4})
    exported(folder, models, variant)
    predict_bundles({variant.name: {}}, models, folder)
    rows, answers = ensemble_and_check(tmp_path / "work"), read(folder / "solution.csv")
    assert rows[0] == ["image_id", "label"]
    assert [name for name, _ in rows] == [name for name, _ in answers]
    assert {label for _, label in rows[1:]} <= set("01234")


def test_images_of_a_flat_folder_have_the_labels_of_the_table_and_its_corrections(
    switch, tmp_path
):
    folder = switch(DOGS)
    ids = [name for name, _ in read(folder / "labels.csv")[1:]]
    (tmp_path / "exclude.csv").write_text(f"id\n{ids[0]}\n")
    (tmp_path / "relabel.csv").write_text(f"id,breed\n{ids[1]},breed_007\n")
    variant = make_variant(**TINY | {"fold": "all", "exclude": str(tmp_path / "exclude.csv"),
                                     "relabel": str(tmp_path / "relabel.csv")})
    dataset = loaders(folder, tmp_path / "models", variant).train.dataset
    seen = zip(dataset.items, dataset.tls[1], strict=True)
    assert {path.stem: dataset.vocab[int(label)] for path, label in seen} == dict(
        read(folder / "labels.csv")[2:]) | {ids[1]: "breed_007"}


def test_what_does_not_fit_a_flat_folder_without_variety_and_age_is_refused(switch):
    folder = switch(DOGS)
    name = read(folder / "labels.csv")[1][0]
    (folder / "train" / f"{name}.jpg").rename(folder / "train" / "moved.jpg")
    line = refusal(competition.train_paths, folder)
    assert f"rows of labels.csv without an image (1): {name}.jpg" in line
    for recipe in ({"split": "grouped"}, {"targets": "disease+variety"}):
        assert "variety" in refusal(make_variant, **recipe)
