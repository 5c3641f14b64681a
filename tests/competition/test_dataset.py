"""The competition's files: found where they are looked for, read strictly, faults named."""

from pathlib import Path

import pandas as pd
import pytest
from conftest import refusal
from small_tables import SIX, text_competition

from src.competition import dataset as competition
from src.competition.check import check
from src.core import load_facts

SLUG = load_facts().slug
HEADER = "image_id,label,variety,age\n"
ROWS = "\n".join(SIX)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two classes of three files, two test files: nothing here is decoded, so text will do."""
    return text_competition(tmp_path / "data", SIX, ["200001.jpg", "200000.jpg"])


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PADDY_DATA", raising=False)
    monkeypatch.setattr(competition.mounts, "KAGGLE_INPUT", tmp_path / "input")
    monkeypatch.setattr(competition, "ROOT", tmp_path / "root")


def reverse_rows(path: Path) -> None:
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *rows[::-1]]))


@pytest.mark.parametrize("place", ["input", "input/competitions", "root/data"])
def test_the_usual_places_are_tried_and_an_incomplete_one_hides_no_other(data, tmp_path, place):
    (tmp_path / "input" / SLUG).mkdir(parents=True)
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    folder = data.replace(tmp_path / place / SLUG)
    assert competition.find() == folder


def test_argument_then_environment_then_kaggle_then_data(data, tmp_path, monkeypatch):
    places = [tmp_path / name / SLUG for name in ("root/data", "input")]
    for place in places:
        place.parent.mkdir(parents=True)
        place.symlink_to(data)
        assert competition.find() == place
    monkeypatch.setenv("PADDY_DATA", str(data))
    assert competition.find() == data
    monkeypatch.setenv("PADDY_DATA", str(tmp_path / "nowhere"))
    assert competition.find(data) == data
    # a place that is named never falls through
    assert refusal(competition.find).startswith(
        f"no competition in {tmp_path / 'nowhere'} (from PADDY_DATA); ")
    monkeypatch.chdir(tmp_path)  # papermill makes a number of such a name
    assert f"no competition in {tmp_path / '2024'}; " in refusal(competition.find, 2024)


def test_nothing_found_names_the_places_and_the_two_ways_out(tmp_path):
    line = refusal(competition.find)
    for part in (*map(str, competition.candidates()), "src.kaggle_api download", "make demo"):
        assert part in line


def test_tables_are_read_as_they_are_meant(data: Path):
    table = competition.train_table(data)
    assert table.index.name == "image_id"
    assert list(table.columns) == ["label", "variety", "age"]
    assert table.loc["100002.jpg"].to_list() == ["blast", "ADT45", 47]
    assert table.age.dtype.kind == "i"
    assert competition.classes(data) == ["blast", "normal"]
    sample = competition.sample(data)  # in its own order
    assert sample.values.tolist() == [["200001.jpg", ""], ["200000.jpg", ""]]


@pytest.mark.parametrize("end, start", [("\r\n", b""), ("\n\n", b"\xef\xbb\xbf")])
def test_line_ends_blank_lines_and_a_byte_order_mark_change_nothing(data: Path, end, start):
    before = competition.train_table(data)
    content = (data / "train.csv").read_text().replace("\n", end)
    (data / "train.csv").write_bytes(start + content.encode())
    pd.testing.assert_frame_equal(competition.train_table(data), before)


def test_ids_and_labels_that_look_like_numbers_or_nothing_stay_text(data: Path):
    (data / "sample_submission.csv").write_text("image_id,label\n007,\nNA,\n1e5,\n")
    assert competition.sample(data).image_id.to_list() == ["007", "NA", "1e5"]
    (data / "train.csv").write_text(HEADER + ROWS.replace("blast", "NA").replace("normal", "1"))
    assert competition.classes(data) == ["1", "NA"]


def test_the_demo_has_answers_and_the_real_competition_has_none(data: Path):
    assert competition.solution(data) is None
    (data / "solution.csv").write_text("image_id,label\n200000.jpg,blast\n200001.jpg,normal\n")
    answers = competition.solution(data)
    assert list(answers.items()) == [("200001.jpg", "normal"), ("200000.jpg", "blast")]
    (data / "solution.csv").write_text("image_id,label\n200000.jpg,blast\n300000.jpg,normal\n")
    assert "solution.csv has other images" in refusal(competition.solution, data)


def test_paths_lead_to_the_photographs(data: Path):
    reverse_rows(data / "train.csv")
    for name in ("train_images/.ipynb_checkpoints", "test_images/.ipynb_checkpoints"):
        (data / name).mkdir()
        (data / name / "100001-checkpoint.jpg").touch()
    (data / "test_images/.200000.jpg.swp").touch()
    paths = competition.train_paths(data)
    assert list(paths.index) == sorted(paths.index)
    assert paths["100004.jpg"] == data / "train_images/normal/100004.jpg"
    assert all(path.is_file() for path in paths) and len(paths) == 6
    assert list(competition.test_paths(data)) == ["200001.jpg", "200000.jpg"]
    assert all(path.is_file() for path in competition.test_paths(data).values())


@pytest.mark.parametrize("read, moved, missing, extra", [
    (competition.train_paths, "train_images/blast",
     "class folders that train.csv does not know (1): moved",
     "classes of train.csv without a folder (1): blast"),
    (competition.train_paths, "train_images/blast/100000.jpg",
     "rows of train.csv without an image (1): blast/100000.jpg", "without a row (1): blast/moved"),
    (competition.test_paths, "test_images/200000.jpg",
     "rows of the sample without an image (1): 200000.jpg", "test images without a row (1): moved"),
])  # fmt: skip
def test_tables_and_folders_that_disagree_are_refused(data: Path, read, moved, missing, extra):
    (data / moved).rename((data / moved).with_name("moved"))
    assert f"{data}: {missing}" in refusal(read, data)
    obstacles = "\n".join(check(data)[1])
    assert missing in obstacles and extra in obstacles


def test_an_empty_folder_of_an_unknown_class_is_refused(data: Path):
    (data / "train_images/mould").mkdir()
    line = "class folders that train.csv does not know (1): mould"
    assert line in check(data)[1]
    assert f"{data}: {line}" in refusal(competition.train_paths, data)


def test_fingerprints_change_with_what_they_stand_for(data: Path):
    marks = {competition.train_fingerprint(data)}
    path = data / "train_images/blast/100001.jpg"
    path.write_text("other bytes")
    marks.add(competition.train_fingerprint(data))
    path.rename(data / "train_images/normal/100001.jpg")
    (data / "train.csv").write_text(HEADER + ROWS.replace("100001.jpg,blast", "100001.jpg,normal"))
    marks.add(competition.train_fingerprint(data))
    assert len(marks) == 3
    before = competition.test_fingerprint(data)
    (data / "sample_submission.csv").write_text("image_id,label\n200000.jpg,x\n200001.jpg,y\n")
    assert competition.test_fingerprint(data) == before  # the sample's labels mean nothing
    (data / "test_images/200000.jpg").write_text("other bytes")
    assert competition.test_fingerprint(data) != before


def test_fingerprints_do_not_depend_on_order_or_place(data: Path, tmp_path: Path):
    """Fixed answers: cards, folds and predictions made before carry them."""
    marks = competition.train_fingerprint(data), competition.test_fingerprint(data)
    assert marks == (
        "79d7ff861140bfe9b89161041040df80b3fb7af4bdd11ba857ee6324b08a3d77",
        "a6a02e5c2e7bf326dad5927fbffaa4b10a831ce3c84eb7608124442156912c01",
    )
    reverse_rows(data / "train.csv")
    reverse_rows(data / "sample_submission.csv")
    moved = data.rename(tmp_path / "moved")
    assert (competition.train_fingerprint(moved), competition.test_fingerprint(moved)) == marks
