"""Exploring the photographs: figures that a user can recount, and the notebook that shows them."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import papermill
import pytest
from conftest import ROOT, draw_competition, refusal, run
from executed import html_of, pictures, run_without_error, text_of
from PIL import Image

from src import competition
from src.looking import explore
from src.looking.explore import Photographs
from src.looking.page import splits_path

NOTEBOOK = ROOT / "notebooks" / "paddy_explore.ipynb"
MAKE = "python -m src.review twins"


@pytest.fixture
def drawn(tmp_path, monkeypatch) -> Path:
    """A competition of 60 training and 30 test images without a model."""
    monkeypatch.setenv("PADDY_WORK", str(tmp_path / "work"))
    return draw_competition(tmp_path / "data", each=20, test=30)


def test_sizes_are_upright_and_identical_files_are_grouped(drawn):
    first, second, *_ = sorted((drawn / "train_images" / "disease_a").iterdir())
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(first).save(first, exif=exif)
    test = sorted((drawn / "test_images").iterdir())
    shutil.copy(second, test[0])
    shutil.copy(sorted((drawn / "train_images" / "disease_b").iterdir())[0], test[1])
    shutil.copy(test[1], test[2])
    photographs, path = explore.open_photographs(str(drawn), ""), competition.twins_path()
    table = explore.size_table(photographs).set_index("width × height")
    assert table.loc["48 × 64"].to_dict() == {"orientation": "portrait", "test": 30, "train": 59}
    assert table.loc["64 × 48"].to_dict() == {"orientation": "landscape", "test": 0, "train": 1}
    assert explore.twins_sentence(photographs).splitlines() == [
        "identical files: 2 groups, 2 across training and test, 0 with different labels",
        f"twins that are not identical: {path} is missing, or its .json; {MAKE}"]
    pairs = pd.DataFrame({"a": ["1.jpg", "3.jpg"], "b": ["2.jpg", "4.jpg"], "group": [1, 2],
                          "kind": ["leaf", "picture"], "inliers": 20})
    competition.write_twins(drawn, pairs)
    assert explore.twins_sentence(photographs).endswith("pairs of twins: 1 leaf, 1 picture")


def test_a_table_of_twins_of_other_images_is_named_with_its_remedy(drawn):
    competition.write_twins(drawn, pd.DataFrame(columns=competition.TWIN_COLUMNS))
    photographs = explore.open_photographs(str(drawn))
    assert explore.twins_sentence(photographs).endswith("pairs of twins: 0")
    next((drawn / "test_images").iterdir()).write_bytes(b"another")
    said = explore.twins_sentence(photographs)
    assert "is of other images than" in said and said.endswith(MAKE)
    competition.twins_path().with_suffix(".json").write_text("[]")
    assert explore.twins_sentence(photographs).endswith(MAKE)


def test_what_is_known_is_not_opened_again_and_what_has_changed_is(drawn, monkeypatch):
    photographs, opened = explore.open_photographs(str(drawn)), []
    monkeypatch.setattr(explore, "_statistics", lambda p: opened.append(p) or statistics(p))
    path = photographs.paths["train"].iloc[3]
    Image.new("RGB", (48, 64), (255, 255, 255)).save(path)
    again = explore.open_photographs(str(drawn))
    assert opened == [path] and again.raw.brightness["train"].iloc[3] == 1
    unchanged = again.raw.index != ("train", path.name)
    assert again.raw[unchanged].equals(photographs.raw[unchanged])


statistics = explore._statistics


def test_a_broken_photograph_is_named(drawn):
    path = next((drawn / "test_images").iterdir())
    path.write_bytes(path.read_bytes()[:300])
    assert f"cannot read {path}" in refusal(explore.open_photographs, str(drawn))


def test_metadata_predict_what_they_decide_and_the_in_sample_share_flatters():
    rows = pd.DataFrame({"label": list("ab") * 100, "variety": ["x", "y"] * 100, "age": 50})
    decided = explore.metadata_sentence(Photographs(None, rows, None, None, {}))
    assert "right by variety alone, 2 groups:" in decided
    assert "cross-validated: 200 of 200: 100.00 % (95 % interval 98.12 to 100.00)" in decided
    rows["age"] = np.arange(200) // 2
    rows["label"] = np.random.default_rng(0).choice(["a", "b"], 200)
    chance = explore.metadata_sentence(Photographs(None, rows.assign(variety="x"), None, None, {}))
    shares = [int(line.split(": ")[1].split(" of ")[0]) for line in chance.splitlines()[1:]]
    assert shares[1] > 130 > shares[0]
    same = Photographs(None, rows.assign(variety="x", age=0), None, None, {})
    assert "nothing to predict" in explore.metadata_sentence(same)


@pytest.mark.parametrize("darker", [0, 60])
def test_test_images_that_differ_are_noticed_and_others_are_not(drawn, darker):
    for path in (drawn / "test_images").iterdir() if darker else ():
        pixels = np.asarray(Image.open(path)).astype(int) - darker
        Image.fromarray(pixels.clip(0).astype(np.uint8)).save(path, quality=90)
    table, scores = explore.compare_splits(explore.open_photographs(str(drawn)))
    (row,) = table.to_dict("records")
    assert pd.read_csv(splits_path(drawn), dtype=str).equals(table)
    assert (row["training images"], row["test images"]) == ("60", "30")
    assert row["finding"] == ("they differ" if darker else "no evidence that they differ")
    assert (float(row["AUC"]) > 0.95) == bool(darker)
    score = scores["light and colour"]
    assert len(score) == 90 and (not darker or score["test"].min() > score["train"].median())


def test_the_notebook_runs_and_its_backbone_sees_only_what_it_held_out(work, data, tmp_path):
    assert tuple(papermill.inspect_notebook(str(NOTEBOOK))) == explore.PARAMETERS
    executed = tmp_path / "explore.ipynb"
    done = run("-m", "papermill", str(NOTEBOOK), str(executed), "-p", "data", str(data),
               PADDY_WORK=str(work))
    assert done.returncode == 0, done.stderr[-3000:]
    run_without_error(executed)
    assert "10 of 30: 33.33 % (95 % interval" in html_of(executed, "class_table")
    assert "48 × 64" in html_of(executed, "size_table")
    assert "in-sample: " in text_of(executed, "metadata_sentence")
    for figure in ("samples_plot", "resizes_plot"):
        assert pictures(executed, figure)[0] > 5_000
    found = explore.open_photographs(str(data), str(work / "models"))
    name, deep = list(found.features.items())[-1]
    smallest = min((work / "models").glob("*.pkl"), key=lambda path: path.stat().st_size)
    assert len(found.features) == 2 and name == f"backbone of {smallest.stem}"
    assert len(deep.loc["train"]) == 6 and len(deep.loc["test"]) == 9
    assert deep.drop(columns="sha256").std().gt(0).any()
