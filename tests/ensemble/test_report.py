"""The report: its tables and sentences say what the numbers say."""

import numpy as np
import pandas as pd
import pytest
from simulated import few
from small_tables import table

from src.ensemble import blends, report
from src.evidence import LEAST, LogLoss, error_phrase, too_few, wilson, wrong_of


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


def told(probs, labels):
    return report.reliability_sentence(probs, labels)


def test_the_reliability_sentence_tells_sureness_error_and_temperature():
    tables, _, labels = few(2000, 1)
    (probs,) = tables.values()
    heat = blends.calibrate(probs, labels)[0]
    timid = pd.DataFrame(blends.temper(probs.to_numpy(), 3), probs.index, probs.columns)
    line = told(timid, labels)
    sure = 100 * timid.max(axis=1).mean()
    assert line.startswith(f"the ensemble is {sure:.1f} % sure on average")
    assert f"with {error_phrase(*wrong_of(probs, labels))}" in line
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
    monkeypatch.setattr(report, "compare_log_loss", lambda *_: known)
    assert told(tables["family0_0"], labels).endswith(verdict)


def test_each_image_is_tempered_by_a_fit_that_did_not_see_it(monkeypatch):
    tables, families, labels = few(100, 1)
    held, fits = blends.gather(tables, families, labels), []

    def spy(seen, rows):
        fits.append((rows, blends.tempered(seen, rows)))
        return fits[-1][1]

    monkeypatch.setattr(report, "tempered", spy)
    _, after = report.cooled(tables["family0_0"], labels)
    parts = [np.setdiff1d(np.arange(100), rows) for rows, _ in fits]
    assert sorted(np.concatenate(parts)) == list(range(100))
    for part, (_, blend) in zip(parts, fits, strict=True):
        expected = blends.apply(blend, held.stack[:, part])
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


def test_nothing_is_claimed_of_too_few_images():
    many = table([[0.9, 0.1]] * LEAST)
    labels = pd.Series("a", index=many.index)
    for probs, count in ((None, 0), (many.iloc[:1], 1), (many.iloc[1:], LEAST - 1)):
        assert report.reliability_sentence(probs, labels).endswith(f"not known: {too_few(count)}")
    assert "not known" not in report.reliability_sentence(many, labels)
