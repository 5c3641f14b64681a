"""The schedule of a training: learning rate, momentum, frozen body and image size of each epoch."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from fastai.callback.schedule import SchedCos, SchedNo, combined_cos
from fastai.vision.all import Callback, TfmdDL, set_seed

from src import vision
from src.core import BY_FAMILY, Variant, split_sizes

Curve = Callable[[float], float]  # of the finished share of a phase, 0 to 1
FROZEN_MULT = 10  # the batch norms of a frozen body learn ten times slower, as in fastai
# How much slower the backbone learns than the head, by family, as measured (docs/recipes.md);
# families that were not measured learn as in fastai.
LR_MULTS, FASTAI_MULT = {"efficientnet": 3.0}, 100.0
EPOCHS_PER_SEED = 100_000  # no epoch of one seed draws the random numbers of another seed's


class Phase(NamedTuple):
    """Epochs that share one curve; each layer group learns `mult` times slower than the next."""

    epochs: int
    lr: Curve
    mom: Curve
    mult: float
    frozen: bool = False


class Epoch(NamedTuple):
    """One epoch: its phase, its number within the phase, its image size in pixels."""

    phase: Phase
    number: int
    size: int | str

    @property
    def ends_cycle(self) -> bool:
        """Whether this is the last epoch of a phase that trains the whole model."""
        return self.number + 1 == self.phase.epochs and not self.phase.frozen


def make_plan(v: Variant) -> list[Epoch]:
    """Every epoch of the training, in order: the head alone, if pretrained, then the schedule.

    The `sizes` get equal shares of the schedule; the head is trained at the first of them.
    """
    sizes = split_sizes(v.sizes) or [v.size]
    head = _cycle(v.freeze_epochs, v.lr, 0.99, 25, FROZEN_MULT)._replace(frozen=True)
    plan = [Epoch(head, number, sizes[0]) for number in range(head.epochs) if v.pretrained]
    # Random weights have nothing to protect: one cycle.
    name = v.schedule if v.pretrained or v.schedule == "sgdr" else "one_cycle"
    phases = SCHEDULES[name](v, lr_mult(v))
    epochs = [(phase, number) for phase in phases for number in range(phase.epochs)]
    for n, (phase, number) in enumerate(epochs):
        plan.append(Epoch(phase, number, sizes[n * len(sizes) // len(epochs)]))
    return plan


def lr_mult(v: Variant) -> float:
    """How many times slower each layer group learns than the next; random weights: not slower."""
    if not v.pretrained:
        return 1.0
    if v.lr_mult != BY_FAMILY:
        return v.lr_mult
    return LR_MULTS.get(vision.backbone.family(v.arch), FASTAI_MULT)


def _cycle(epochs: int, lr: float, warm: float, div: float, mult: float) -> Phase:
    """fastai's one cycle: from lr / div up to lr in the share `warm`, then down to lr / 100000."""
    curve = combined_cos(warm, lr / div, lr, lr / 1e5)
    return Phase(epochs, curve, combined_cos(warm, 0.95, 0.85, 0.95), mult)


def _sgdr(v: Variant, mult: float) -> list[Phase]:
    """Warm restarts: each cycle a cosine from lr to 0, `cycle_mult` times as long as the last."""
    lengths = [v.cycle_len * v.cycle_mult**number for number in range(v.cycles)]
    return [Phase(length, SchedCos(v.lr, 0), SchedNo(0.9, 0.9), mult) for length in lengths]


SCHEDULES: dict[str, Callable[[Variant, float], list[Phase]]] = {
    # as fastai's `fine_tune`, once the body is unfrozen, and as its `fit_one_cycle`
    "fine_tune": lambda v, mult: [_cycle(v.epochs, v.lr / 2, 0.3, 5, mult)],
    "one_cycle": lambda v, mult: [_cycle(v.epochs, v.lr, 0.25, 25, mult)],
    "sgdr": _sgdr,
}


def seed_epoch(seed: int, number: int, dl: TfmdDL) -> None:
    """Seed every generator, that of `dl` too, for epoch `number`: a repeated epoch is the same."""
    seed = seed * EPOCHS_PER_SEED + number
    set_seed(seed, reproducible=True)
    dl.rng.seed(seed)


def _hypers(epoch: Epoch, finished: float, groups: int) -> dict[str, Any]:
    """The learning rate of each layer group and the momentum; `finished`: share of the epoch."""
    phase = epoch.phase
    share = (epoch.number + finished) / phase.epochs
    lrs = [phase.lr(share) / phase.mult**above for above in reversed(range(groups))]
    return {"lr": lrs, "mom": phase.mom(share)}


class Schedule(Callback):
    """Trains by a plan: sets loaders, frozen layers, seed, learning rates; counts `done` epochs."""

    order, run_valid = 60, False
    resumed = ("done", "seconds", "hps", "started")

    def __init__(self, plan: list[Epoch], seed: int, loaders: Callable) -> None:
        self.plan, self.seed, self.loaders = plan, seed, loaders  # image size → DataLoaders
        self.done, self.seconds, self.hps = 0, [], {"lr": [], "mom": []}
        self.started = datetime.now(UTC).isoformat(timespec="seconds")

    def before_epoch(self) -> None:
        """Set the loaders, what is frozen, and the seed."""
        self.start = time.perf_counter()
        epoch = self.plan[self.done]
        self.learn.dls = self.loaders(epoch.size)
        if not self.done or self.plan[self.done - 1].phase.frozen != epoch.phase.frozen:
            self.learn.freeze() if epoch.phase.frozen else self.learn.unfreeze()
        seed_epoch(self.seed, self.done, self.dls.train)

    def before_batch(self) -> None:
        """Set the learning rates and the momentum of this batch."""
        groups = len(self.opt.param_lists)
        hypers = _hypers(self.plan[self.done], self.iter / self.n_iter, groups)
        self.opt.set_hypers(**hypers)

    def after_batch(self) -> None:
        """Record them, for the figure."""
        for name, values in self.hps.items():
            values.append(self.opt.hypers[-1][name])

    def after_epoch(self) -> None:
        """Count the epoch."""
        self.done += 1
        self.seconds.append(time.perf_counter() - self.start)

    def after_fit(self) -> None:
        """Leave the record where fastai's `plot_sched` reads it."""
        self.recorder.hps = self.hps
