"""The figures: what they show, and that all of it can be read."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from drawn_texts import overlapping, texts
from simulated import ensemble_of, few

from src.ensemble import figures, report
from src.ensemble.ensemble import lacking
from src.evidence import wilson, wrong_of

LONG = [f"swinv2_large_window12to24_192to384_squish_{size}_fold{size % 5}" for size in range(28)]


@pytest.fixture(scope="module")
def many():
    """Hold-out tables of 28 models with long names, and the labels."""
    tables, _, labels = few(300, 28)
    return dict(zip(LONG, tables.values(), strict=True)), labels


def first(many, count, images=300):
    """The ensemble of the first models."""
    tables, labels = many
    return ensemble_of({name: tables[name].iloc[:images] for name in LONG[:count]}, labels)


@pytest.mark.parametrize("count", [1, 2, 28])
def test_no_text_covers_another_or_leaves_its_figure(many, count):
    ensemble = first(many, count)
    drawn = {
        "errors": figures.error_plot(ensemble),
        "disagreement": figures.disagreement_map(ensemble),
        "reliability": figures.reliability_plot(ensemble),
        "classes": figures.class_plot(report.class_counts(ensemble.valid, ensemble.labels)),
    }
    assert plt.get_fignums() == []  # a notebook would draw what is open a second time
    for name, figure in drawn.items():
        assert overlapping(figure) == ([], []), name
    if count > 1:  # every cell has the names of its two members, left and below
        shown = [text for text, _ in texts(drawn["disagreement"])]
        assert [text for text in shown if text in LONG] == LONG[: count - 1] + LONG[1:count]


@pytest.mark.parametrize("images", [0, 49])
def test_where_too_little_was_held_out_together_the_figure_says_so(many, images):
    ensemble = first(many, 2, images)
    for draw in (figures.error_plot, figures.disagreement_map, figures.reliability_plot):
        ((text, _),) = texts(draw(ensemble))
        models = 2 if draw is figures.disagreement_map else 1
        assert text == lacking(ensemble, models).partition(":")[0]
        assert text.endswith(f"there are 2 and {images}" if models == 2 else f"there are {images}")
        assert overlapping(draw(ensemble)) == ([], [])


def test_errors_are_drawn_in_percent_and_images_best_on_top(many):
    ensemble = first(many, 28)
    axes = figures.error_plot(ensemble).axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    wrong = [wrong_of(ensemble.tables[name], ensemble.labels)[0] for name in names[1:]]
    assert names[0] == "ensemble" and wrong == sorted(wrong)
    bars, dots = axes.lines[0:2 * len(names):2], axes.lines[1:2 * len(names):2]
    for bar, dot, count in zip(bars[1:], dots[1:], wrong, strict=True):
        assert dot.get_xdata()[0] == pytest.approx(100 * count / 300)
        assert bar.get_xdata() == pytest.approx([100 * bound for bound in wilson(count, 300)])
    assert [f"{count} wrong" for count in wrong] == [t.get_text() for t in axes.texts[1:]]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first row is the topmost


def test_the_reliability_is_drawn_before_and_after_the_temperature(many):
    ensemble = first(many, 1)
    temperature, after = report.calibrated(ensemble)
    dots = figures.reliability_plot(ensemble).axes[0].lines[1:]
    for line, probs in zip(dots, (ensemble.valid, after), strict=True):
        bins = report.confidence_bins(probs, ensemble.labels)
        assert list(line.get_xdata()) == bins.sure.to_list()
        assert list(line.get_ydata()) == bins.right.to_list()
    assert dots[1].get_label() == f"after temperature {temperature:.2f}"


def test_the_class_plot_shows_shares():
    both = {"training": [600, 300, 100], "submission": [30, 60, 10]}
    axes = figures.class_plot(pd.DataFrame(both, index=list("abc"))).axes[0]
    assert axes.lines[-1].get_xdata() == pytest.approx([60, 30, 10])
    assert [t.get_text() for t in axes.texts] == ["30", "60", "10"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c"]
