"""What a Variant adds to plain training, as callbacks: a line of the table each."""

import time
from bisect import bisect
from collections import Counter
from collections.abc import Callable
from itertools import accumulate, chain
from random import Random
from typing import Any

import torch
import torch.nn.functional as F
from fastai.callback.mixup import CutMix, MixUp
from fastai.vision.all import Callback, CancelFitException, GradientAccumulation
from timm.utils import ModelEmaV3

from src.core import Variant, height_width
from src.training.callbacks.precompute import Precompute
from src.training.callbacks.snapshots import Snapshots
from src.training.schedule import Epoch

FLOOR = 0.1  # of the mean loss: no image is ever left out for good
UNFROZEN = 3  # an epoch takes at most so many times as long once the body is trained too
SAFETY = 1.2  # no two epochs take equally long


def recipe_cbs(v: Variant, started: float) -> list[Callback]:
    """The callbacks for every field of `v` that is not at its neutral value.

    `started` is when the run began, by `time.monotonic`.
    """
    return [make(v, started) for name, neutral, make in RECIPES if getattr(v, name) != neutral]


class Ema(Callback):
    """Validates, and in the end keeps, a moving average of all weights over the steps.

    The average starts short, so that the weights of the beginning are soon forgotten.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay

    def before_fit(self) -> None:
        """Start from the weights as they are."""
        self.average, self.steps = ModelEmaV3(self.model, self.decay, use_warmup=True), 0

    def after_step(self) -> None:
        """Move the average towards the new weights."""
        self.steps += 1
        self.average.update(self.model, self.steps)

    def before_validate(self) -> None:
        """Let the average be validated."""
        self._swap()

    def after_validate(self) -> None:
        """Let the weights be trained again."""
        self._swap()

    def after_fit(self) -> None:
        """Keep the average."""
        self._swap()

    def kept(self) -> dict[str, Any]:
        """The state, for a checkpoint."""
        return {"steps": self.steps, "average": self.average.module.state_dict()}

    def put_back(self, state: dict[str, Any]) -> None:
        """The reverse of `kept`."""
        self.steps = state["steps"]
        self.average.module.load_state_dict(state["average"])

    def _swap(self) -> None:
        one, other = (chain(m.parameters(), m.buffers()) for m in (self.model, self.average.module))
        for a, b in zip(one, other, strict=True):
            a.data, b.data = b.data, a.data


class Sampler(Callback):
    """Draws the images of every epoch anew, by weight: some come twice, others not this time.

    `class`: every class as often as any other. `hard`: by each image's own loss when it was last
    trained on, once every image has been seen; the hold-out's losses would tell of its labels.
    """

    run_valid = False

    def __init__(self, kind: str) -> None:
        self.kind, self.losses = kind, None

    def before_train(self) -> None:
        """Draw."""
        dl = self.dls.train
        weights = self._weights()
        self.drawn = draw(weights, dl.rng) if weights else dl.get_idxs()
        dl.get_idxs = lambda: self.drawn

    def after_loss(self) -> None:
        """Note the loss of each image of the batch."""
        if self.kind != "hard":
            return
        if self.losses is None:
            self.losses = torch.full([self.dls.train.n], torch.nan)
        bs = self.dls.train.bs
        batch = self.drawn[self.iter * bs : (self.iter + 1) * bs]
        losses = F.cross_entropy(self.pred.detach(), self.y, reduction="none")
        self.losses[batch] = losses.float().cpu()

    def after_train(self) -> None:
        """Leave the loader as it was."""
        del self.dls.train.get_idxs

    def kept(self) -> dict[str, Any]:
        """The state, for a checkpoint."""
        return {"losses": self.losses}

    def put_back(self, state: dict[str, Any]) -> None:
        """The reverse of `kept`."""
        self.losses = state["losses"]

    def _weights(self) -> list[float] | None:
        """One weight per image; None while all count the same."""
        if self.kind == "class":
            labels = [int(label) for label in self.dls.train.dataset.tls[1]]
            counts = Counter(labels)
            return [1 / counts[label] for label in labels]
        if self.losses is None:
            return None
        mean = self.losses.nanmean()
        return (self.losses.nan_to_num(mean) + FLOOR * mean).tolist()


def draw(weights: list[float], rng: Random) -> list[int]:
    """As many numbers as there are weights, in random order, each about as often as it weighs.

    Systematic sampling (Kitagawa 1996): no number is off its share by one or more.
    """
    sums, first, count = list(accumulate(weights)), rng.random(), len(weights)
    points = ((number + first) * sums[-1] / count for number in range(count))
    drawn = [min(bisect(sums, point), count - 1) for point in points]
    return rng.sample(drawn, count)


class TimeLimit(Callback):
    """Ends a training while there is time to predict the hold-out and to export."""

    order = 90  # once the epoch is kept

    def __init__(self, variant: Variant, end: float) -> None:
        self.variant, self.end, self.readings = variant, end, {}

    def before_epoch(self) -> None:
        """Note the time."""
        self.trained_from = time.monotonic()

    def before_validate(self) -> None:
        """Note the time."""
        self.validated_from = time.monotonic()

    def after_epoch(self) -> None:
        """Stop unless the next epoch and the export fit into what is left."""
        plan, done, now = self.course.plan, self.course.done, time.monotonic()
        training, size = self.validated_from - self.trained_from, plan[done - 1].size
        # Once the hold-out is in memory an epoch does not read it, but to export it is read again.
        validation = max(self.readings.get(size, 0), now - self.validated_from)
        self.readings[size] = validation
        if plan[done - 1].phase.frozen and self.variant.precompute:
            # Features tell nothing of what images take, reading them for once does.
            read = self.precompute.seconds
            training, validation = max(training, read[0]), max(validation, read[1])
        if done < len(plan):
            needed = self._needed(plan[done - 1], plan[done], training, validation)
            if now + SAFETY * needed > self.end:
                raise CancelFitException

    def _needed(self, now: Epoch, then: Epoch, training: float, validation: float) -> float:
        """Seconds of the epoch `then` and of the export after it, going by the epoch `now`."""
        slower = UNFROZEN if now.phase.frozen and not then.phase.frozen else 1
        larger = _pixels(then.size) / _pixels(now.size)
        full = _pixels(self.variant.size) / _pixels(now.size)
        v = self.variant
        # The hold-out is predicted plain, with its views, and once more from the exported file.
        passes = 3 + (v.views if v.tta != "none" else 0)
        passes *= v.cycles if v.snapshots == "members" else 1
        measuring = training if v.snapshots == "mean" else 0  # at most: batch norms look once more
        export = full * (measuring + passes * validation)
        return larger * (slower * training + validation) + export


def _pixels(size: int | str) -> int:
    height, width = height_width(size)
    return height * width


# Field, the value at which it does nothing, its callback.
RECIPES: tuple[tuple[str, Any, Callable[[Variant, float], Callback]], ...] = (
    ("accum", 1, lambda v, _: GradientAccumulation(v.bs)),
    ("mixup", 0, lambda v, _: MixUp(v.mixup)),
    ("cutmix", 0, lambda v, _: CutMix(v.cutmix)),
    ("snapshots", "none", lambda v, _: Snapshots(v.snapshots)),
    ("ema", 0, lambda v, _: Ema(v.ema)),
    ("sampler", "uniform", lambda v, _: Sampler(v.sampler)),
    ("precompute", False, lambda *_: Precompute()),
    ("time_limit", 0, lambda v, started: TimeLimit(v, started + 60 * v.time_limit)),
)
