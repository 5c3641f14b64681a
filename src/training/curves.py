"""Figures of a training, from its recorder and history: losses, schedule, learning-rate search."""

from itertools import groupby

import numpy as np
from fastai.vision.all import Learner
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from src.evidence import BLUE, GREY, ORANGE, PALE, new_figure, show_text


def loss_plot(learn: Learner) -> Figure:
    """The smoothed training loss by batch and the hold-out loss by epoch."""
    recorder, (fig, ax) = learn.recorder, new_figure(8, 4)
    losses = [float(loss) for loss in recorder.losses]
    done = _epochs(np.arange(len(losses)) + 1, recorder.iters)
    ax.plot(done, losses, color=BLUE, label="training, smoothed")
    valid = [values[1] for values in recorder.values]
    if None not in valid:  # with fold=all nothing is held out
        ax.plot(range(1, len(valid) + 1), valid, "o-", color=ORANGE, label="hold-out")
    ax.set(title="Loss", ylabel="loss")
    ax.legend(frameon=False)
    _mark_epochs(ax, learn.history.sizes)
    return fig


def schedule_plot(learn: Learner) -> Figure:
    """Learning rate of the head and momentum by batch, and where the image size changes."""
    fig, axes = new_figure(11, 4, ncols=2)
    labels = {"lr": ("Learning rate of the head", "learning rate"), "mom": ("Momentum", "momentum")}
    for ax, (name, (title, label)) in zip(axes, labels.items(), strict=True):
        values = learn.recorder.hps[name]
        ax.plot(_epochs(np.arange(len(values)), learn.recorder.iters), values, color=BLUE)
        ax.set(title=title, ylabel=label)
        _mark_epochs(ax, learn.history.sizes)
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


def _epochs(batches: np.ndarray, ends: list[int]) -> np.ndarray:
    """Batch numbers as epochs, with fractions; `ends` are the batches at the end of each epoch."""
    return np.interp(batches, [0, *ends], range(len(ends) + 1))


def _mark_epochs(ax: Axes, sizes: list[int | str]) -> None:
    """Ticks at whole epochs; with several sizes, a line at each change and the sizes above."""
    ax.set_xlabel("epoch")
    ax.xaxis.get_major_locator().set_params(integer=True)
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
