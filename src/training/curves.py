"""Figures of a training, from its recorder and history: losses, schedule, learning-rate search."""

from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from src.notebook import BLUE, GREY, ORANGE, PALE, new_figure, show_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def loss_plot(learn: Any) -> "Figure":
    """The smoothed training loss by batch and the hold-out loss by epoch."""
    recorder, (fig, ax) = learn.recorder, new_figure(8, 4)
    losses = [float(loss) for loss in recorder.losses]
    done = np.arange(1, len(losses) + 1)
    ax.plot(epochs_of(done, recorder.iters), losses, color=BLUE, label="training, smoothed")
    valid = [values[recorder.metric_names.index("valid_loss") - 1] for values in recorder.values]
    if None not in valid:  # with fold=all nothing is held out
        ax.plot(range(1, len(valid) + 1), valid, "o-", color=ORANGE, label="hold-out")
    ax.set(title="Loss", xlabel="epoch", ylabel="loss")
    ax.legend(frameon=False)
    _mark_sizes(ax, learn.history.sizes)
    return fig


def schedule_plot(learn: Any) -> "Figure":
    """Learning rate of the head and momentum by batch, and where the image size changes."""
    fig, axes = new_figure(11, 4, ncols=2)
    names = {"lr": "learning rate", "mom": "momentum"}
    titles = {"lr": "Learning rate of the head", "mom": "Momentum"}
    for ax, (key, name) in zip(axes, names.items(), strict=True):
        values = learn.recorder.hps[key]
        ax.plot(epochs_of(np.arange(len(values)), learn.recorder.iters), values, color=BLUE)
        ax.set(title=titles[key], xlabel="epoch", ylabel=name)
        _mark_sizes(ax, learn.history.sizes)
    return fig


def search_plot(learn: Any) -> "Figure | None":
    """The loss by learning rate, and the rate chosen; without a search a line of text."""
    if not (found := learn.history.search):
        show_text(f"The learning rate was given, {learn.history.outcome['lr']:g}: no search.")
        return None
    fig, ax = new_figure(8, 4)
    lrs, losses, lr = found["lrs"], found["losses"], found["valley"]
    ax.plot(lrs, losses, color=BLUE)
    ax.plot(lr, losses[lrs.index(lr)], "o", color=ORANGE, label=f"taken: {lr:.2g}")
    ax.set(title="Search for a learning rate", xlabel="learning rate (log)",
           ylabel="training loss, smoothed", xscale="log")
    ax.legend(frameon=False)
    return fig


def epochs_of(batches: np.ndarray, ends: list[int]) -> np.ndarray:
    """Batch numbers as epochs, with fractions; `ends` are the batches at the end of each epoch."""
    return np.interp(batches, [0, *ends], range(len(ends) + 1))


def _mark_sizes(ax: "Axes", sizes: list[int | str]) -> None:
    """Ticks at whole epochs; with several sizes, a line at each change and the sizes above."""
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.grid(color=PALE)
    stages = [(size, len(list(epochs))) for size, epochs in groupby(sizes)]
    if len(stages) < 2:
        return
    starts = np.cumsum([0, *(epochs for _, epochs in stages)])
    for start in starts[1:-1]:
        ax.axvline(start, color=GREY, linestyle="--", linewidth=1)
    top = ax.secondary_xaxis("top")
    top.set_xticks((starts[:-1] + starts[1:]) / 2, [str(size) for size, _ in stages],
                   rotation=90 if len(stages) > 5 else 0)
    top.tick_params(length=0)
    top.set_xlabel("image size, pixels")
