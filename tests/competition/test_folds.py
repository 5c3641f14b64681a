"""The saved splits: stratified or grouped, lasting, the same everywhere, identical together."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from small_tables import COUNTS, name

from src.competition.folds import (
    FOLDS,
    assign_folds,
    digest,
    get_folds,
    identical_groups,
    session_groups,
)
from src.core import ROOT, UserError

IDENTICAL = [("blast", 0, "blast", 22), ("normal", 3, "normal", 4), ("hispa", 2, "tungro", 1)]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Four classes of unequal size and three pairs of identical files, one with two labels."""
    folder, rows = tmp_path / "data", ["image_id,label,variety,age"]
    for label, count in COUNTS.items():
        (folder / "train_images" / label).mkdir(parents=True)
        for n in range(count):
            (folder / "train_images" / label / name(label, n)).write_text(f"{label} {n}")
            rows.append(f"{name(label, n)},{label},ADT45,45")
    for label, n, other, m in IDENTICAL:
        for kind, k in (label, n), (other, m):
            (folder / "train_images" / kind / name(kind, k)).write_text(f"twins of {label} {n}")
    (folder / "train.csv").write_text("\n".join(rows) + "\n")
    return folder


# The saved table


def test_byte_identical_files_share_a_fold_even_across_labels(data: Path, tmp_path: Path):
    for seed in range(6):  # 1 in 125 by chance each
        folds = get_folds(data, seed, tmp_path / "models")
        for label, n, other, m in IDENTICAL:
            assert folds[name(label, n)] == folds[name(other, m)]


def test_groups_are_named_after_their_first_image(data: Path):
    paths = pd.Series({path.name: path for path in sorted(data.glob("train_images/*/*"))})
    groups = identical_groups(paths)
    assert groups[name("blast", 22)] == name("blast", 0)
    assert groups[name("tungro", 1)] == name("hispa", 2)
    assert groups[name("normal", 5)] == name("normal", 5)
    assert groups.nunique() == len(paths) - len(IDENTICAL)


def test_the_split_is_written_once_and_read_afterwards(data: Path, tmp_path: Path):
    models = tmp_path / "models"
    folds = get_folds(data, 42, models)
    (path,) = models.iterdir()
    assert path.name.startswith("folds_") and path.name.endswith("_seed42.csv")
    rows = path.read_bytes().decode().split("\n")
    assert rows[0] == "image_id,fold" and len(rows) == sum(COUNTS.values()) + 2
    # A split moved by hand is what is read: nothing is computed again.
    image_id, fold = rows[1].split(",")
    rows[1] = f"{image_id},{(int(fold) + 1) % FOLDS}"
    path.write_text("\n".join(rows))
    again = get_folds(data, 42, models)
    assert again[image_id] == (folds[image_id] + 1) % FOLDS
    assert (again != folds).sum() == 1


def test_what_is_read_back_equals_what_was_made(data: Path, tmp_path: Path):
    made, read = (get_folds(data, 42, tmp_path / "models") for _ in range(2))
    assert made.equals(read)
    assert made.dtype.kind == "i" and made.index.name == "image_id"
    elsewhere = get_folds(data.rename(tmp_path / "moved"), 42, tmp_path / "others")
    assert elsewhere.equals(made)


def test_other_data_and_other_seeds_have_tables_of_their_own(data: Path, tmp_path: Path):
    models = tmp_path / "models"
    get_folds(data, 42, models)
    get_folds(data, 43, models)
    (data / "train_images/blast" / name("blast", 1)).write_text("another photograph")
    get_folds(data, 42, models)
    assert len(list(models.iterdir())) == 3


DAMAGES = {
    "an image lost": lambda rows: rows[:-1],
    "an image twice": lambda rows: [*rows, rows[1]],
    "a foreign image": lambda rows: [*rows[:-1], "x.jpg,1"],
    "a fold 5": lambda rows: [*rows[:-1], rows[-1][:-1] + "5"],
    "no number": lambda rows: [*rows[:-1], rows[-1][:-1] + "one"],
    "a fold without images": lambda rows: [row.replace(",4", ",3") for row in rows],
    "another header": lambda rows: ["id,fold", *rows[1:]],
    "nothing": lambda rows: [],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_table_is_refused_with_its_name_and_the_remedy(data, tmp_path, damage: str):
    models = tmp_path / "models"
    folds = get_folds(data, 42, models)
    (path,) = models.iterdir()
    content = "\n".join(DAMAGES[damage](path.read_text().splitlines()))
    path.write_text(content)
    with pytest.raises(UserError, match=f"{path.name} .*delete it") as error:
        get_folds(data, 42, models)
    assert "\n" not in str(error.value)
    assert path.read_text() == content
    path.unlink()
    assert get_folds(data, 42, models).equals(folds)  # the remedy is one


def test_two_processes_at_once_leave_one_whole_table(data: Path, tmp_path: Path):
    code = (
        "import sys, pathlib; from src.competition import digest, get_folds; "
        "print(digest(get_folds(pathlib.Path(sys.argv[1]), 42, pathlib.Path(sys.argv[2]))))"
    )
    command = [sys.executable, "-c", code, str(data), str(tmp_path / "models")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    both = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    answers = {process.communicate()[0].strip() for process in both}
    assert answers == {digest(get_folds(data, 42, tmp_path / "models"))}
    assert len(list((tmp_path / "models").iterdir())) == 1


def test_a_models_folder_that_cannot_be_written_is_one_line(data: Path, tmp_path: Path):
    (tmp_path / "models").write_text("a file where the folder should be")
    with pytest.raises(UserError, match="cannot write .*folds_") as error:
        get_folds(data, 42, tmp_path / "models")
    assert "\n" not in str(error.value)


# Grouped by variety and age


def sessions(data: Path, varieties: list[str], ages: list[int]) -> pd.Series:
    """Deal the rows of train.csv to these varieties and ages; image_id → its variety and age."""
    table = pd.read_csv(data / "train.csv")
    table["variety"] = [varieties[n % len(varieties)] for n in range(len(table))]
    table["age"] = [ages[n // 3 % len(ages)] for n in range(len(table))]
    table.to_csv(data / "train.csv", index=False)
    return (table.variety + table.age.astype(str)).set_axis(table.image_id)


def test_a_grouped_split_keeps_each_variety_and_age_in_one_fold(data: Path, tmp_path: Path):
    session = sessions(data, ["ADT45", "Ponni"], [45, 50, 60, 65, 70, 72])
    folds = get_folds(data, 42, tmp_path / "models", "grouped")
    assert session.nunique() == 12
    assert folds.groupby(session).nunique().max() == 1
    assert set(folds) == set(range(FOLDS))
    apart = get_folds(data, 42, tmp_path / "models")
    assert apart.groupby(session).nunique().min() > 1


def test_a_grouped_split_keeps_identical_files_together_too(data: Path, tmp_path: Path):
    session = sessions(data, ["ADT45", "Ponni", "Zonal"], [45, 50, 60, 65, 70, 72, 75])
    folds = get_folds(data, 42, tmp_path / "models", "grouped")
    pairs = [(name(a, n), name(b, m)) for a, n, b, m in IDENTICAL]
    assert any(session[one] != session[other] for one, other in pairs)  # else nothing is shown
    assert all(folds[one] == folds[other] for one, other in pairs)
    assert folds.groupby(session).nunique().max() == 1


def test_sessions_joined_by_identical_files_are_joined_in_a_chain():
    ids = [f"{n}.jpg" for n in range(14)]
    table = pd.DataFrame({"variety": [f"v{n // 2}" for n in range(14)], "age": 45}, ids)
    identical = pd.Series(ids, ids)
    identical["2.jpg"] = "1.jpg"  # v0 and v1
    identical["5.jpg"] = "3.jpg"  # v1 and v2
    groups = session_groups(table, identical)
    assert groups.iloc[:6].nunique() == 1 and groups.nunique() == 5


def test_a_grouped_split_has_a_table_of_its_own(data: Path, tmp_path: Path):
    models = tmp_path / "models"
    sessions(data, ["ADT45", "Ponni", "Zonal"], [45, 50, 60])
    get_folds(data, 42, models)
    grouped = get_folds(data, 42, models, "grouped")
    grouped_name, name = sorted(path.name for path in models.iterdir())
    assert grouped_name == name.replace("_seed42", "_grouped_seed42")
    assert get_folds(data, 42, models, "grouped").equals(grouped)


def test_too_few_sessions_are_refused_in_one_line_and_nothing_is_written(data, tmp_path: Path):
    sessions(data, ["ADT45"], [45, 50])
    with pytest.raises(UserError) as error:
        get_folds(data, 42, tmp_path / "models", "grouped")
    assert str(error.value) == (
        "split=grouped needs 5 or more groups of one variety and age that share no photograph, "
        "train.csv has 1; use split=stratified"
    )
    assert not (tmp_path / "models").exists()


def test_each_seed_has_another_grouped_split(data: Path, tmp_path: Path):
    sessions(data, ["ADT45", "Ponni", "Zonal"], [45, 50, 60, 65, 70, 72])
    splits = [get_folds(data, seed, tmp_path / "models", "grouped") for seed in range(42, 47)]
    holdouts = {tuple(folds.index[folds == 0]) for folds in splits}
    assert len(holdouts) == 5


def test_a_grouped_split_saved_by_an_older_version_is_used_as_it_is(data: Path, tmp_path: Path):
    session, models = sessions(data, ["ADT45", "Ponni"], [45, 50, 60, 65]), tmp_path / "models"
    get_folds(data, 42, models, "grouped")
    (path,) = models.iterdir()
    older = assign_folds(pd.Series("any", session.index), session, 42).reset_index()
    path.write_text(content := older.to_csv(index=False))
    used = get_folds(data, 42, models, "grouped")
    assert used.equals(older.set_index("image_id").fold) and path.read_text() == content


def test_the_same_split_is_promised_again_only_where_that_is_true(data: Path, tmp_path: Path):
    sessions(data, ["ADT45", "Ponni"], [45, 50, 60, 65])
    for split, promised in (("stratified", True), ("grouped", False)):
        models = tmp_path / split
        get_folds(data, 42, models, split)
        (path,) = models.iterdir()
        path.write_text("image_id,fold\n")
        with pytest.raises(UserError, match=f"{path.name} .*delete it") as error:
            get_folds(data, 42, models, split)
        assert ("the same split" in str(error.value)) == promised
