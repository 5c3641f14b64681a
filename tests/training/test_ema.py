"""`ema`: the moving average of the weights is what is validated and kept."""

import pytest
import torch
from fastai.vision.all import Callback
from small_training import tiny, train
from torch import nn

pytestmark = pytest.mark.usefixtures("in_this_process")


class Weights(Callback):
    """Keeps the weights after every step."""

    def before_fit(self):
        self.weights = [floats(self.model)]

    def after_step(self):
        self.weights.append(floats(self.model))


def floats(model: nn.Module) -> torch.Tensor:
    """All weights and measured means of `model` in one row."""
    tensors = [t for t in model.state_dict().values() if t.is_floating_point()]
    return torch.cat([t.detach().flatten() for t in tensors])


def test_ema_keeps_the_moving_average_of_the_weights(competition_once, tmp_path):
    learn = train(competition_once, tmp_path, tiny(ema=0.6, epochs=2), steps := Weights())
    average = steps.weights[0]
    for number, weights in enumerate(steps.weights[1:]):
        decay = min(0.6, 1 - (1 + number) ** (-2 / 3))  # 0 at first, 0.6 in the end
        average = decay * average + (1 - decay) * weights
    assert len(steps.weights) == 7
    ended = floats(learn.model)
    torch.testing.assert_close(ended, average, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(ended, steps.weights[-1], atol=1e-4)


def test_ema_is_what_the_epochs_validate(competition_once, tmp_path):
    learn = train(competition_once, tmp_path, tiny(ema=0.6, epochs=2))
    shown = learn.recorder.values[-1][1]
    with learn.no_bar():
        assert learn.validate()[0] == pytest.approx(shown, rel=1e-5)
