"""The report: its figures can be read, its sentences say what the numbers say."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from test_search import few, table

from src import blends, report
from src.evidence import compare, error_phrase, wilson, wrong_of
from src.probs import average

LONG = [f"swinv2_large_window12to24_192to384_squish_{size}_fold{size % 5}" for size in range(20)]


@pytest.fixture(scope="module")
def twenty():
    """Tables of twenty models with long names, their ensemble, the labels."""
    tables, _, labels = few(300, 20)
    tables = dict(zip(LONG, tables.values(), strict=True))
    return tables, average(tables), labels


def texts(figure):
    """All texts that drawing the figure puts on paper, with their boxes in pixels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    renderer, drawn = FigureCanvasAgg(figure).get_renderer(), []
    draw_text = renderer.draw_text

    def spy(*arguments, mtext=None, **options):
        drawn.append(mtext)
        draw_text(*arguments, mtext=mtext, **options)

    renderer.draw_text = spy
    figure.draw(renderer)
    return [(text.get_text(), text.get_window_extent(renderer)) for text in drawn]


def overlapping(figure):
    """Pairs of texts that cover each other, and texts that leave the figure."""
    found, page = texts(figure), figure.bbox.padded(1)
    pairs = [
        (one, other) for k, (one, box) in enumerate(found) for other, its in found[k + 1:]
        if box.padded(-1).overlaps(its.padded(-1))
    ]
    outside = [one for one, box in found
               if not (page.contains(box.x0, box.y0) and page.contains(box.x1, box.y1))]
    return pairs, outside


def figures(tables, ensemble, labels):
    """Every figure of the report."""
    return {
        "errors": report.error_plot(tables, ensemble, labels),
        "disagreement": report.disagreement_map(tables),
        "correlation": report.correlation_map(tables, labels),
        "reliability": report.reliability_plot(ensemble, labels),
        "classes": report.class_plot(report.class_counts(ensemble, labels)),
    }


@pytest.mark.parametrize("count", [1, 2, 20])
def test_no_text_covers_another_or_leaves_its_figure(twenty, count):
    tables, _, labels = twenty
    tables = dict(list(tables.items())[:count])
    for name, figure in figures(tables, average(tables), labels).items():
        assert overlapping(figure) == ([], []), name


def test_figures_are_returned_and_left_to_whoever_asked_for_them(twenty):
    import matplotlib.pyplot as plt

    figures(*twenty)
    assert plt.get_fignums() == []  # a notebook would draw what is open a second time


def test_loading_the_report_loads_neither_matplotlib_nor_torch():
    code = "import sys, src.report; print({'torch', 'matplotlib', 'scipy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr


def test_where_nothing_was_held_out_together_it_is_said():
    labels = pd.Series({"0.jpg": "a"})
    none = {name: table([[0.9, 0.1]]).iloc[:0] for name in ("one", "two")}
    for drawn in (
        report.error_plot(none, None, labels), report.reliability_plot(None, labels),
        report.disagreement_map(none), report.disagreement_map({}),
        report.correlation_map(none, labels),
        report.reliability_plot(table([[0.9, 0.1]]), labels),
    ):
        assert [text for text, _ in texts(drawn)] == [report.TOO_FEW]
    assert report.reliability_sentence(None, labels) == report.TOO_FEW


# Text


def test_text_is_aligned_at_the_left():
    rows = pd.DataFrame([["a", 10], ["long", 2]], columns=["name", "n"])
    assert report.as_text(rows) == "name  n\na     10\nlong  2"


# The figures' content


def test_errors_are_drawn_in_percent_and_images_best_on_top(twenty):
    tables, ensemble, labels = twenty
    axes = report.error_plot(tables, ensemble, labels).axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    wrong = [wrong_of(tables[name], labels)[0] for name in names[1:]]
    assert names[0] == "ensemble" and wrong == sorted(wrong)
    bars, dots = axes.lines[0:2 * len(names):2], axes.lines[1:2 * len(names):2]
    for bar, dot, count in zip(bars[1:], dots[1:], wrong, strict=True):
        assert dot.get_xdata()[0] == pytest.approx(100 * count / 300)
        assert bar.get_xdata() == pytest.approx([100 * bound for bound in wilson(count, 300)])
    assert [f"{count} wrong" for count in wrong] == [t.get_text() for t in axes.texts[1:]]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first row is the topmost


def test_the_heat_maps_hold_images_and_correlations():
    a, b = [0.9, 0.1], [0.1, 0.9]
    tables = {"one": table([a, a, b, b]), "two": table([a, a, b, a]), "three": table([a, a, a, a])}
    labels = pd.Series("a", index=tables["one"].index)
    cells = [t.get_text() for t in report.disagreement_map(tables).axes[0].texts]
    assert cells == ["1", "2", "1"]  # two and one, three and one, three and two
    cells = [t.get_text() for t in report.correlation_map(tables, labels).axes[0].texts]
    assert cells == ["0.58"]  # three is never wrong


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
    found = compare(tables["family0_0"], tables["family0_0"], labels)
    known = replace(found, log_loss=(low + high) / 2, log_loss_low=low, log_loss_high=high)
    monkeypatch.setattr(report, "compare", lambda *_: known)
    assert told(tables["family0_0"], labels).endswith(verdict)


def test_each_image_is_tempered_by_a_fit_that_did_not_see_it(monkeypatch):
    tables, _, labels = few(100, 1)
    seen = []

    def spy(held, rows):
        seen.append(set(rows))
        return blends.tempered(held, rows)

    monkeypatch.setattr(report, "tempered", spy)
    told(next(iter(tables.values())), labels)
    assert [len(rows) for rows in seen] == [80] * 5
    assert set.intersection(*seen) == set()


# The classes


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


def test_the_class_plot_shows_shares():
    axes = report.class_plot(counted([600, 300, 100], [30, 60, 10])).axes[0]
    training = axes.lines[-1].get_xdata()
    assert np.asarray(training) == pytest.approx([60, 30, 10])
    assert [t.get_text() for t in axes.texts] == ["30", "60", "10"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c"]
