"""The report: its tables and sentences say what the numbers say."""

import re

import numpy as np
import pandas as pd
import pytest
from simulated import few
from small_tables import table

from src.ensemble import report, weights
from src.ensemble.ensemble import Ensemble
from src.ensemble.members import Member
from src.evidence import FEWEST_IMAGES, LogLoss, average, error_phrase, too_few, wilson, wrong_of


def test_text_is_aligned_at_the_left():
    rows = pd.DataFrame([["a", 10], ["long", 2]], columns=["name", "n"])
    assert report.as_text(rows) == "name  n\na     10\nlong  2"


def test_images_are_binned_by_how_sure_the_ensemble_is():
    probs = table([[0.95, 0.05], [0.92, 0.08], [0.55, 0.45], [0.0, 1.0]])
    bins = report.confidence_bins(probs, pd.Series("a", index=probs.index))
    assert bins.images.to_dict() == {5: 1, 9: 3}
    assert bins.right.to_dict() == pytest.approx({5: 1, 9: 2 / 3})
    assert bins.sure[9] == pytest.approx((0.95 + 0.92 + 1) / 3)
    assert (bins.low[9], bins.high[9]) == wilson(2, 3)


def test_the_reliability_sentence_has_confidence_error_and_temperature():
    tables, _, labels = few(2000, 1)
    (probs,) = tables.values()
    heat, _ = report.calibrated(probs, labels)
    timid = pd.DataFrame(weights.with_temperature(probs.to_numpy(), 3), probs.index, probs.columns)
    line = report.reliability_sentence(timid, labels)
    assert f"{100 * timid.max(axis=1).mean():.1f} %" in line
    assert error_phrase(*wrong_of(probs, labels)) in line
    assert f"a temperature of {heat / 3:.2f}" in line
    assert "log-loss −" in line and line.endswith(", evidence that it helps")


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(-0.2, -0.1, ", evidence that it helps"), (0.1, 0.2, ", evidence that it hurts"),
     (-0.1, 0.2, ", no evidence that it matters")],
)
def test_the_verdict_on_the_temperature_follows_its_interval(monkeypatch, low, high, verdict):
    tables, _, labels = few(50, 1)
    known = LogLoss((low + high) / 2, low, high)
    monkeypatch.setattr(report.evidence, "compare_log_loss", lambda *_: known)
    assert report.reliability_sentence(tables["family0_0"], labels).endswith(verdict)


def test_calibrated_images_have_the_temperature_of_fits_that_did_not_see_them(monkeypatch):
    tables, families, labels = few(100, 1)
    held, fits = weights.gather(tables, families, labels), []

    def spy(seen, rows):
        fits.append((rows, weights.temperatures(seen, rows)))
        return fits[-1][1]

    monkeypatch.setattr(report, "temperatures", spy)
    _, after = report.calibrated(tables["family0_0"], labels)
    parts = [np.setdiff1d(np.arange(100), rows) for rows, _ in fits]
    assert sorted(np.concatenate(parts)) == list(range(100))
    for part, (_, blend) in zip(parts, fits, strict=True):
        expected = weights.apply(blend, held.stack[:, part])
        assert after.to_numpy()[part] == pytest.approx(expected)


def test_classes_are_counted_beside_training_even_those_never_predicted():
    probs = table([[0.9, 0.1, 0.0], [0.8, 0.1, 0.1], [0.5, 0.5, 0.0]], "bac")
    counts = report.class_counts(probs, pd.Series(["a", "a", "b", "c"]))
    assert counts.training.to_dict() == {"a": 2, "b": 1, "c": 1}
    assert counts.submission.to_dict() == {"a": 1, "b": 2, "c": 0}  # a tie goes by name


def counted(training, submission):
    return pd.DataFrame({"training": training, "submission": submission}, index=list("abc"))


def test_the_class_sentence_follows_the_numbers():
    alike = report.class_sentence(counted([600, 300, 100], [61, 29, 10]))
    assert "no more than chance" in alike and "furthest off is a: 61 images where 60" in alike
    moved = report.class_sentence(counted([600, 300, 100], [30, 60, 10]))
    assert "differs from training's more than chance" in moved


# The members


def ensemble_of(tables, families, labels, images=None):
    """An ensemble of these hold-out tables; its test set is the hold-out."""
    tables = {name: table.iloc[:images] for name, table in tables.items()}
    members = [Member({"name": n, "family": families[n], "models": [
        {"variant": {"fold": 0}}], "variant": {"split": "stratified", "seed": 42}},
        1.0, t, t, t, t) for n, t in tables.items()]
    valid = average(tables.values()) if images != 0 else None
    return Ensemble(None, "", members, {}, labels, tables, valid, "equal", "", "arithmetic")


def test_contributions_by_hand():
    right, wrong = [0.9, 0.1], [0.2, 0.8]
    tables = {
        "x_0": table([right, right, right, right] * 15),
        "x_1": table([right, wrong, wrong, right] * 15),
        "y_0": table([[0.45, 0.55], wrong, [0.05, 0.95], right] * 15),
    }
    labels = pd.Series("a", index=tables["x_0"].index)
    # The mean is wrong in every second image of four (0.43) and third (0.38).
    ensemble = ensemble_of(tables, {"x_0": "x", "x_1": "x", "y_0": "y"}, labels)
    rows = report.contributions(ensemble).to_numpy().tolist()
    found = [(name, models, *(cell.split()[0] for cell in cells)) for name, models, *cells in rows]
    assert found == [("x", 2, "45", "+15"), ("x_0", 1, "30", "0"), ("x_1", 1, "15", "−15"),
                     ("y_0", 1, "0", "−30")]
    assert "of 60 wrong" in rows[0][2] and "(95 % −" in rows[3][3]


def test_the_only_family_cannot_be_left_out():
    tables, families, labels = few(60, 2)
    found = report.contributions(ensemble_of(tables, dict.fromkeys(families, "x"), labels))
    assert found.without.tolist() == list(tables)


def test_disagreement_and_error_correlation_by_hand():
    a, b = [0.9, 0.1], [0.1, 0.9]
    tables = {"one": table([a, a, b, b] * 20), "two": table([a, a, b, a] * 20),
              "three": table([a, a, a, a] * 20)}
    labels = pd.Series("a", index=tables["one"].index)
    turned = {n: t.iloc[::-1] if n == "two" else t for n, t in tables.items()}
    found = report.disagreement(turned).to_numpy().tolist()
    assert found == [[0, 20, 40], [20, 0, 20], [40, 20, 0]]
    correlation = report.error_correlation(tables, labels)
    assert correlation.loc["one", "two"] == pytest.approx(1 / np.sqrt(3))
    assert np.isnan(correlation.loc["one", "three"])  # never wrong
    assert report.agreement(tables, labels) == (
        "two members disagree on 20 … 40 of 80 images, one and two least; "
        "their errors correlate 0.58"
    )
    del tables["two"]
    assert report.agreement(tables, labels) == "one and three disagree on 40 of 80 images"
    del tables["one"]
    assert "no two of them" in report.agreement(tables, labels)


def test_the_gain_of_the_ensemble_is_against_the_best_single_model():
    tables, _, labels = few(3000, 6)
    best = min(tables, key=lambda name: wrong_of(tables[name], labels))
    line = report.gain_sentence(tables, labels, average(tables.values()))
    gain = wrong_of(tables[best], labels)[0] - wrong_of(average(tables.values()), labels)[0]
    assert f" +{gain} of 3,000 images (95 % " in line
    assert f"averaging 6 models helps against {best} alone" in line
    assert re.search(r"; log-loss −0\.\d+ per image \(95 % −", line)
    assert " 0 of 3,000 images" in report.gain_sentence(tables, labels, tables[best])


@pytest.mark.parametrize("count", [0, 1, FEWEST_IMAGES - 1])
def test_nothing_is_claimed_of_too_few_images(count):
    many = table([[0.9, 0.1]] * FEWEST_IMAGES)
    few, labels = many.iloc[:count], pd.Series("a", index=many.index)
    tables = {"one": few, "two": few}
    for line in (report.agreement(tables, labels), report.agreement({}, labels) if not count else
                 report.reliability_sentence(few, labels)):
        assert line.endswith(f"not known: {too_few(count)}")
    assert report.reliability_sentence(None, labels).endswith(too_few(0))
    assert "not known" not in report.reliability_sentence(many, labels)
    ensemble = ensemble_of({"one": many, "two": many}, {"one": "x", "two": "y"}, labels, count)
    assert report.contributions(ensemble).empty and "+" not in report.holdout_text(ensemble)
