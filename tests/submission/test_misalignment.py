"""Right labels in wrong rows, found beside labels that are strong, weak or useless."""

import numpy as np
import pandas as pd
import pytest

from src.submission.misalignment import exchanged, misalignment, reversed_rows, shifted
from tests.small_submissions import IDS, TRUTH, mistaken, with_changes

WEAK = mistaken(TRUTH, 0.45, seed=3)


@pytest.mark.parametrize("known", [with_changes(TRUTH, 8), WEAK], ids=["strong", "weak"])
@pytest.mark.parametrize(("step", "way", "other"), [(1, "down", "before"), (-1, "up", "after")])
def test_rows_shifted_by_one_are_found_and_named(known, step, way, other):
    line = shifted(pd.Series(np.roll(TRUTH, step), IDS), known)
    assert line.startswith(f"rows are shifted {way} by one from row")
    assert line.endswith(f"each image carries the label of the one {other} it")


def test_a_shift_from_the_middle_on_names_the_row():
    labels = TRUTH.copy()
    labels.iloc[100:] = np.roll(TRUTH, 1)[100:]
    # Rows right by luck around the break leave it open where exactly it is.
    row = int(shifted(labels, TRUTH).split("from row ")[1].split()[0])
    assert 95 <= row <= 101


def test_another_order_is_no_shift():
    other = pd.Series(np.random.default_rng(1).permutation(TRUTH), IDS)
    assert shifted(other, TRUTH) == shifted(TRUTH, WEAK) == ""


def test_the_reverse_order_is_recognised():
    turned = pd.Series(TRUTH.to_numpy()[::-1], IDS)
    assert reversed_rows(turned, WEAK).startswith("rows are in reverse")
    assert reversed_rows(TRUTH, WEAK) == ""


def test_exchanged_class_names_are_named_two_or_all():
    two = exchanged(TRUTH.replace({"hispa": "normal", "normal": "hispa"}), WEAK)
    assert two == "class names are exchanged: normal is called hispa, hispa is called normal"
    ring = {"blast": "hispa", "hispa": "normal", "normal": "blast"}
    found = exchanged(TRUTH.replace(ring), WEAK)
    assert {f"{old} is called {new}" for old, new in ring.items()} == {*found[27:].split(", ")}


def test_a_model_that_prefers_one_class_is_not_taken_for_an_exchange():
    rare = TRUTH.replace({"blast": "normal", "normal": "blast"})
    for collapsed in (pd.Series(name, IDS) for name in ("blast", "normal")):
        for known in (TRUTH, rare):
            assert misalignment(known, collapsed) == misalignment(collapsed, known) == ""


@pytest.mark.parametrize("seed", range(20))
def test_honest_weak_labels_are_aligned(seed):
    assert misalignment(mistaken(TRUTH, 0.6, seed), mistaken(TRUTH, 0.6, seed + 100)) == ""
