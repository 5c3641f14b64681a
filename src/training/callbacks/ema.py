"""`ema`: a moving average of all weights is validated, and exported in the end."""

from itertools import chain

from fastai.vision.all import Callback
from timm.utils import ModelEmaV3


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
        """Exchange weights and average: validation and the finished model use the average."""
        one, other = (chain(m.parameters(), m.buffers()) for m in (self.model, self.average.module))
        for a, b in zip(one, other, strict=True):
            a.data, b.data = b.data, a.data

    after_validate = after_fit = before_validate
