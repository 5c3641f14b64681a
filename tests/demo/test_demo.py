"""The demo competition: Kaggle's layout, the same bytes from the same seed, nothing half drawn."""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from small_bundles import call, refused

from src.core import ROOT, UserError, load_params
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
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_every_row_has_its_photograph_and_every_photograph_its_row(drawn):
    train = pd.read_csv(drawn / "train.csv")
    assert list(train) == ["image_id", "label", "variety", "age"]
    rows = {f"train_images/{row.label}/{row.image_id}" for row in train.itertuples()}
    rows |= {f"test_images/{name}" for name in pd.read_csv(drawn / "solution.csv").image_id}
    assert rows == {name for name in contents(drawn) if name.endswith(".jpg")}
    assert len(rows) == IMAGES + TESTS


def test_nothing_but_the_competition_lies_in_the_folder(drawn):
    names = {path.name for path in drawn.iterdir()}
    tables = {"train.csv", "sample_submission.csv", "solution.csv", "demo.json"}
    assert names == tables | {"train_images", "test_images"}
    assert [path.name for path in drawn.parent.iterdir()] == ["demo"]


def test_the_sample_has_empty_labels_and_the_solution_answers_it_in_order(drawn):
    sample = (drawn / "sample_submission.csv").read_text().splitlines()
    assert sample[:2] == ["image_id,label", "200001.jpg,"]
    solution = pd.read_csv(drawn / "solution.csv")
    assert [f"{name}," for name in solution.image_id] == sample[1:]
    assert set(solution.label) == set(demo.SHARES)


def test_ids_run_from_100001_and_are_shuffled_among_labels(drawn):
    train = pd.read_csv(drawn / "train.csv")
    assert sorted(train.image_id) == [f"{100001 + i}.jpg" for i in range(IMAGES)]
    assert train.label.is_monotonic_increasing and not train.image_id.is_monotonic_increasing
    assert set(train.label) == set(demo.SHARES)


def test_class_shares_are_the_real_ones():
    train, test = demo.tables(demo.Demo(600, 0, 200))
    for table in (train, test):
        shares = table.label.value_counts(normalize=True)
        assert shares.to_dict() == pytest.approx(demo.SHARES, abs=0.02)


def test_four_photographs_lie_on_their_side(drawn):
    sizes = [Image.open(path).size for path in drawn.rglob("*.jpg")]
    assert sizes.count((640, 480)) == 4 and sizes.count((480, 640)) == IMAGES + TESTS - 4


def test_photographs_weigh_what_a_real_one_weighs(drawn):
    sizes = [path.stat().st_size for path in drawn.rglob("*.jpg")]
    assert 50_000 <= min(sizes) and max(sizes) <= 120_000


def test_labels_and_seeds_make_different_photographs(drawn):
    hashes = [value for name, value in contents(drawn).items() if name.endswith(".jpg")]
    assert len(set(hashes)) == len(hashes)
    one, other = (demo.tables(demo.Demo(60, seed, 20))[0] for seed in (0, 1))
    assert not one.equals(other)


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


def test_one_process_draws_the_same_bytes_as_many(drawn, tmp_path, monkeypatch):
    train, test = demo.tables(demo.Demo(IMAGES, 3, TESTS))
    few = train.iloc[::9], test.iloc[::5]
    monkeypatch.setattr(demo, "cores", lambda: 1)
    demo._draw_images(tmp_path, few, seed=3)
    alone = contents(tmp_path)
    assert len(alone) == len(few[0]) + len(few[1])
    assert alone.items() <= contents(drawn).items()


def test_a_finished_demo_is_not_drawn_again(drawn):
    before = contents(drawn)
    assert demo.draw(drawn, IMAGES, seed=3) is False
    assert contents(drawn) == before


def test_a_folder_with_other_content_is_refused_and_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    assert "name a new folder" in refused(call(main, tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_another_demo_is_refused_and_left_alone(drawn):
    before = contents(drawn)
    with pytest.raises(UserError, match="another demo; remove it"):
        demo.draw(drawn, IMAGES, seed=4)
    assert contents(drawn) == before


def test_a_demo_that_lost_images_is_refused(tmp_path):
    marker = {"images": IMAGES, "seed": 3, "tests": TESTS, "version": demo.VERSION}
    (tmp_path / "demo.json").write_text(json.dumps(marker))
    with pytest.raises(UserError, match="lost images"):
        demo.draw(tmp_path, IMAGES, seed=3)


@pytest.mark.parametrize(
    ("images", "seed", "message"),
    [(29, 0, "too few for ten labels; give 30 or more"), (30, -1, "is negative")],
)
def test_impossible_numbers_are_refused(tmp_path, images, seed, message):
    with pytest.raises(UserError, match=message):
        demo.draw(tmp_path / "demo", images, seed)
    assert not any(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_told_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    assert "cannot write" in refused(call(main, tmp_path / "file" / "demo", "--images", 30))



def test_make_demo_trains_the_rows_of_params_yaml():
    makefile = (ROOT / "Makefile").read_text()
    assert f"DEMO_ROWS := {' '.join(load_params()['demo'])}\n" in makefile
