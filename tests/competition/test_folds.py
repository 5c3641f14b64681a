"""The saved splits: stratified or grouped, lasting, the same everywhere, identical together."""

from pathlib import Path

import pandas as pd
import pytest
from conftest import refusal
from small_tables import COUNTS, name, text_competition

from src.competition.folds import FOLDS, get_folds, session_groups

IDENTICAL = [("blast", 0, "blast", 22), ("normal", 3, "normal", 4), ("hispa", 2, "tungro", 1)]
PAIRS = [(name(label, n), name(other, m)) for label, n, other, m in IDENTICAL]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Four classes of unequal size and three pairs of identical files, one with two labels."""
    rows = [f"{name(label, n)},{label},ADT45,45" for label in COUNTS for n in range(COUNTS[label])]
    folder = text_competition(tmp_path / "data", rows)
    for label, n, other, m in IDENTICAL:
        for kind, k in (label, n), (other, m):
            (folder / "train_images" / kind / name(kind, k)).write_text(f"twins of {label} {n}")
    return folder


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


# The saved table


def test_byte_identical_files_share_a_fold_even_across_labels(data: Path, models: Path):
    for seed in range(6):  # 1 in 125 by chance each
        folds = get_folds(data, seed, models)
        assert all(folds[one] == folds[other] for one, other in PAIRS)


def test_the_split_is_written_once_and_read_afterwards(data: Path, tmp_path: Path, models: Path):
    folds = get_folds(data, 42, models)
    assert folds.dtype.kind == "i" and folds.index.name == "image_id"
    (path,) = models.iterdir()
    assert path.name.startswith("folds_") and path.name.endswith("_seed42.csv")
    assert get_folds(data, 42, models).equals(folds)
    rows = path.read_bytes().decode().split("\n")
    assert rows[0] == "image_id,fold" and len(rows) == sum(COUNTS.values()) + 2
    # A split changed by hand, or made by an older version, is what is read.
    path.write_text("\n".join([rows[0], *(row[:-1] + str(4 - int(row[-1])) for row in rows[1:-1])]))
    assert get_folds(data, 42, models).equals(4 - folds)
    assert get_folds(data.rename(tmp_path / "moved"), 42, tmp_path / "others").equals(folds)


def test_other_data_other_seeds_and_other_kinds_have_tables_of_their_own(data: Path, models: Path):
    sessions(data, ["ADT45", "Ponni", "Zonal"], [45, 50, 60])
    get_folds(data, 42, models)
    get_folds(data, 43, models)
    get_folds(data, 42, models, "grouped")
    names = {path.name.split("_", 2)[2] for path in models.iterdir()}
    assert names == {"seed42.csv", "seed43.csv", "grouped_seed42.csv"}
    (data / "train_images/blast" / name("blast", 1)).write_text("another photograph")
    get_folds(data, 42, models)
    assert len(list(models.iterdir())) == 4


DAMAGES = {
    "an image twice": lambda rows: [*rows[:-1], rows[1]],
    "a foreign image": lambda rows: [*rows[:-1], "x.jpg,1"],
    "a fold 5": lambda rows: [*rows[:-1], rows[-1][:-1] + "5"],
    "a fold without images": lambda rows: [row.replace(",4", ",3") for row in rows],
    "nothing": lambda rows: [],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_table_is_refused_with_its_name_and_the_remedy(data, models, damage: str):
    folds = get_folds(data, 42, models)
    (path,) = models.iterdir()
    content = "\n".join(DAMAGES[damage](path.read_text().splitlines()))
    path.write_text(content)
    line = refusal(get_folds, data, 42, models)
    assert path.name in line and "delete it" in line
    assert path.read_text() == content
    path.unlink()
    assert get_folds(data, 42, models).equals(folds)  # the remedy is one


# Grouped by variety and age


def sessions(data: Path, varieties: list[str], ages: list[int]) -> pd.Series:
    """Give the rows of train.csv these varieties and ages in turn; image_id → both."""
    table = pd.read_csv(data / "train.csv")
    table["variety"] = [varieties[n % len(varieties)] for n in range(len(table))]
    table["age"] = [ages[n // 3 % len(ages)] for n in range(len(table))]
    table.to_csv(data / "train.csv", index=False)
    return (table.variety + table.age.astype(str)).set_axis(table.image_id)


def test_a_grouped_split_keeps_sessions_and_identical_files_in_one_fold(data: Path, models: Path):
    session = sessions(data, ["ADT45", "Ponni", "Zonal"], [45, 50, 60, 65, 70, 72, 75])
    folds = get_folds(data, 42, models, "grouped")
    assert folds.groupby(session).nunique().max() == 1 and {*folds} == {*range(FOLDS)}
    assert any(session[one] != session[other] for one, other in PAIRS)  # else nothing is shown
    assert all(folds[one] == folds[other] for one, other in PAIRS)
    apart = get_folds(data, 42, models)
    assert apart.groupby(session).nunique().max() > 1


def test_sessions_joined_by_identical_files_are_joined_in_a_chain():
    ids = [f"{n}.jpg" for n in range(14)]
    table = pd.DataFrame({"variety": [f"v{n // 2}" for n in range(14)], "age": 45}, ids)
    identical = pd.Series(ids, ids)
    identical["2.jpg"] = "1.jpg"  # v0 and v1
    identical["5.jpg"] = "3.jpg"  # v1 and v2
    groups = session_groups(table, identical)
    assert groups.iloc[:6].nunique() == 1 and groups.nunique() == 5


def test_too_few_sessions_are_refused_and_nothing_is_written(data: Path, models: Path):
    sessions(data, ["ADT45"], [45, 50])
    line = refusal(get_folds, data, 42, models, "grouped")
    assert "train.csv has 1; use split=stratified" in line and not models.exists()
