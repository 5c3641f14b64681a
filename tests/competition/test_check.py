"""The report of the check: what is there, what is wrong, and whether training may start."""

import re
from pathlib import Path

import numpy as np
import pytest
from conftest import refusal
from PIL import ExifTags, Image
from small_bundles import call
from small_pictures import picture, truncate
from small_tables import SIX, text_competition

from src.competition import find
from src.competition.__main__ import main
from src.competition.check import check
from src.core import load_facts


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two classes of three photographs, two test photographs, all different."""
    folder = text_competition(tmp_path / "data", SIX, ["200001.jpg", "200000.jpg"])
    for n, path in enumerate(folder.rglob("*.jpg")):
        picture(path, 30 * n)
    return folder


def value(data: Path, what: str) -> str:
    """What the report of `data` says of `what`; the findings here let training start."""
    lines, obstacles = check(data)
    assert obstacles == [] and lines[-1] == "verdict: training may start"
    (found,) = re.findall(rf"^ *{what}  +(.*)$", "\n".join(lines), re.M)
    return found


def test_a_good_competition_is_described_and_training_may_start(data: Path):
    exif = Image.Exif()
    picture(data / "train_images/blast/100000.jpg", 3, (16, 12))
    for number, orientation in enumerate((5, 6, 8), 3):  # upright they are 12x16
        exif[ExifTags.Base.Orientation] = orientation
        picture(data / f"train_images/normal/10000{number}.jpg", number, (16, 12), exif=exif)
    result = call(main, "check", data)
    assert (result.returncode, result.stderr) == (0, "")
    rows = [line.split(maxsplit=1) for line in result.stdout.splitlines() if line]
    assert [["blast", "3"], ["normal", "3"], ["all", "6"]] == rows[1:4]
    for line in ["train images +6 readable", "test images +2 readable", "train.csv: id twice +none",
                 "  width x height, upright +12x16 .5., 16x12 .1.", "identical .* train +none",
                 "  orientation +portrait .5., landscape .1.", "verdict: training may start"]:
        assert re.search(f"^{line}$", result.stdout, re.M), line


def test_identical_files_are_named_within_and_across_the_splits(data: Path):
    train, test = data / "train_images", data / "test_images"
    same = (train / "blast/100000.jpg").read_bytes()
    for path in (train / "blast/100001.jpg", test / "200000.jpg", train / "normal/100003.jpg"):
        path.write_bytes(same)
    (train / "normal/100005.jpg").write_bytes((train / "normal/100004.jpg").read_bytes())
    (test / "200001.jpg").write_bytes((train / "blast/100002.jpg").read_bytes())
    names = "test_images/200000.jpg = blast/100000.jpg = blast/100001.jpg = normal/100003.jpg"
    both = f"{names}, test_images/200001.jpg = blast/100002.jpg"
    assert value(data, "identical files within train and test") == f"2: {both}"
    assert value(data, "identical files within test") == "none"
    assert value(data, "identical files within train") == "1: normal/100004.jpg = normal/100005.jpg"
    assert value(data, "identical, but labelled differently") == f"1: {names}"


def test_what_is_no_8_bit_photograph_is_named(data: Path):
    deep = Image.fromarray(np.arange(192, dtype=np.uint16).reshape(16, 12) * 300)
    deep.save(data / "train_images/normal/100004.jpg", "PNG")
    picture(data / "test_images/200001.jpg", mode="CMYK")
    picture(data / "train_images/blast/100001.jpg", mode="L")
    names = "2: normal/100004.jpg (PNG I;16), test_images/200001.jpg (JPEG CMYK)"
    assert value(data, "converted to 8-bit RGB") == names


def test_unreadable_files_are_named_and_the_command_fails(data: Path):
    truncate(data / "train_images/blast/100001.jpg")
    (data / "test_images/200000.jpg").write_text("no photograph")
    result = call(main, "check", data)
    assert (result.returncode, result.stderr) == (1, "")
    assert re.findall("^obstacle: (.*)", result.stdout, re.M) == [
        "unreadable train images (1): blast/100001.jpg (truncated)",
        "unreadable test images (1): test_images/200000.jpg (no picture)"]
    assert result.stdout.endswith("\nverdict: training may not start\n")


def test_ids_that_occur_twice_and_names_of_any_letters_are_one_line_each(data: Path):
    picture(data / "test_images/a\nb.jpg")
    text = (data / "train.csv").read_text()
    (data / "train.csv").write_text(text + text.splitlines()[1] + "\n")
    assert check(data)[1] == [
        "train.csv: id twice (1): 100000.jpg", r"test images without a row (1): a\nb.jpg"
    ]


@pytest.mark.parametrize("part", load_facts().layout)
def test_a_missing_part_is_refused_by_name_and_what_there_is_is_printed(data: Path, part: str):
    (data / part).rename(data / "away")
    assert f"lacks {part};" in refusal(find, data)
    lines, obstacles = check(data)
    assert any(part in obstacle for obstacle in obstacles)
    assert lines[-1] == "verdict: training may not start"
    counts = "\n".join(lines)
    assert re.search(rf"^train images +{0 if part == 'train_images' else 6} ", counts, re.MULTILINE)
    assert re.search(rf"^all +{0 if part == 'train.csv' else 6}$", counts, re.MULTILINE)


def test_an_empty_folder_and_torn_tables_are_survived(data: Path, tmp_path: Path):
    (data / "train.csv").write_bytes(b"\xff\xd8\xff\xe0")
    (data / "sample_submission.csv").write_text("")
    assert len(check(data)[1]) == 2
    (tmp_path / "empty").mkdir()
    result = call(main, "check", tmp_path / "empty")
    assert (result.returncode, result.stderr) == (1, "")
    _, blank, *lines = result.stdout.splitlines()  # nothing was found that could be described
    assert [line.split(": ")[0] for line in lines] == [*4 * ["obstacle"], "verdict"] and not blank
