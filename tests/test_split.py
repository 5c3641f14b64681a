"""How images are dealt to folds: evenly, groups together, the same on every machine."""

import pandas as pd
import pytest
from small_tables import COUNTS, name

from src.config import UserError
from src.folds import FOLDS, assign_folds, digest


@pytest.fixture
def labels() -> pd.Series:
    return pd.Series({name(label, n): label for label in COUNTS for n in range(COUNTS[label])})


def alone(labels: pd.Series) -> pd.Series:
    return pd.Series(labels.index, labels.index)


def spread(labels: pd.Series, folds: pd.Series) -> pd.DataFrame:
    return pd.crosstab(labels, folds[labels.index]).reindex(columns=range(FOLDS), fill_value=0)


def test_every_image_has_one_fold_and_every_class_is_spread_evenly(labels: pd.Series):
    folds = assign_folds(labels, alone(labels), seed=42)
    assert sorted(folds.index) == sorted(labels.index)
    counts = spread(labels, folds)
    assert (counts.max(axis=1) - counts.min(axis=1)).max() <= 1
    assert counts.sum().max() - counts.sum().min() <= 1


@pytest.mark.parametrize("seed", range(5))
def test_groups_stay_together_and_unbalance_a_class_by_no_more_than_their_size(labels, seed):
    groups = alone(labels)
    for size, label in (4, "normal"), (3, "blast"), (2, "hispa"):
        members = labels.index[labels == label][:size]
        groups[members] = members[0]
    folds = assign_folds(labels, groups, seed)
    assert folds.groupby(groups).nunique().max() == 1
    counts = spread(labels, folds)
    assert (counts.max(axis=1) - counts.min(axis=1)).max() <= 1  # the single ones fill up


def test_large_groups_of_mixed_labels_are_spread_as_evenly_as_they_allow():
    # Ten sessions of ten images each, every other one with a disease of its own kind.
    ids = [f"{n:03}.jpg" for n in range(100)]
    labels = pd.Series([("blast", "normal")[n // 10 % 2] for n in range(100)], ids)
    labels.iloc[::10] = "tungro"
    folds = assign_folds(labels, pd.Series([n // 10 for n in range(100)], ids).astype(str), 42)
    assert (spread(labels, folds).loc["tungro"] == 2).all()
    assert (spread(labels, folds).loc["blast"] == 9).all()


def test_the_order_of_the_rows_does_not_matter(labels: pd.Series):
    folds = assign_folds(labels, alone(labels), 42)
    shuffled = labels.sample(frac=1, random_state=1)
    assert assign_folds(shuffled, alone(shuffled), 42).equals(folds)
    assert assign_folds(shuffled, alone(labels), 42).equals(folds)


def test_the_split_is_the_same_on_every_machine(labels: pd.Series):
    """A fixed answer: it may only change together with a note that old splits are void."""
    assert digest(assign_folds(labels, alone(labels), 42)) == "5f98e5fce8f86138"


def test_another_seed_makes_another_split_just_as_even(labels: pd.Series):
    folds = [assign_folds(labels, alone(labels), seed) for seed in range(20)]
    assert len({digest(f) for f in folds}) == 20
    agreement = [(a == b).mean() for a in folds for b in folds if a is not b]
    assert 0.1 < sum(agreement) / len(agreement) < 0.3  # one in five, by chance


def test_the_folds_have_nothing_to_do_with_the_order_of_the_ids():
    labels = pd.Series("normal", [f"{n:06}.jpg" for n in range(1000)])
    folds = assign_folds(labels, alone(labels), 42)
    assert 150 < (folds.to_numpy()[1:] == folds.to_numpy()[:-1]).sum() < 250  # 200 by chance


def test_rare_classes_leave_no_fold_empty():
    labels = pd.Series({"a": "blast", "b": "blast", "c": "hispa", "d": "hispa", "e": "normal"})
    assert sorted(assign_folds(labels, alone(labels), 42)) == [0, 1, 2, 3, 4]


def test_too_few_different_images_are_refused(labels: pd.Series):
    few = labels[:6]
    groups = alone(few)
    groups.iloc[:3] = groups.iloc[0]
    with pytest.raises(UserError, match="4 different images cannot make 5 folds"):
        assign_folds(few, groups, 42)


def test_digest_is_of_the_table_not_of_its_order(labels: pd.Series):
    folds = assign_folds(labels, alone(labels), 42)
    assert digest(folds[::-1]) == digest(folds)
    assert len(digest(folds)) == 16
    moved = folds.copy()
    moved.iloc[0] = (moved.iloc[0] + 1) % FOLDS
    assert digest(moved) != digest(folds)
