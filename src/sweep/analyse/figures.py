"""Figures of the record, made from numbers alone; they are returned, not shown."""

from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from src import core
from src.evidence import FAMILIES, GREY, PALE, new_figure, note, wilson
from src.sweep.analyse import tables
from src.sweep.analyse.tables import FITS_GB, HEAD_START, VALUES, Record, too_few

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def time_plot(record: Record) -> "Figure":
    """Error by minutes, with lines along which error × (time + 80 s) is equal."""
    if few := too_few(len(record.rows), "rows to draw", 1):
        return note(few)
    rows, (fig, ax) = record.rows.dropna(subset="minutes"), _scatter(record, "minutes")
    times = np.linspace(0, 1.02 * max(rows.minutes.max(), 0.1), 100)
    costs = rows.wrong / record.images * (60 * rows.minutes + HEAD_START)
    low, high = ax.get_ylim()
    for cost in sorted(set(costs.quantile([0, 0.5, 1], "nearest"))):
        wrong = record.images * cost / (60 * times + HEAD_START)
        shown = (wrong <= high) & (wrong >= low)
        if shown.sum() > 1:
            ax.plot(times[shown], wrong[shown], color=GREY, linewidth=1, linestyle=":", zorder=0)
            ax.annotate(_short(cost), (times[shown][0], wrong[shown][0]), (3, -2), color=GREY,
                        textcoords="offset points", va="top", fontsize=8)
    ax.set(xlabel="minutes of training; dotted: equal error × (time + 80 s)", ylim=(low, high),
           xlim=(0, None))
    return fig


def memory_plot(record: Record) -> "Figure":
    """Error by peak memory, and where 16 GB are."""
    if few := too_few(int(record.rows.gb.notna().sum()), "rows with a peak memory", 1):
        return note(few)
    fig, ax = _scatter(record, "gb")
    ax.axvline(FITS_GB, color=GREY, linewidth=1, linestyle="--")
    ax.set(xlabel="peak memory, GB; dashed: 16 GB", xlim=(0, None))
    return fig


def _scatter(record: Record, x: str) -> tuple["Figure", Any]:
    """A dot a row, with its 95 % interval, in the colour of its family."""
    fig, ax = new_figure(9, 4.6)
    for colour, (family, rows) in zip(cycle(FAMILIES), record.rows.groupby("family")):
        bars = [wilson(round(wrong), record.images) for wrong in rows.wrong]
        low, high = (record.images * np.array(bars)).T
        ax.vlines(rows[x], low, high, color=colour, linewidth=1, alpha=0.35)
        ax.plot(rows[x], rows.wrong, "o", color=colour, label=family)
    ax.set_ylabel(f"wrong of {record.images:,} held-out images; bar: 95 %")
    ax.grid(color=PALE)
    fig.legend(loc="outside right upper", frameon=False)
    return fig, ax


def _short(value: float) -> str:
    """Three digits; of numbers above 100 all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def recipe_plot(record: Record) -> "Figure":
    """Parallel coordinates: a line a row, through what differs between rows and what came of it."""
    if few := too_few(len(record.rows), "rows to compare"):
        return note(few)
    from pandas.plotting import parallel_coordinates

    names = [name for name in core.make_variant().recipe if name not in ("arch", "desc", "seed",
             "fold") and record.rows[name].nunique() > 1][:7]
    fig, ax = new_figure(11, 4.6)
    table = record.rows[["family", *names, *VALUES]].sort_values("family", kind="stable")
    for place, name in enumerate([*names, *VALUES]):
        values, numeric = table[name], pd.api.types.is_numeric_dtype(table[name])
        scale = values.astype(float) if numeric else values.astype(str).rank(method="dense")
        table[name] = (scale - scale.min()) / (scale.max() - scale.min() or 1)
        known = pd.Series(values.to_numpy(), table[name]).groupby(level=0).first()
        for height, value in known.iloc[:: 1 if len(known) <= 4 else len(known) - 1].items():
            ax.annotate(_short(value) if numeric else value, (place, height), (3, 3),
                        textcoords="offset points", fontsize=8,
                        bbox={"facecolor": "white", "alpha": 0.7, "pad": 0.5, "linewidth": 0})
    parallel_coordinates(table, "family", ax=ax, alpha=0.6,
                         color=[c for c, _ in zip(cycle(FAMILIES), set(table.family))])
    ax.get_legend().remove()
    ax.set(yticks=[])
    ax.set_xticks(range(len(names) + 3), [*names, "wrong", "minutes", "peak GB"])
    fig.legend(loc="outside right upper", frameon=False)
    return fig


def epochs_plot(record: Record) -> "Figure":
    """Errors by epoch, a line a run; and how well each epoch ranks the final errors."""
    epochs = record.epochs.dropna(subset="wrong")
    if few := too_few(epochs.name.nunique(), "runs whose cards have epochs", 1):
        return note(few)
    corr, runs = tables.order_of_epochs(record)
    ranked = not too_few(runs, "runs", tables.ALIKE)
    fig, ((ax, *others),) = new_figure(11 if ranked else 7, 4.2, ncols=1 + ranked, squeeze=False)
    for colour, (family, group) in zip(cycle(FAMILIES), epochs.groupby("family")):
        lines = group.pivot(index="epoch", columns=["folder", "name"], values="wrong")
        labels = [family] + [None] * (lines.shape[1] - 1)
        ax.plot(lines, color=colour, linewidth=1, alpha=0.6, marker=".", label=labels)
    ax.set(xlabel="epoch", ylabel=f"wrong of {record.images:,} held-out images", ylim=(0, None))
    for right in others:
        right.plot(corr, "o-", color=FAMILIES[0])
        right.set(xlabel="epoch", ylabel="rank correlation with the final error",
                  ylim=(min(0, corr.min()) - 0.05, 1.05), title=f"{runs} runs on one hold-out")
    for one in (ax, *others):
        one.grid(color=PALE)
        one.xaxis.get_major_locator().set_params(integer=True)
    fig.legend(loc="outside right upper", frameon=False)
    return fig


def leaderboard_plot(record: Record) -> "Figure":
    """Errors of submissions: expected by the hold-out, and found on the leaderboard."""
    table = tables.scored(record)
    if few := too_few(len(table), "scored submissions with a hold-out error", 1):
        return note(few)
    fig, ax = new_figure(5.5, 5)
    ax.axline((table.expected.mean(),) * 2, slope=1, color=GREY, linewidth=1, linestyle="--")
    ax.plot(table.expected, table.missed, "o", color=FAMILIES[0])
    images = f"{core.load_facts().public:,} public images"
    ax.set(xlabel=f"wrong of {images}, expected by the hold-out", ylabel=f"wrong of {images}")
    ax.grid(color=PALE)
    return fig
