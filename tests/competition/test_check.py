"""The report of the check: what is there, what is wrong, and whether training may start."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image
from small_bundles import call
from small_pictures import picture, truncate

from src.competition.__main__ import main
from src.competition.check import check
from src.core import load_facts


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two classes of three photographs, two test photographs, all different."""
    folder, rows = tmp_path / "data", []
    for n in range(6):
        label, name = ("blast", "normal")[n // 3], f"10000{n}.jpg"
        picture(folder / "train_images" / label / name, 30 * n)
        rows.append(f"{name},{label},ADT45,{45 + n}\n")
    for n in range(2):
        picture(folder / "test_images" / f"20000{n}.jpg", 200 + 30 * n)
    (folder / "train.csv").write_text("image_id,label,variety,age\n" + "".join(rows))
    (folder / "sample_submission.csv").write_text("image_id,label\n200001.jpg,\n200000.jpg,\n")
    return folder


def test_check_describes_a_good_competition_and_lets_training_start(data: Path):
    picture(data / "train_images/blast/100000.jpg", 3, (16, 12))
    result = call(main, "check", data)
    assert (result.returncode, result.stderr) == (0, "")
    for line in [
        r"^blast +3 +50\.0%$",
        r"^all +6$",
        r"^varieties: 1 +ADT45 \(6\)$",
        r"^ages: 6 +45 \(1\), 46",
        r"^train images +6 readable$",
        r"^test images +2 readable$",
        r"sizes .* +12x16 \(5\), 16x12 \(1\)$",
        r"orientation +portrait \(5\), landscape \(1\)$",
        r"^train\.csv: id twice +none$",
        r"^identical files within train +0 \(0 files\)$",
        r"^verdict: training may start$",
    ]:
        assert re.search(line, result.stdout, re.MULTILINE), line


def test_check_counts_pictures_upright(data: Path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 8
    picture(data / "train_images/blast/100000.jpg", 3, (16, 12), exif=exif)
    report = "\n".join(check(data).lines)
    assert re.search(r"12x16 \(6\)\n +orientation +portrait \(6\), 1 of them by EXIF", report)


def test_check_names_unreadable_files_and_forbids_training(data: Path):
    truncate(data / "train_images/blast/100001.jpg")
    (data / "test_images/200000.jpg").write_text("no photograph")
    result = call(main, "check", data)
    assert (result.returncode, result.stderr) == (1, "")
    assert "obstacle: unreadable train images (1): blast/100001.jpg (truncated)" in result.stdout
    assert "unreadable test images (1): test_images/200000.jpg (no picture)" in result.stdout
    assert result.stdout.endswith("\nverdict: training may not start\n")


def test_check_remarks_on_identical_files_but_lets_training_start(data: Path):
    train, test = data / "train_images", data / "test_images"
    same = (train / "blast/100000.jpg").read_bytes()
    for path in (train / "blast/100001.jpg", test / "200000.jpg", train / "normal/100003.jpg"):
        path.write_bytes(same)
    (train / "normal/100005.jpg").write_bytes((train / "normal/100004.jpg").read_bytes())
    (test / "200001.jpg").write_bytes((train / "blast/100002.jpg").read_bytes())
    report = check(data)
    assert report.obstacles == []
    text = "\n".join(report.lines)
    assert re.search(r"train +1 \(2 files\): normal/100004.jpg = normal/100005.jpg$", text, re.M)
    assert re.search(r"within test +0 \(0 files\)$", text, re.M)
    names = "test_images/200000.jpg = blast/100000.jpg = blast/100001.jpg = normal/100003.jpg"
    both = f"{names}, test_images/200001.jpg = blast/100002.jpg"
    assert re.search(rf"within train and test +2 \(6 files\): {both}$", text, re.M)
    assert re.findall("labelled differently: (.*)", text) == [names]


def test_check_names_the_first_groups_of_identical_files_and_counts_the_others(data: Path):
    for n in range(14):
        picture(data / f"test_images/{n // 2:02}_{n}.jpg", 1, (20 + n // 2, 20))
    text = "\n".join(check(data).lines)
    (line,) = re.findall(r"within test +(.*)", text)
    assert line.startswith("7 (14 files): test_images/00_0.jpg = test_images/00_1.jpg, test_images")
    assert line.endswith("test_images/04_8.jpg = test_images/04_9.jpg and 2 more")


def test_check_names_what_is_no_8_bit_photograph_but_lets_training_start(data: Path):
    deep = Image.fromarray(np.arange(192, dtype=np.uint16).reshape(16, 12) * 300)
    deep.save(data / "train_images/normal/100004.jpg", "PNG")
    picture(data / "test_images/200001.jpg", 1, mode="CMYK")
    picture(data / "train_images/blast/100001.jpg", 1, mode="L")
    report = check(data)
    assert report.obstacles == []
    (line,) = re.findall(r"converted to 8-bit RGB +(.*)", "\n".join(report.lines))
    assert line == "2: normal/100004.jpg (PNG I;16), test_images/200001.jpg (JPEG CMYK)"


def test_check_forbids_training_on_pictures_that_cannot_be_converted(data: Path):
    Image.fromarray(np.full((16, 12), np.nan, np.float32)).save(
        data / "train_images/normal/100004.jpg", "TIFF"
    )
    (obstacle,) = check(data).obstacles
    assert obstacle.startswith("unreadable train images (1): normal/100004.jpg (")
    assert "no finite numbers" in obstacle


def test_check_keeps_to_one_line_whatever_letters_a_name_has(data: Path):
    picture(data / "test_images/a\nb.jpg")
    assert check(data).obstacles == [r"test images without a row (1): a\nb.jpg"]


def test_check_finds_ids_that_occur_twice(data: Path):
    text = (data / "train.csv").read_text()
    (data / "train.csv").write_text(text + text.splitlines()[1] + "\n")
    report = check(data)
    assert report.obstacles == ["train.csv: id twice (1): 100000.jpg"]


@pytest.mark.parametrize("part", load_facts().layout)
def test_check_prints_what_it_can_when_a_part_is_missing(data: Path, part: str):
    (data / part).rename(data / "away")
    report = check(data)
    assert any(part in obstacle for obstacle in report.obstacles)
    assert report.lines[-1] == "verdict: training may not start"
    counts = "\n".join(report.lines)
    assert re.search(rf"^train images +{0 if part == 'train_images' else 6} ", counts, re.MULTILINE)
    assert re.search(rf"^all +{0 if part == 'train.csv' else 6}$", counts, re.MULTILINE)


def test_check_survives_an_empty_folder_and_torn_tables(data: Path, tmp_path: Path):
    (data / "train.csv").write_bytes(b"\xff\xd8\xff\xe0")
    (data / "sample_submission.csv").write_text("")
    assert len(check(data).obstacles) == 2
    (tmp_path / "empty").mkdir()
    result = call(main, "check", tmp_path / "empty")
    assert (result.returncode, result.stderr) == (1, "")
    assert result.stdout.count("\nobstacle: ") == 4
