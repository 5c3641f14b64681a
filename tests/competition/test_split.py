"""How images are assigned to folds: evenly, groups together, the same on every machine."""

import pandas as pd
import pytest
from conftest import refusal
from small_tables import COUNTS, name

from src.competition.folds import FOLDS, assign_folds, assign_sessions, digest

# Nearly as in the real competition: 41 sessions of different sizes, one larger than a fold.
SIZES = [297, 139, 69, 58, 55, 40, 38, *range(34, 0, -1)]


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
