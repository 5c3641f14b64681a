"""Figures of a training: their titles and axes, where the images grew, what was held out."""

from types import SimpleNamespace

import numpy as np
import pytest
from drawn_texts import overlapping, texts
from fastai.vision.all import Recorder

from src.training import curves

FOUND = {"lrs": [1e-4, 1e-3, 1e-2, 1e-1], "losses": [2.3, 2.1, 1.2, 3.0], "valley": 1e-3}


def learner(sizes, ends=None, valid=True):
    """What a Learner has recorded of one epoch a size, which ended after the batches `ends`."""
    recorder, numbers = Recorder(), range(1, len(sizes) + 1)
    recorder.iters = ends or [4 * number for number in numbers]
    recorder.values = [[2.0 / n, 3.0 / n if valid else None, 0.5] for n in numbers]
    recorder.metric_names = ["epoch", "train_loss", "valid_loss", "error_rate", "time"]
    recorder.losses = list(np.linspace(2, 1, recorder.iters[-1]))
    recorder.hps = {"lr": recorder.losses, "mom": [0.9] * recorder.iters[-1]}
    history = SimpleNamespace(recorder=recorder, sizes=sizes, search=FOUND, outcome={"lr": 0.02})
    return SimpleNamespace(history=history)


def test_every_figure_has_a_title_and_axis_labels_that_can_be_read():
    plots = curves.loss_plot, curves.schedule_plot, curves.search_plot
    for figure in (plot(learner([64] * 3)) for plot in plots):
        labels = [(ax.get_title(), ax.get_xlabel(), ax.get_ylabel()) for ax in figure.axes]
        assert labels and all(map(all, labels))
        assert overlapping(figure) == ([], [])
        assert not any("image size" in text for text, _ in texts(figure))  # there is but one


@pytest.mark.parametrize(
    ("sizes", "changes"),
    [([128, 128, "160x128", 192, 192], [6, 9]), (list(range(32, 32 * 9, 32)), range(3, 24, 3))],
)
def test_every_size_is_named_and_a_line_stands_where_the_images_grow(sizes, changes):
    learn = learner(sizes, [3 * number for number in range(1, len(sizes) + 1)])
    for figure in curves.loss_plot(learn), curves.schedule_plot(learn):
        for ax in figure.axes:
            dashed = [line.get_xdata()[0] for line in ax.lines if line.get_linestyle() == "--"]
            assert dashed == list(changes)
        drawn = [text for text, _ in texts(figure)]
        assert all(drawn.count(str(size)) == len(figure.axes) for size in set(sizes))
        assert overlapping(figure) == ([], [])


def test_losses_are_drawn_by_batch_and_those_of_the_hold_out_by_epoch():
    learn = learner([64, 64], ends=[2, 6])  # memory did not suffice: the second has twice as many
    training, hold_out = curves.loss_plot(learn).axes[0].lines
    assert list(training.get_ydata()) == learn.history.recorder.losses
    assert (list(hold_out.get_xdata()), list(hold_out.get_ydata())) == ([2, 6], [3.0, 1.5])
    assert len(curves.loss_plot(learner([64] * 2, valid=False)).axes[0].lines) == 1  # fold=all


def test_the_search_shows_the_rate_that_was_taken_or_a_line_of_text(capsys):
    learn = learner([64])
    (line, point) = curves.search_plot(learn).axes[0].lines
    assert list(line.get_xdata()) == FOUND["lrs"] and line.axes.get_xscale() == "log"
    assert (point.get_xdata()[0], point.get_ydata()[0]) == (1e-3, 2.1)
    assert "0.001" in point.get_label()
    learn.history.search = {}
    assert curves.search_plot(learn) is None and "0.02" in capsys.readouterr().out
