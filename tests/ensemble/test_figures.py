"""The figures: what they show, and that all of it can be read."""


import numpy as np
import pandas as pd
import pytest
from drawn_texts import overlapping, texts
from simulated import few
from small_tables import table

from src.ensemble import figures, report
from src.evidence import FEWEST_IMAGES, average, too_few, wilson, wrong_of

LONG = [f"swinv2_large_window12to24_192to384_squish_{size}_fold{size % 5}" for size in range(28)]


@pytest.fixture(scope="module")
def many():
    """Tables of 28 models with long names, their ensemble, the labels."""
    tables, _, labels = few(300, 28)
    tables = dict(zip(LONG, tables.values(), strict=True))
    return tables, average(tables.values()), labels


def every_figure(tables, ensemble, labels):
    """Every figure of the report."""
    return {
        "errors": figures.error_plot(tables, ensemble, labels),
        "disagreement": figures.disagreement_map(tables),
        "correlation": figures.correlation_map(tables, labels),
        "reliability": figures.reliability_plot(ensemble, labels),
        "classes": figures.class_plot(report.class_counts(ensemble, labels)),
    }


@pytest.mark.parametrize("count", [1, 2, 28])
def test_no_text_covers_another_or_leaves_its_figure(many, count):
    tables, _, labels = many
    tables = dict(list(tables.items())[:count])
    for name, figure in every_figure(tables, average(tables.values()), labels).items():
        assert overlapping(figure) == ([], []), name


def test_figures_are_returned_and_left_to_whoever_asked_for_them(many):
    import matplotlib.pyplot as plt

    every_figure(*many)
    assert plt.get_fignums() == []  # a notebook would draw what is open a second time


@pytest.mark.parametrize("count", [0, 1, FEWEST_IMAGES - 1])
def test_where_too_little_was_held_out_together_it_is_said(count):
    few = table([[0.9, 0.1]] * FEWEST_IMAGES).iloc[:count]
    tables, labels = {"one": few, "two": few}, pd.Series("a", index=few.index)
    for drawn in (
        figures.error_plot(tables, few if count else None, labels),
        figures.reliability_plot(few if count else None, labels),
        figures.disagreement_map(tables), figures.correlation_map(tables, labels),
    ):
        assert [text for text, _ in texts(drawn)] == [too_few(count)]
        assert overlapping(drawn) == ([], [])
    assert [text for text, _ in texts(figures.disagreement_map({}))] == [too_few(0)]


def test_errors_are_drawn_in_percent_and_images_best_on_top(many):
    tables, ensemble, labels = many
    axes = figures.error_plot(tables, ensemble, labels).axes[0]
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
    said = {"one": [a, a, b, b], "two": [a, a, b, a], "three": [a, a, a, a]}
    tables = {name: table(rows * 20) for name, rows in said.items()}
    labels = pd.Series("a", index=tables["one"].index)
    cells = [t.get_text() for t in figures.disagreement_map(tables).axes[0].texts]
    assert cells == ["20", "40", "20"]  # two and one, three and one, three and two
    cells = [t.get_text() for t in figures.correlation_map(tables, labels).axes[0].texts]
    assert cells == ["0.58"]  # three is never wrong


@pytest.mark.parametrize("count", [2, 3, 6])
def test_the_heat_maps_name_the_two_members_of_every_cell(many, count):
    tables, _, labels = many
    tables = dict(list(tables.items())[:count])
    names = list(tables)
    for figure in figures.disagreement_map(tables), figures.correlation_map(tables, labels):
        drawn = [text for text, _ in texts(figure)]
        assert [text for text in drawn if text in names] == names[:-1] + names[1:]
        assert overlapping(figure) == ([], [])


def test_one_member_alone_has_no_heat_map(many):
    tables, _, labels = many
    one = {LONG[0]: tables[LONG[0]]}
    for figure in figures.disagreement_map(one), figures.correlation_map(one, labels):
        assert [text for text, _ in texts(figure)] == [
            "one member: there is no other to compare it with"
        ]


def test_the_class_plot_shows_shares():
    both = {"training": [600, 300, 100], "submission": [30, 60, 10]}
    counts = pd.DataFrame(both, index=list("abc"))
    axes = figures.class_plot(counts).axes[0]
    training = axes.lines[-1].get_xdata()
    assert np.asarray(training) == pytest.approx([60, 30, 10])
    assert [t.get_text() for t in axes.texts] == ["30", "60", "10"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c"]
