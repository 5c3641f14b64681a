"""The table of twins: whose it is, its folds, which held-out images leak, known labels."""

from pathlib import Path

import pandas as pd
import pytest
from conftest import refusal
from small_tables import COUNTS, name, text_competition

from src.competition import (
    both_ways,
    digest,
    get_folds,
    identical_labels,
    leaking,
    read_twins,
    twins_path,
    write_twins,
)  # fmt: skip
from src.competition.folds import FOLDS

LEAVES = [("blast", 0, "blast", 1), ("blast", 1, "blast", 2), ("normal", 3, "hispa", 4)]
PAIRS = [(name(label, n), name(other, m)) for label, n, other, m in LEAVES]
MAKE = "python -m src.review twins"


@pytest.fixture
def data(tmp_path: Path, monkeypatch) -> Path:
    """Four classes of unequal size, of which two files are identical; two test images."""
    monkeypatch.setenv("PADDY_WORK", str(tmp_path / "work"))
    rows = [f"{name(label, n)},{label},ADT45,45" for label in COUNTS for n in range(COUNTS[label])]
    folder = text_competition(tmp_path / "data", rows, ["200001.jpg", "200002.jpg"])
    for n in (2, 9):
        (folder / "train_images" / "blast" / name("blast", n)).write_text("the same")
    return folder


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


def table(pairs: list[tuple[str, str]], groups: list[int]) -> pd.DataFrame:
    one, other = zip(*pairs, strict=True) if pairs else ((), ())
    return pd.DataFrame({"a": one, "b": other, "kind": "leaf", "group": groups, "inliers": 30})


def test_a_split_without_a_table_of_these_images_names_the_command(data: Path, models: Path):
    line = refusal(get_folds, data, 42, models, "twins")
    assert "twins.csv is missing" in line and line.endswith(MAKE) and not models.exists()
    write_twins(data, table(PAIRS, [1, 1, 2]))
    (data / "test_images" / "200001.jpg").write_text("another photograph")
    line = refusal(get_folds, data, 42, models, "twins")
    assert "of other images" in line and line.endswith(MAKE) and not models.exists()
    twins_path().with_suffix(".json").write_text("no facts")
    assert refusal(read_twins, data).endswith(MAKE)


def test_twins_and_their_identical_files_share_a_fold(data: Path, models: Path):
    write_twins(data, table([*PAIRS, (name("blast", 5), "200001.jpg"),
                             (name("blast", 6), "200001.jpg")], [1, 1, 2, 3, 3]))  # fmt: skip
    for seed in range(4):
        folds = get_folds(data, seed, models, "twins")
        assert {*folds} == {*range(FOLDS)}
        for group in ((0, 1, 2, 9), (5, 6)):  # the latter by way of a test image
            assert folds[[name("blast", n) for n in group]].nunique() == 1
        assert folds[name("normal", 3)] == folds[name("hispa", 4)]
    assert (models / next(models.glob("*_twins_seed0.csv")).name).is_file()


def test_another_table_makes_another_split_and_a_saved_one_is_not_silently_used(data, models):
    write_twins(data, table(PAIRS, [1, 1, 2]))
    folds = get_folds(data, 42, models, "twins")
    others = [name("tungro", n) for n in range(4)]
    write_twins(data, table([*PAIRS, *((others[0], other) for other in others[1:])],
                            [1, 1, 2, 3, 3, 3]))  # fmt: skip
    line = refusal(get_folds, data, 42, models, "twins")
    assert "separates twins" in line and "delete the split" in line
    assert digest(get_folds(data, 42, models / "new", "twins")) != digest(folds)


def test_a_saved_split_needs_no_table(data: Path, models: Path):
    write_twins(data, table(PAIRS, [1, 1, 2]))
    folds = get_folds(data, 42, models, "twins")
    twins_path().unlink()
    twins_path().with_suffix(".json").unlink()
    assert get_folds(data, 42, models, "twins").equals(folds)  # as on a node of a cluster


def test_no_twins_at_all_are_a_table_too(data: Path, models: Path):
    write_twins(data, table([], []))
    assert read_twins(data).empty
    assert get_folds(data, 42, models, "twins").equals(get_folds(data, 42, models))


def test_what_leaks_is_what_has_a_twin_in_another_fold(data: Path):
    folds = pd.Series(0, pd.read_csv(data / "train.csv").image_id)
    assert leaking(data, folds).empty  # without a table
    write_twins(data, table([*PAIRS, (name("blast", 5), "200001.jpg")], [1, 1, 2, 3]))
    assert leaking(data, folds).empty
    folds[name("blast", 2)] = 3
    assert sorted(leaking(data, folds)) == [name("blast", n) for n in range(3)]


def test_identical_files_have_a_known_label_unless_there_are_two(data: Path):
    write = {"200001.jpg": "the same", "200002.jpg": "of two"}
    for file, text in write.items():
        (data / "test_images" / file).write_text(text)
    (data / "train_images" / "normal" / name("normal", 0)).write_text("of two")
    known = identical_labels(data)
    assert known["test"].to_dict() == {"200001.jpg": "blast", "200002.jpg": "normal"}
    assert known["train"].to_dict() == {name("blast", n): "blast" for n in (2, 9)}
    (data / "train_images" / "hispa" / name("hispa", 0)).write_text("of two")
    known = identical_labels(data)
    assert known["test"].to_dict() == {"200001.jpg": "blast"}
    assert known["train"][name("normal", 0)] == "hispa"  # its own label is none of its twins'


def test_the_copies_of_a_file_share_its_twins_in_both_directions():
    rows = [("a", "b", "identical"), ("a", "c", "identical"), ("c", "x", "leaf"),
            ("y", "z", "leaf")]
    pairs = pd.DataFrame(rows, columns=["a", "b", "kind"])
    found = {(a, b): kind for a, b, kind in both_ways(pairs).itertuples(index=False, name=None)}
    one_way = {("a", "b"): "identical", ("a", "c"): "identical", ("b", "c"): "identical",
               **{(name, "x"): "leaf" for name in "abc"}, ("y", "z"): "leaf"}
    assert found == one_way | {(b, a): kind for (a, b), kind in one_way.items()}
    assert len(both_ways(pairs)) == len(found) and both_ways(pairs[:0]).empty
