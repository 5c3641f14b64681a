"""A competition whose names are hostile, with models that held it out and doubt some labels."""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from small_bundles import bundle_in, sure

from src import competition
from src.looking import labels

LABELS = ("blast", 'no"r,mal', "<b>tungro")
HOSTILE = ('"><script>window.hit=1<script>.jpg', "=1+1.jpg", "it's, \"so\".jpg", "{{ 7 * 7 }}.jpg")
EACH = 6  # images of a label


def competition_in(folder: Path) -> Path:
    """Three labels of six small pictures, four of them with hostile names, and three test ones."""
    names = [*HOSTILE, *(f"1000{n:02}.jpg" for n in range(EACH * len(LABELS) - len(HOSTILE)))]
    rows = [(name, LABELS[n % 3], "ADT<45>", 45 + n) for n, name in enumerate(names)]
    for name, label, _, age in rows:
        path = folder / "train_images" / label / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (48, 64), (age * 3, 90, 40)).save(path, "JPEG")
    tests = [f"2000{n}.jpg" for n in range(3)]
    for name in tests:
        (folder / "test_images").mkdir(exist_ok=True)
        Image.new("RGB", (48, 64)).save(folder / "test_images" / name)
    table = pd.DataFrame(rows, columns=["image_id", "label", "variety", "age"])
    table.to_csv(folder / "train.csv", index=False)
    sample = pd.DataFrame({"image_id": tests, "label": ""})
    sample.to_csv(folder / "sample_submission.csv", index=False)
    return folder


def doubting(folder: Path, doubted: dict[str, str], images: list[str] | None = None):
    """Probabilities of the `images` that have their labels right but those `doubted` ones."""
    truth = competition.train_table(folder).label
    believed = {name: doubted.get(name, truth[name]) for name in images or truth.index}
    return sure(believed, competition.classes(folder))


def model_in(models: Path, folder: Path, name: str, valid: pd.DataFrame, **card: object) -> None:
    """A finished model that held the images of `valid` out."""
    tests = pd.Index(competition.sample(folder).image_id, name="image_id")
    share = np.full((len(tests), valid.shape[1]), 1 / valid.shape[1])
    test = pd.DataFrame(share, tests, valid.columns)
    bundle_in(models, folder, name, valid=valid, test=test, **card)


def page_in(tmp_path: Path, monkeypatch, top: int = 150) -> Path:
    """The page of candidates of such a competition: its four hostile names come first."""
    folder, work = competition_in(tmp_path / "data"), tmp_path / "work"
    monkeypatch.setenv("PADDY_DATA", str(folder))
    monkeypatch.setenv("PADDY_WORK", str(work))
    truth = competition.train_table(folder).label
    doubted = {name: LABELS[(LABELS.index(truth[name]) + 1) % 3] for name in HOSTILE}
    model_in(work / "models", folder, "vit_one", doubting(folder, doubted))
    labels.labels_command(["--top", str(top)])
    return work / "review" / "labels.html"
