"""What the members bring: who is missed, how alike they are, what ensembling is worth."""

import re

import numpy as np
import pandas as pd
import pytest
from simulated import few
from small_tables import table

from src.ensemble import worth
from src.ensemble.report import as_text
from src.evidence import LEAST, average, too_few, wrong_of


def test_contributions_by_hand():
    right, wrong = [0.9, 0.1], [0.2, 0.8]
    tables = {
        "x_0": table([right, right, right, right]),
        "x_1": table([right, wrong, wrong, right]),
        "y_0": table([right, wrong, [0.05, 0.95], right]),
    }
    labels = pd.Series("a", index=tables["x_0"].index)
    # The mean is wrong in 1.jpg (0.43) and in 2.jpg (0.38).
    found = worth.contributions(tables, {"x_0": "x", "x_1": "x", "y_0": "y"}, labels)
    assert found.models.to_dict() == {"x": 2, "x_0": 1, "x_1": 1, "y_0": 1}
    assert found.wrong.to_dict() == {"x": 2, "x_0": 2, "x_1": 1, "y_0": 0}
    gains = {name: gain.difference for name, gain in found.gain.items()}
    assert gains == {"x": 0, "x_0": 0, "x_1": -1, "y_0": -2}
    text = as_text(worth.contributions_table(found, images=4)).splitlines()
    assert text[0].startswith("without") and text[4].startswith("y_0 ")
    assert "0 of 4 wrong" in text[4] and "−2 (95 % −2 … +1, p 0.5)" in text[4]


def test_the_only_family_cannot_be_left_out():
    tables, _, labels = few(50, 2)
    found = worth.contributions(tables, dict.fromkeys(tables, "x"), labels)
    assert found.index.tolist() == list(tables)


def test_disagreement_and_error_correlation_by_hand():
    a, b = [0.9, 0.1], [0.1, 0.9]
    tables = {"one": table([a, a, b, b]), "two": table([a, a, b, a]), "three": table([a, a, a, a])}
    labels = pd.Series("a", index=tables["one"].index)
    found = worth.disagreement({n: t.iloc[::-1] if n == "two" else t for n, t in tables.items()})
    assert found.to_numpy().tolist() == [[0, 0.25, 0.5], [0.25, 0, 0.25], [0.5, 0.25, 0]]
    correlation = worth.error_correlation(tables, labels)
    assert correlation.loc["one", "two"] == pytest.approx(1 / np.sqrt(3))
    assert np.isnan(correlation.loc["one", "three"])  # never wrong


def test_what_ensembling_is_worth_is_told_against_the_best_single_model():
    tables, _, labels = few(3000, 6)
    best = min(tables, key=lambda name: wrong_of(tables[name], labels))
    line = worth.worth(tables, labels, average(tables))
    gain = wrong_of(tables[best], labels)[0] - wrong_of(average(tables), labels)[0]
    assert line.startswith(f"what ensembling is worth: +{gain} of 3,000 images (95 % ")
    assert f"averaging 6 models helps against {best} alone" in line
    assert re.search(r"; log-loss −0\.\d{4} per image \(95 % −", line)
    alone = {name: float(name == best) for name in tables}
    line = worth.worth(tables, labels, average(tables, alone))
    assert line.startswith("what ensembling is worth: 0 of 3,000")


def test_how_alike_the_members_are_is_one_line():
    a, b = [0.9, 0.1], [0.1, 0.9]
    said = {"one": [a, a, b, b], "two": [a, a, b, a], "three": [a, a, a, a]}
    tables = {name: table(rows * 20) for name, rows in said.items()}
    labels = pd.Series("a", index=tables["one"].index)
    assert worth.alike(tables, labels) == (
        "two members disagree on 20 … 40 of 80 images, one and two least; "
        "their errors correlate 0.58"
    )
    del tables["two"]
    assert worth.alike(tables, labels) == "one and three disagree on 40 of 80 images"


@pytest.mark.parametrize("count", [0, 1, LEAST - 1])
def test_nothing_is_claimed_of_members_on_too_few_common_images(count):
    few = table([[0.9, 0.1]] * LEAST).iloc[:count]
    tables, labels = {"one": few, "two": few}, pd.Series("a", index=few.index)
    for line in (worth.alike(tables, labels), worth.worth(tables, labels, few)):
        assert line.endswith(f" is not known: {too_few(count)}")
    assert worth.alike({}, labels).endswith(too_few(0))


def test_one_model_is_like_nobody():
    many = table([[0.9, 0.1]] * LEAST)
    line = worth.alike({"one": many}, pd.Series("a", index=many.index))
    assert line == "how alike the members are is not known: there are no two of them"
