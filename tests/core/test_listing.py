"""What Windows, macOS and network drives leave in folders and zips counts nowhere."""

import re
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest
from conftest import ROOT, draw_competition
from PIL import Image

from src import bundle, competition
from src.competition.check import check
from src.core import load_facts, put_in_place
from src.demo import draw as demo
from src.kaggle_api import download as archive

FILES = ["Thumbs.db", "THUMBS.DB", "ehthumbs.db", "desktop.ini", "._100001.jpg", ".DS_Store",
         "Icon\r"]
FOLDERS = ["__MACOSX", "$RECYCLE.BIN", "System Volume Information", "@eaDir"]


def litter(folder: Path) -> None:
    """Leave everything in a competition's folder, in its folders of images and in a class."""
    for place in ("", "train_images", "train_images/disease_a", "test_images"):
        for name in FILES:
            (folder / place / name).write_bytes(b"left")
        for name in FOLDERS:
            (folder / place / name).mkdir()
            (folder / place / name / "._100001.jpg").write_bytes(b"left")


def test_a_competition_stays_the_same_with_them_and_the_check_names_them_on_one_line(data):
    def seen() -> list:
        marks = competition.train_fingerprint(data), competition.test_fingerprint(data)
        paths = competition.train_paths(data).tolist(), competition.test_paths(data)
        return [*marks, *paths, competition.find(data)]

    before = seen()
    litter(data)
    assert seen() == before
    lines, obstacles = check(data)
    assert obstacles == []
    (line,) = [line for line in lines if "Thumbs.db" in line]
    assert re.search(r"^ignored, .* 44: .*, Icon\\r, .* and 34 more$", line)


def test_they_are_not_unpacked_and_do_not_fill_an_empty_folder(tmp_path):
    whole = draw_competition(tmp_path / "whole", each=2, test=3)
    names = sorted(path.relative_to(whole) for path in whole.rglob("*"))
    litter(whole)
    with ZipFile(tmp_path / "a.zip", "w") as zip_file:
        for path in whole.rglob("*"):
            zip_file.write(path, path.relative_to(whole))
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / ".DS_Store").touch()
    archive.download(str(folder), str(tmp_path / "a.zip"))
    (folder / archive.NOTE).unlink()
    assert sorted(path.relative_to(folder) for path in folder.rglob("*")) == names


def test_what_a_person_left_in_a_folder_is_not_replaced(tmp_path):
    new, folder = tmp_path / "new", tmp_path / "folder"
    new.mkdir()
    (folder / "__MACOSX").mkdir(parents=True)
    (folder / ".gitignore").touch()
    with pytest.raises(OSError, match="not empty"):
        put_in_place(new, folder)
    assert (folder / ".gitignore").exists() and new.exists()


def test_a_demo_is_complete_with_them_and_may_be_drawn_beside_them(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "photograph", lambda *_: Image.new("RGB", (4, 3)))
    (tmp_path / ".DS_Store").touch()
    assert demo.draw(tmp_path, 30) is True
    (tmp_path / "train_images/blast/Thumbs.db").touch()
    assert demo.draw(tmp_path, 30) is False


def test_no_bundle_is_seen_in_them(tmp_path):
    (tmp_path / "._vit_one.json").write_bytes(b"left")
    assert bundle.names(tmp_path) == []


def test_no_stage_of_dvc_depends_on_them():
    paths = [f"data/{load_facts().slug}/train_images/blast/{n}" for n in [*FILES, *FOLDERS]]
    line = [sys.executable, "-m", "dvc", "check-ignore", *paths, "data/train_images/100001.jpg"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True)
    assert done.stdout.decode().split("\n")[:-1] == paths
