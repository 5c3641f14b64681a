"""`time_limit`: a training ends while there is time to predict the hold-out and to export."""

import time
from math import prod

from fastai.vision.all import Callback, CancelFitException

from src.core import Variant, height_width
from src.training.schedule import Epoch

UNFROZEN = 3  # an epoch of the whole model takes at most so many times one of the head alone
SAFETY = 1.2  # epochs vary


class TimeLimit(Callback):
    """Starts no epoch that could not be exported before `end`, a time of `time.monotonic`."""

    order = 90  # after the Checkpoint

    def __init__(self, variant: Variant, end: float) -> None:
        self.variant, self.end, self.validation = variant, end, {}

    def before_epoch(self) -> None:
        """Start the clock of the epoch."""
        self.start = time.monotonic()

    def before_validate(self) -> None:
        """Read it between training and validation."""
        self.middle = time.monotonic()

    def after_epoch(self) -> None:
        """End the training where the next epoch would take too long."""
        plan, done, now = self.schedule.plan, self.schedule.done, time.monotonic()
        last, training, validation = plan[done - 1], self.middle - self.start, now - self.middle
        if last.phase.frozen and self.variant.precompute:  # features are faster than images
            training, validation = map(max, (training, validation), self.precompute.seconds)
        # Validation reads the hold-out once per size, later from memory; the export reads it again.
        validation = max(validation, self.validation.get(last.size, 0))
        self.validation[last.size] = validation
        if done < len(plan):
            needed = seconds_needed(self.variant, last, plan[done], training, validation)
            if now + SAFETY * needed > self.end:
                raise CancelFitException


def seconds_needed(
    v: Variant, last: Epoch, coming: Epoch, training: float, validation: float
) -> float:
    """Seconds of the epoch `coming` and the export, given those that epoch `last` took."""
    slower = UNFROZEN if last.phase.frozen and not coming.phase.frozen else 1
    # The hold-out is predicted plain, with its views, and again from the exported file.
    passes = 3 + (v.views if v.tta != "none" else 0)
    passes *= v.cycles if v.snapshots == "members" else 1
    export = passes * validation + (training if v.snapshots == "mean" else 0)  # batch norms
    epoch = slower * training + validation
    now, then, full = (prod(height_width(size)) for size in (last.size, coming.size, v.size))
    return (then * epoch + full * export) / now
