"""`ema`: a moving average of all weights is validated, and exported in the end."""

from itertools import chain

from fastai.vision.all import Callback
from timm.utils import ModelEmaV3
from torch import nn


class Ema(Callback):
    """Averages the weights after every step; the decay grows to `decay` (timm's warm-up)."""

    resumed = ("steps", "average")

    def __init__(self, decay: float) -> None:
        self.decay = decay

    def before_fit(self) -> None:
        """Start with the weights as they are."""
        self.average, self.steps = ModelEmaV3(self.model, self.decay, use_warmup=True), 0

    def after_step(self) -> None:
        """Move the average towards the new weights."""
        self.steps += 1
        self.average.update(self.model, self.steps)

    def before_validate(self) -> None:
        """Validate the average."""
        _exchange(self.model, self.average.module)

    def after_validate(self) -> None:
        """Go on training the weights."""
        _exchange(self.model, self.average.module)

    def after_fit(self) -> None:
        """Leave the average in the finished model."""
        _exchange(self.model, self.average.module)


def _exchange(one: nn.Module, other: nn.Module) -> None:
    """Exchange all weights and buffers."""
    tensors, others = (chain(model.parameters(), model.buffers()) for model in (one, other))
    for a, b in zip(tensors, others, strict=True):
        a.data, b.data = b.data, a.data
