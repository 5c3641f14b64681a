"""Figures about an ensemble, made from numbers alone; they are returned, not shown."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from src.ensemble.ensemble import Ensemble, lacking
from src.ensemble.report import ENSEMBLE, calibrated, confidence_bins, disagreement
from src.evidence import BLUE, GREY, ORANGE, PALE, new_figure, note, wilson, wrong_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def error_plot(ensemble: Ensemble) -> "Figure":
    """Hold-out error of every member and of the ensemble, best on top, with 95 % intervals."""
    if why := lacking(ensemble, models=1):
        return note(why)
    labels, images = ensemble.labels, len(ensemble.valid)
    wrong = {name: wrong_of(table, labels)[0] for name, table in ensemble.tables.items()}
    order = sorted(wrong, key=wrong.__getitem__)
    rows = {ENSEMBLE: wrong_of(ensemble.valid, labels)[0]} | {name: wrong[name] for name in order}
    fig, ax = new_figure(6 + 0.09 * max(map(len, rows)), 1 + 0.28 * len(rows))
    _shares(ax, rows, images, " wrong")
    ax.axvline(100 * rows[ENSEMBLE] / images, color=ORANGE, linewidth=1, linestyle=":")
    ax.set_xlabel(f"wrong, % of the {images:,} images that all held out; bar: 95 % interval")
    return fig


def _shares(ax: Any, counts: Mapping[Any, int], images: int, what: str = "") -> None:
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


def disagreement_map(ensemble: Ensemble) -> "Figure":
    """How many images every two members predict differently, as a lower triangle."""
    if why := lacking(ensemble):
        return note(why)
    table = disagreement(ensemble.tables)
    size, names = len(table), list(table.index)
    values = np.where(np.tri(size, k=-1, dtype=bool), table.to_numpy(dtype=float), np.nan)
    highest = np.nanmax(values) or 1
    longest = 0.085 * max(map(len, names))  # inches
    fig, ax = new_figure(max(5, 0.6 + longest + 0.36 * size), 0.6 + 0.7 * longest + 0.26 * size)
    ax.imshow(values, cmap="Blues", vmin=-0.2 * highest, vmax=highest, aspect="auto")
    for row, column in np.argwhere(np.isfinite(values)):
        colour = "white" if values[row, column] > 0.6 * highest else "black"
        ax.text(column, row, f"{values[row, column]:,.0f}", ha="center", va="center", fontsize=8,
                color=colour)
    ax.set_xticks(range(size - 1), names[:-1], rotation=45, rotation_mode="anchor", ha="right")
    ax.set_yticks(range(1, size), names[1:])
    ax.set(xlim=(-0.5, size - 1.5), ylim=(size - 0.5, 0.5))  # the last column, first row: no cells
    title = f"images of {len(ensemble.valid):,} that two members predict differently"
    ax.set_title(title, loc="right", fontsize=10)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return fig


def reliability_plot(ensemble: Ensemble) -> "Figure":
    """How often the ensemble is right by its confidence, before and after temperature."""
    if why := lacking(ensemble, models=1):
        return note(why)
    temperature, after = calibrated(ensemble)
    fig, ax = new_figure(6, 5)
    ax.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
    for label, probs, colour in (("before", ensemble.valid, BLUE),
                                 (f"after temperature {temperature:.2f}", after, ORANGE)):
        bins = confidence_bins(probs, ensemble.labels)
        ax.vlines(bins.sure, bins.low, bins.high, color=colour, linewidth=2)
        ax.plot(bins.sure, bins.right, "o", color=colour, label=label, clip_on=False)
    ax.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="probability of the predicted class",
           ylabel="share right; bar: 95 % interval")
    ax.grid(color=PALE)
    ax.legend(loc="upper left", frameon=False)
    return fig


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
