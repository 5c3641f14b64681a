"""Torn tables and damaged images are refused by name."""

from pathlib import Path
from random import Random

import pytest
from conftest import refusal
from PIL import Image
from small_pictures import picture, truncate

from src import competition
from src.competition.images import identical_files, inspect, inspect_all, require_images

HEADER = b"image_id,label,variety,age\n"
BAD_TRAIN = {
    "is empty": b"",
    "has a header but no rows": HEADER,
    "needs one column label": b"image_id,klass,variety,age\na.jpg,blast,x,1\n",
    "has 1 fields instead of 4 in row 2": HEADER + b"a,blast,x,1\nb.j",
    "is no readable CSV ('utf-8": b"\xff\xd8\xff\xe0",
    "is no readable CSV (unexpected end": HEADER + b'a.jpg,"blast,x,1\n',
    "id twice (1): a.jpg": HEADER + b"a.jpg,blast,x,1\na.jpg,blast,x,1\n",
    "empty image_id (1): (no id)": HEADER + b",blast,x,1\nb.jpg,blast,x,1\n",
    "empty label (1): b.jpg": HEADER + b"a.jpg,blast,x,1\nb.jpg, ,x,1\n",
    "age is no whole number (2): a, b": HEADER + b"a,c,x,old\nb,c,x,4.5\n",
    "no such file": None,
}


@pytest.mark.parametrize(("problem", "content"), BAD_TRAIN.items())
def test_a_bad_table_is_refused_with_file_and_remedy(tmp_path: Path, problem, content):
    if content is not None:
        (tmp_path / "train.csv").write_bytes(content)
    line = refusal(competition.train_table, tmp_path)
    assert "train.csv" in line and problem in line and "unpack the competition's zip" in line


def test_a_sample_with_an_image_twice_is_refused(tmp_path: Path):
    (tmp_path / "sample_submission.csv").write_text("image_id,label\na.jpg,\na.jpg,\n")
    assert "sample_submission.csv: id twice (1): a.jpg" in refusal(competition.sample, tmp_path)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("bytes_lost", [2, 5000])
def test_a_jpeg_that_lost_its_end_is_noticed(tmp_path: Path, bytes_lost, progressive: bool):
    path = tmp_path / "cut.jpg"
    noise = Image.frombytes("RGB", (96, 128), Random(0).randbytes(96 * 128 * 3))
    noise.save(path, "JPEG", progressive=progressive)
    assert inspect(path).problem == ""
    truncate(path, bytes_lost)
    assert inspect(path).problem == "truncated"


def test_what_is_no_picture_is_named_with_the_reason(tmp_path: Path):
    problems = {"good": "", "empty": "empty file", "text": "no picture",
                "folder": "is a directory", "gone": "no such file or directory"}
    picture(tmp_path / "good")
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("image_id,label\n")
    (tmp_path / "folder").mkdir()
    found = inspect_all(tmp_path / name for name in problems)
    assert {path.name: inspection.problem for path, inspection in found.items()} == problems


def test_a_damaged_picture_of_another_format_is_a_problem_not_a_crash(tmp_path: Path):
    path = tmp_path / "broken.jpg"
    Image.frombytes("RGB", (64, 64), Random(0).randbytes(64 * 64 * 3)).save(path, "PNG")
    content = bytearray(path.read_bytes())
    content[200:260] = bytes(60)
    path.write_bytes(content)
    assert inspect(path).problem


def test_unreadable_images_stop_a_training_and_the_first_ten_are_named(tmp_path: Path):
    paths = [tmp_path / "blast" / f"{n:02}.jpg" for n in range(13)]
    for path in paths:
        picture(path)
    require_images(paths)
    for path in paths[1:]:
        truncate(path)
    line = refusal(require_images, paths)
    assert line.startswith("unreadable images (12): blast/01.jpg (truncated), blast/02.jpg")
    assert "blast/10.jpg (truncated) and 2 more; " in line


def test_identical_files_are_those_with_the_same_bytes(tmp_path: Path):
    contents = {"a": b"12", "b": b"34", "c": b"12", "d": b"123", "e": b"", "f": b""}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    groups = identical_files(tmp_path / name for name in "fedcba")
    assert groups == [[tmp_path / "a", tmp_path / "c"]]
