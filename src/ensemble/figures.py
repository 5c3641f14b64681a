"""Figures about an ensemble, made from numbers alone; they are returned, not shown.

Tables of probabilities go by model name and hold the same images. matplotlib is imported by the
functions, since most commands draw nothing.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from src.ensemble.report import (
    BINS,
    ENSEMBLE,
    calibrated,
    confidence_bins,
    disagreement,
    error_correlation,
)  # fmt: skip
from src.evidence import too_few, wilson, wrong_of
from src.notebook import BLUE, GREY, ORANGE, PALE, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def error_plot(
    tables: Mapping[str, pd.DataFrame], ensemble: pd.DataFrame | None, labels: pd.Series
) -> "Figure":
    """Hold-out error of every member and of the `ensemble`, best on top, with 95 % intervals."""
    from matplotlib.ticker import MaxNLocator

    if few := _lacking(ensemble):
        return few
    wrong = {name: wrong_of(table, labels)[0] for name, table in tables.items()}
    order = [ENSEMBLE, *sorted(wrong, key=wrong.__getitem__)]
    wrong, images = wrong | {ENSEMBLE: wrong_of(ensemble, labels)[0]}, len(ensemble)
    fig, ax = new_figure(6 + 0.09 * max(map(len, order)), 1.4 + 0.28 * len(order))
    _shares(ax, {name: wrong[name] for name in order}, images, " wrong")
    ax.axvline(100 * wrong[ENSEMBLE] / images, color=ORANGE, linewidth=1, linestyle=":")
    ax.set_xlabel("wrong, % of images; bar: 95 % interval")
    top = ax.secondary_xaxis("top", (lambda x: x * images / 100, lambda x: x * 100 / images))
    top.xaxis.set_major_locator(MaxNLocator(integer=True))
    top.set_xlabel(f"images wrong of the {images:,} that these members held out")
    return fig


def _shares(ax: "Axes", counts: Mapping[Any, int], images: int, what: str = "") -> None:
    """A dot with its 95 % interval for each of `counts`, in % of `images`, the first on top."""
    for row, (name, count) in enumerate(counts.items()):
        low, high = (100 * bound for bound in wilson(count, images))
        colour = ORANGE if name == ENSEMBLE else BLUE
        ax.plot([low, high], [row, row], color=colour, linewidth=2, solid_capstyle="butt")
        ax.plot(100 * count / images, row, "o", color=colour, markersize=7)
        ax.annotate(f"{count:,}{what}", (1, row), (6, 0), xycoords=("axes fraction", "data"),
                    textcoords="offset points", va="center", color=colour)
    ax.set(yticks=range(len(counts)), yticklabels=list(counts), ylim=(len(counts) - 0.5, -0.5))
    ax.grid(axis="x", color=PALE)


def disagreement_map(tables: Mapping[str, pd.DataFrame]) -> "Figure":
    """How many images every two members predict differently."""
    if few := _lacking(*tables.values()):
        return few
    images = len(next(iter(tables.values())))
    title = f"images of {images:,} that two members predict differently"
    return _heat_map(disagreement(tables), "{:,.0f}", title, "Blues")


def correlation_map(tables: Mapping[str, pd.DataFrame], labels: pd.Series) -> "Figure":
    """How far every two members are wrong on the same images; blank where one is never wrong."""
    if few := _lacking(*tables.values()):
        return few
    title = "correlation of two members' errors; 1: wrong on the same images"
    return _heat_map(error_correlation(tables, labels), "{:.2f}", title, "Oranges")


def _heat_map(table: pd.DataFrame, form: str, title: str, colours: str) -> "Figure":
    """The lower triangle of a symmetric `table`: numbers in the cells, names left and below."""
    size, names = len(table), list(table.index)
    if size < 2:
        return _note("one member: there is no other to compare it with")
    values = np.where(np.tri(size, k=-1, dtype=bool), table.to_numpy(dtype=float), np.nan)
    low, high = (np.nanmin(values), np.nanmax(values)) if np.isfinite(values).any() else (0, 1)
    longest = 0.085 * max(map(len, names))  # inches
    fig, ax = new_figure(max(5, 0.6 + longest + 0.36 * size), 0.6 + 0.7 * longest + 0.26 * size)
    pale = low - 0.2 * (high - low)  # so that the lowest differs from the paper, too
    ax.imshow(values, cmap=colours, vmin=pale, vmax=high + (high == low), aspect="auto")
    for row, column in np.argwhere(np.isfinite(values)):
        dark = values[row, column] > (low + high) / 2 and high > low
        ax.text(column, row, form.format(values[row, column]), ha="center", va="center",
                fontsize=8, color="white" if dark else "black")
    ax.set_xticks(range(size - 1), names[:-1], rotation=45, rotation_mode="anchor", ha="right")
    ax.set_yticks(range(1, size), names[1:])
    ax.set(xlim=(-0.5, size - 1.5), ylim=(size - 0.5, 0.5))  # the last column, first row: no cells
    ax.set_title(title, loc="right", fontsize=10)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return fig


def reliability_plot(ensemble: pd.DataFrame | None, labels: pd.Series) -> "Figure":
    """How often the `ensemble` is right by its confidence, before and after temperature."""
    if few := _lacking(ensemble):
        return few
    temperature, after = calibrated(ensemble, labels)
    panels = {"before": ensemble, f"after temperature {temperature:.2f}": after}
    fig, axes = new_figure(9, 5.2, nrows=2, ncols=2, sharex=True, sharey="row",
                           height_ratios=[3, 1])
    for (above, below), (title, probs) in zip(axes.T, panels.items(), strict=True):
        _reliability(above, below, confidence_bins(probs, labels))
        above.set_title(title)
        below.set_xlabel("probability of the predicted class")
    axes[0, 0].set_ylabel("share right; bar: 95 %")
    axes[1, 0].set_ylabel("images (log)")
    return fig


def _reliability(ax: "Axes", below: "Axes", bins: pd.DataFrame) -> None:
    """One panel: the bins against the diagonal, and below how many images each one holds."""
    ax.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
    ax.vlines(bins.sure, bins.low, bins.high, color=BLUE, linewidth=2)
    ax.plot(bins.sure, bins.right, "o", color=BLUE, markersize=6, clip_on=False)
    ax.grid(color=PALE)
    ax.set(xlim=(0, 1), ylim=(0, 1.02))
    bars = below.bar((bins.index + 0.5) / BINS, bins.images, width=0.9 / BINS, color=GREY)
    below.bar_label(bars, fmt="{:,.0f}", fontsize=8, padding=1)
    below.set(yscale="log", yticks=[], ylim=(0.5, 5 * bins.images.max()))
    below.minorticks_off()


def class_plot(counts: pd.DataFrame) -> "Figure":
    """The shares of the classes in the submission, with 95 % intervals, beside training's."""
    images, known = int(counts.submission.sum()), int(counts.training.sum())
    fig, ax = new_figure(9, 1.4 + 0.34 * len(counts))
    _shares(ax, counts.submission.to_dict(), images)
    ax.plot([], [], "o", color=BLUE, label=f"submission, {images:,} images; bar: 95 % interval")
    ax.plot(100 * counts.training / known, range(len(counts)), "D", color=ORANGE, markersize=8,
            markerfacecolor="none", label=f"training, {known:,} images")
    ax.set_xlabel("% of images; at the right the submission's")
    fig.legend(loc="outside upper right", ncols=2, frameon=False)
    return fig


def _lacking(table: pd.DataFrame | None = None, *others: pd.DataFrame) -> "Figure | None":
    """What is drawn instead where too few images were held out together."""
    few = too_few(0 if table is None else len(table))
    return _note(few) if few else None


def _note(text: str) -> "Figure":
    """A sentence in the place of a figure."""
    fig, ax = new_figure(9, 1)
    ax.axis("off")
    ax.text(0.5, 0.5, text, ha="center", va="center")
    return fig
