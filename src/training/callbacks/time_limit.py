"""`time_limit`: a training ends while there is time to predict the hold-out and to export."""

import time

from fastai.vision.all import Callback, CancelFitException

from src.core import Variant, height_width
from src.training.schedule import Epoch

UNFROZEN = 3  # an epoch of the whole model takes at most so many times one of the head alone
SAFETY = 1.2  # epochs vary


class TimeLimit(Callback):
    """Starts no epoch that could not be exported before `end`, a time of `time.monotonic`."""

    order = 90  # after the Checkpoint

    def __init__(self, variant: Variant, end: float) -> None:
        self.variant, self.end, self.slowest = variant, end, {}

    def before_epoch(self) -> None:
        """Note when training starts."""
        self.start = time.monotonic()

    def before_validate(self) -> None:
        """Note when validation starts."""
        self.middle = time.monotonic()

    def after_epoch(self) -> None:
        """Stop unless the next epoch and the export fit into the time left."""
        plan, done, now = self.schedule.plan, self.schedule.done, time.monotonic()
        last = plan[done - 1]
        took = self.middle - self.start, now - self.middle
        if last.phase.frozen and self.variant.precompute:  # features are faster than images
            took = tuple(map(max, took, self.precompute.seconds))
        # Validation reads the hold-out once per size, later from memory; the export reads it again.
        slowest = self.slowest[last.size] = max(self.slowest.get(last.size, 0), took[1])
        if done < len(plan):
            needed = seconds_needed(self.variant, last, plan[done], took[0], slowest)
            if now + SAFETY * needed > self.end:
                raise CancelFitException


def seconds_needed(
    v: Variant, last: Epoch, coming: Epoch, training: float, validation: float
) -> float:
    """Seconds of the epoch `coming` and the export, given those that epoch `last` took."""
    slower = UNFROZEN if last.phase.frozen and not coming.phase.frozen else 1
    larger, full = (_pixels(size) / _pixels(last.size) for size in (coming.size, v.size))
    # The hold-out is predicted plain, with its views, and again from the exported file.
    passes = 3 + (v.views if v.tta != "none" else 0)
    passes *= v.cycles if v.snapshots == "members" else 1
    batch_norms = training if v.snapshots == "mean" else 0  # at most
    export = full * (batch_norms + passes * validation)
    return larger * (slower * training + validation) + export


def _pixels(size: int | str) -> int:
    height, width = height_width(size)
    return height * width
