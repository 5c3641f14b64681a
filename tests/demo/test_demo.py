"""The demo competition: Kaggle's layout, the same bytes from the same seed, nothing half drawn."""

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from conftest import ROOT, refusal
from PIL import Image
from small_bundles import call

from src.core import load_params
from src.demo import draw as demo
from src.demo.__main__ import main

IMAGES, TESTS = 30, 10


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    """What the command draws."""
    folder = tmp_path_factory.mktemp("drawn") / "demo"
    done = call(main, folder, "--images", IMAGES, "--seed", 3)
    assert done.stdout.startswith("drew 30 training and 10 test photographs"), done
    return folder


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in folder.rglob("*") if path.is_file()}


def test_tables_and_photographs_are_those_of_the_competition_and_nothing_else(drawn):
    train, solution = pd.read_csv(drawn / "train.csv"), pd.read_csv(drawn / "solution.csv")
    assert list(train) == ["image_id", "label", "variety", "age"]
    images = {f"train_images/{row.label}/{row.image_id}" for row in train.itertuples()}
    images |= {f"test_images/{name}" for name in solution.image_id}
    assert len(images) == IMAGES + TESTS
    tables = {"train.csv", "sample_submission.csv", "solution.csv", "demo.json"}
    assert {*contents(drawn)} == images | tables
    assert [path.name for path in drawn.parent.iterdir()] == ["demo"]
    # ids run from 100001 and are shuffled among labels
    assert sorted(train.image_id) == [f"{100001 + i}.jpg" for i in range(IMAGES)]
    assert [*solution.image_id] == [f"{200001 + i}.jpg" for i in range(TESTS)]
    labels = train.sort_values("image_id").label
    assert (labels != labels.shift()).sum() > 15
    assert {*train.label} == {*solution.label} == {*demo.SHARES}
    # the sample has empty labels, which the solution answers in its order
    sample = (drawn / "sample_submission.csv").read_text().splitlines()
    assert sample == ["image_id,label", *(f"{name}," for name in solution.image_id)]


def test_class_shares_are_the_real_ones_and_seeds_differ():
    train, test = demo.tables(600, 0)
    for table in (train, test):
        shares = table.label.value_counts(normalize=True)
        assert shares.to_dict() == pytest.approx(demo.SHARES, abs=0.02)
    assert not train.equals(demo.tables(600, 1)[0])


def test_photographs_differ_weigh_what_a_real_one_weighs_and_four_lie_on_their_side(drawn):
    paths = [*drawn.rglob("*.jpg")]
    sizes = [Image.open(path).size for path in paths]
    assert sizes.count((640, 480)) == 4 and sizes.count((480, 640)) == IMAGES + TESTS - 4
    weights = [path.stat().st_size for path in paths]
    assert 50_000 <= min(weights) and max(weights) <= 120_000
    assert len({*contents(drawn).values()}) == len(paths) + 4


def test_a_killed_drawing_leaves_no_competition_and_is_continued_to_the_same_bytes(drawn, tmp_path):
    folder = tmp_path / "demo"
    args = [sys.executable, "-m", "src.demo", folder, "--images", str(IMAGES), "--seed", "3"]
    run = subprocess.Popen(args, cwd=ROOT, stderr=subprocess.PIPE)
    seen = b""
    while not re.search(rb"\s[1-9]\d*/40", seen):
        assert (more := run.stderr.read1()), seen
        seen += more
    run.kill()
    run.wait()
    assert not folder.exists()
    assert demo.draw(folder, IMAGES, seed=3)
    assert contents(folder) == contents(drawn)


def test_a_folder_with_this_demo_is_not_drawn_again_and_any_other_is_left_alone(drawn, tmp_path):
    before = contents(drawn)
    assert demo.draw(drawn, IMAGES, seed=3) is False
    assert "name a new folder" in refusal(demo.draw, drawn, IMAGES, 4)
    assert contents(drawn) == before
    (tmp_path / "notes.txt").write_text("mine")
    assert "name a new folder" in refusal(demo.draw, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    (tmp_path / "notes.txt").unlink()
    (tmp_path / "demo.json").write_bytes((drawn / "demo.json").read_bytes())
    assert "lost images" in refusal(demo.draw, tmp_path, IMAGES, 3)
    for number in (*range(109_985, 109_985 + IMAGES), *range(209_995, 209_995 + TESTS)):
        (tmp_path / f"{number}.jpg").touch()  # all six digits count
    assert demo.draw(tmp_path, IMAGES, 3) is False


@pytest.mark.parametrize(("images", "seed"), [(29, 0), (30, -1)])
def test_impossible_numbers_are_refused(tmp_path, images, seed):
    assert "--images 30 or more and --seed 0" in refusal(demo.draw, tmp_path / "a", images, seed)
    assert not any(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_refused_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    assert "cannot write" in refusal(demo.draw, tmp_path / "file" / "demo", 30)


def test_make_demo_trains_the_rows_of_params_yaml():
    words = (ROOT / "Makefile").read_text().replace("\\\n", "").split()
    start = words.index("DEMO_ROWS") + 2  # after :=
    assert words[start : start + 4] == [*load_params()["demo"], ".PHONY:"]
