"""Figures of a training, from its history: losses, schedule, search for a learning rate."""

from itertools import groupby

import numpy as np
from fastai.vision.all import Learner
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from src.evidence import BLUE, GREY, ORANGE, PALE, new_figure, show_text


def loss_plot(learn: Learner) -> Figure:
    """The smoothed training loss by batch and the hold-out loss by epoch."""
    fig, ax = new_figure(8, 4)
    held_out = learn.history.recorder.values[0][1] is not None  # nothing is with fold=all
    learn.history.recorder.plot_loss(skip_start=0, with_valid=held_out, ax=ax)
    ax.set(title="Loss", ylabel="loss")
    _mark_sizes(ax, learn)
    return fig


def schedule_plot(learn: Learner) -> Figure:
    """Learning rate of the head and momentum by batch, and where the image size changes."""
    fig, axes = new_figure(11, 4, ncols=2)
    names = {"lr": "learning rate of the head", "mom": "momentum"}
    for ax, (key, name) in zip(axes, names.items(), strict=True):
        ax.plot(learn.history.recorder.hps[key], color=BLUE)
        ax.set(title=name.capitalize(), ylabel=name)
        _mark_sizes(ax, learn)
    return fig


def search_plot(learn: Learner) -> Figure | None:
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


def _mark_sizes(ax: Axes, learn: Learner) -> None:
    """With several image sizes, a line where they change, and the sizes above."""
    ax.set_xlabel("batch")
    ax.grid(color=PALE)
    stages = [(size, len(list(epochs))) for size, epochs in groupby(learn.history.sizes)]
    if len(stages) < 2:
        return
    epochs = np.cumsum([0, *(count for _, count in stages)])
    starts = np.array([0, *learn.history.recorder.iters])[epochs]
    for start in starts[1:-1]:
        ax.axvline(start, color=GREY, linestyle="--", linewidth=1)
    top = ax.secondary_xaxis("top")
    top.set_xticks((starts[:-1] + starts[1:]) / 2, [str(size) for size, _ in stages],
                   rotation=90 if len(stages) > 5 else 0)
    top.tick_params(length=0)
    top.set_xlabel("image size, pixels")
