"""The saved splits: stratified or grouped, lasting, the same everywhere, identical together."""

from pathlib import Path

import pandas as pd
import pytest
from conftest import refusal
from small_tables import COUNTS, name, text_competition

from src.competition import digest, get_folds
from src.competition.folds import FOLDS, assign_folds, assign_sessions, session_groups

IDENTICAL = [("blast", 0, "blast", 22), ("normal", 3, "normal", 4), ("hispa", 2, "tungro", 1)]
# Nearly as in the real competition: 41 sessions of different sizes, one larger than a fold.
SIZES = [297, 139, 69, 58, 55, 40, 38, *range(34, 0, -1)]
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


def test_a_damaged_table_is_refused_with_its_name_and_the_remedy(data, models):
    folds = get_folds(data, 42, models)
    (path,) = models.iterdir()
    text = path.read_text()
    head, last = text[:-2].rsplit("\n", 1)
    damages = {
        "an image twice": head + head[head.rindex("\n") :],
        "a foreign image": f"{head}\nx.jpg,1",
        "a fold 5": f"{head}\n{last}5",
        "a fold without images": text.replace(",4\n", ",3\n"),
        "nothing": "",
    }
    for content in damages.values():
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


# How images are assigned


@pytest.fixture
def labels() -> pd.Series:
    return pd.Series({name(label, n): label for label in COUNTS for n in range(COUNTS[label])})


def alone(labels: pd.Series) -> pd.Series:
    return pd.Series(labels.index, labels.index)


def spread(labels: pd.Series, folds: pd.Series) -> pd.DataFrame:
    return pd.crosstab(labels, folds[labels.index]).reindex(columns=range(FOLDS), fill_value=0)


@pytest.mark.parametrize("seed", range(3))
def test_groups_stay_together_and_every_class_is_spread_evenly(labels, seed):
    groups = alone(labels)
    for size, label in (4, "normal"), (3, "blast"), (2, "hispa"):
        members = labels.index[labels == label][:size]
        groups[members] = members[0]
    folds = assign_folds(labels, groups, seed)
    assert folds.groupby(groups).nunique().max() == 1
    counts = spread(labels, folds)
    assert (counts.max(axis=1) - counts.min(axis=1)).max() <= 1  # the single ones fill up
    assert counts.sum().max() - counts.sum().min() <= 3


def test_the_split_is_the_same_on_every_machine_whatever_the_order_of_the_rows(labels: pd.Series):
    """Fixed answers: they may only change together with a note that old splits are void."""
    shuffled = labels.sample(frac=1, random_state=1)
    for rows, groups in ((labels, labels), (shuffled, shuffled), (shuffled, labels)):
        digests = [digest(assign_folds(rows, alone(groups), seed)) for seed in (0, 1, 42, 43)]
        assert digests == [
            "8ef9d70340df3e69", "441b1b2b5f583cf6", "5f98e5fce8f86138", "b4689747f242df60"
        ]


def test_rare_classes_leave_no_fold_empty_and_too_few_images_are_refused():
    labels = pd.Series({"a": "blast", "b": "blast", "c": "hispa", "d": "hispa", "e": "normal"})
    assert sorted(assign_folds(labels, alone(labels), 42)) == [0, 1, 2, 3, 4]
    groups = alone(labels).replace("b", "a")
    assert "4 different images cannot make 5 folds" in refusal(assign_folds, labels, groups, 42)


def test_digest_is_of_the_table_not_of_its_order(labels: pd.Series):
    folds = assign_folds(labels, alone(labels), 42)
    assert digest(folds[::-1]) == digest(folds) and len(digest(folds)) == 16
    moved = folds.copy()
    moved.iloc[0] = (moved.iloc[0] + 1) % FOLDS
    assert digest(moved) != digest(folds)


# Few sessions of very unequal size


def table_of(sizes: list[int]) -> tuple[pd.Series, pd.Series]:
    """Labels and sessions of images, each session with one to four of ten labels."""
    rows = [(k, n) for k, size in enumerate(sizes) for n in range(size)]
    ids = [f"{number:05}.jpg" for number in range(len(rows))]
    labels = pd.Series([str((k * k + n % (1 + (k + 3) % 4)) % 10) for k, n in rows], ids)
    return labels, pd.Series([str(k) for k, _ in rows], ids)


def test_each_seed_splits_the_sessions_anew_and_as_evenly_as_largest_first():
    labels, session = table_of(SIZES)
    before = spread(labels, assign_folds(labels, session, 42))
    of_class, partitions = before.sum(axis=1), set()
    for seed in (0, 1, 2, *range(42, 61)):
        folds = assign_sessions(labels, session, seed)
        assert folds.groupby(session).nunique().max() == 1
        partitions.add(frozenset(map(frozenset, folds.groupby(folds).groups.values())))
        off = [(c.div(of_class, axis=0) - 1 / FOLDS) for c in (spread(labels, folds), before)]
        new, old = ((table**2).sum().sum() for table in off)
        assert new < 1.05 * old
        assert folds.value_counts().min() > 0.5 * (len(labels) - SIZES[0]) / 4
    assert len(partitions) == 22


@pytest.mark.parametrize("sizes", [SIZES, [7] * 5], ids=["many", "equal"])
def test_five_seeds_in_a_row_hold_out_different_images(sizes: list[int]):
    splits = [assign_sessions(*table_of(sizes), seed) for seed in range(40, 60)]
    found = [frozenset(folds.index[folds == 0]) for folds in splits]
    assert all(len({*found[k : k + 5]}) == 5 for k in range(16))


def test_the_sessions_of_a_seed_are_the_same_everywhere():
    """Fixed answers, as above."""
    labels, session = table_of(SIZES)
    turned = labels.sample(frac=1, random_state=1), session.iloc[::-1]
    for given in ((labels, session), turned):
        assert digest(assign_sessions(*given, 42)) == "fe9795a2b1971317"
