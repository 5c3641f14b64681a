"""Right labels in wrong rows, found beside labels that are strong, weak or useless."""

import numpy as np
import pandas as pd
import pytest

from src.submission.misalignment import misalignment
from tests.small_submissions import IDS, TRUTH, mistaken, with_changes

WEAK = mistaken(TRUTH, 0.45, seed=3)
RING = {"blast": "hispa", "hispa": "normal", "normal": "blast"}


@pytest.mark.parametrize("known", [with_changes(TRUTH, 8), WEAK], ids=["strong", "weak"])
@pytest.mark.parametrize("moved, start", [
    (np.roll(TRUTH, 1), "rows are shifted down by one from row"),
    (np.roll(TRUTH, -1), "rows are shifted up by one from row"),
    (TRUTH[::-1], "rows are in reverse order from row"),
])  # fmt: skip
def test_moved_rows_are_found_and_named(known, moved, start):
    assert misalignment(pd.Series(np.array(moved), IDS), known).startswith(start)


def test_a_shift_from_the_middle_on_names_the_row():
    labels = TRUTH.copy()
    labels.iloc[100:] = np.roll(TRUTH, 1)[100:]
    # Rows right by luck around the break leave it open where exactly it is.
    row = int(misalignment(labels, TRUTH).split("from row ")[1].split()[0])
    assert 95 <= row <= 101


@pytest.mark.parametrize("names", [{"hispa": "normal", "normal": "hispa"}, RING])
def test_exchanged_class_names_are_named_two_or_all(names):
    found = misalignment(TRUTH.replace(names), WEAK).removeprefix("class names are exchanged: ")
    assert {f"{old} is called {new}" for old, new in names.items()} == {*found.split(", ")}


def test_a_noisy_pair_of_classes_hides_no_exchange():
    labels = TRUTH.replace({"hispa": "normal", "normal": "hispa"})
    # Renaming smut and tungro would fit better too, 6 rows not 3, but gains nothing for tungro.
    noisy = ["smut"] * 5 + ["tungro"] * 4
    known = ["tungro"] * 4 + ["smut"] * 3 + ["tungro"] * 2
    found = misalignment(pd.Series([*labels, *noisy]), pd.Series([*TRUTH, *known]))
    assert found.removeprefix("class names are exchanged: ").split(", ") == [
        "normal is called hispa", "hispa is called normal",
    ]  # fmt: skip


def test_hundreds_of_exchanged_classes_are_found():
    numbers = np.random.default_rng(0).permutation(np.repeat(np.arange(200), 10))
    known, labels = (pd.Series([f"class {n % 200}" for n in numbers + step]) for step in (0, 1))
    assert misalignment(labels, known).count("is called") == 200


def test_a_model_that_prefers_one_class_is_not_taken_for_an_exchange():
    rare = TRUTH.replace({"blast": "normal", "normal": "blast"})
    for collapsed in (pd.Series(name, IDS) for name in ("blast", "normal")):
        for known in (TRUTH, rare):
            assert misalignment(known, collapsed) == misalignment(collapsed, known) == ""


@pytest.mark.parametrize("seed", range(20))
def test_honest_weak_labels_and_another_order_are_not_named(seed):
    assert misalignment(mistaken(TRUTH, 0.6, seed), mistaken(TRUTH, 0.6, seed + 100)) == ""
    other = pd.Series(np.random.default_rng(seed).permutation(TRUTH), IDS)
    assert misalignment(other, TRUTH) == misalignment(TRUTH, WEAK) == ""
