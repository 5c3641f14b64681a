"""The plan of a training, epoch by epoch: learning rate, momentum, frozen or not, image size."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from fastai.callback.schedule import SchedCos, SchedNo, combined_cos
from fastai.vision.all import Callback, DataLoaders, set_seed

from src.core import Variant, split_sizes

Curve = Callable[[float], float]  # from the share of a phase that is over, 0 to 1
FROZEN_MULT = 10  # the batch norms of a frozen body learn ten times slower, as in fastai
EPOCHS_PER_SEED = 100_000  # no epoch of one seed draws as an epoch of another does


class Phase(NamedTuple):
    """Epochs that share one curve; each layer group learns `mult` times slower than the next."""

    epochs: int
    lr: Curve
    mom: Curve
    mult: float
    frozen: bool = False


class Epoch(NamedTuple):
    """One epoch: its phase, how many epochs of the phase came before, pixels after augmentation."""

    phase: Phase
    before: int
    size: int | str

    @property
    def ends_cycle(self) -> bool:
        """Whether this is the last epoch of its curve, and no epoch of the head alone."""
        return self.before + 1 == self.phase.epochs and not self.phase.frozen

    def at(self, curve: Curve, share: float) -> float:
        """The value of `curve` when `share` of this epoch is over."""
        return curve((self.before + share) / self.phase.epochs)


def make_plan(variant: Variant) -> list[Epoch]:
    """Every epoch of the training, in order: the head alone, if pretrained, then the schedule.

    The `sizes` get equal shares of the schedule; the head is trained at the first of them.
    """
    v, sizes = variant, split_sizes(variant.sizes) or [variant.size]
    frozen = _cycle(v.freeze_epochs, v.lr, 0.99, 25, FROZEN_MULT, frozen=True)
    head = _epochs(frozen, sizes[:1]) if v.pretrained else []
    # Random weights have nothing to protect: one cycle of everything, all groups alike.
    schedule = SCHEDULES[v.schedule if v.pretrained or v.schedule == "sgdr" else "one_cycle"]
    phases = schedule(v, v.lr_mult if v.pretrained else 1)
    return head + _sized([epoch for phase in phases for epoch in _epochs(phase, sizes)], sizes)


def _epochs(phase: Phase, sizes: list) -> list[Epoch]:
    return [Epoch(phase, before, sizes[0]) for before in range(phase.epochs)]


def _sized(epochs: list[Epoch], sizes: list) -> list[Epoch]:
    share = [sizes[number * len(sizes) // len(epochs)] for number in range(len(epochs))]
    return [epoch._replace(size=size) for epoch, size in zip(epochs, share, strict=True)]


def _cycle(
    epochs: int, lr: float, warm: float, div: float, mult: float, frozen: bool = False
) -> Phase:
    """fastai's one cycle: from lr / div up to lr in the share `warm`, then down to lr / 100000."""
    curve = combined_cos(warm, lr / div, lr, lr / 1e5)
    return Phase(epochs, curve, combined_cos(warm, 0.95, 0.85, 0.95), mult, frozen)


def _fine_tune(v: Variant, mult: float) -> list[Phase]:
    """What fastai's `fine_tune` does once the body is unfrozen."""
    return [_cycle(v.epochs, v.lr / 2, 0.3, 5, mult)]


def _one_cycle(v: Variant, mult: float) -> list[Phase]:
    """What fastai's `fit_one_cycle` does."""
    return [_cycle(v.epochs, v.lr, 0.25, 25, mult)]


def _sgdr(v: Variant, mult: float) -> list[Phase]:
    """Warm restarts: each cycle a cosine from lr to 0, `cycle_mult` times as long as the last."""
    lengths = [v.cycle_len * v.cycle_mult**number for number in range(v.cycles)]
    return [Phase(length, SchedCos(v.lr, 0), SchedNo(0.9, 0.9), mult) for length in lengths]


SCHEDULES = {"fine_tune": _fine_tune, "one_cycle": _one_cycle, "sgdr": _sgdr}


class Course(Callback):
    """Leads a Learner along a plan; `done` counts the epochs that are behind it.

    Every epoch is seeded by its number alone: one that is begun again, after a kill or for want of
    memory, draws what it would have drawn. `loaders` gives the DataLoaders of an image size.
    """

    order, run_valid = 60, False

    def __init__(
        self, plan: list[Epoch], seed: int, loaders: Callable[[int | str], DataLoaders]
    ) -> None:
        self.plan, self.seed, self.loaders = plan, seed, loaders
        self.done, self.seconds, self.hps = 0, 0.0, {"lr": [], "mom": []}

    def before_epoch(self) -> None:
        """The loaders, what is frozen, the seed."""
        self.began = time.perf_counter()
        now = self.plan[self.done]
        self.learn.dls = self.loaders(now.size)
        if not self.done or self.plan[self.done - 1].phase.frozen != now.phase.frozen:
            self.learn.freeze() if now.phase.frozen else self.learn.unfreeze()
        seed = self.seed * EPOCHS_PER_SEED + self.done
        set_seed(seed, reproducible=True)
        self.dls.train.rng.seed(seed)

    def before_batch(self) -> None:
        """Set what the plan says of this batch."""
        now, share = self.plan[self.done], self.iter / self.n_iter
        lr, groups = now.at(now.phase.lr, share), len(self.opt.param_lists)
        lrs = [lr / now.phase.mult**above for above in reversed(range(groups))]
        self.opt.set_hypers(lr=lrs, mom=now.at(now.phase.mom, share))

    def after_batch(self) -> None:
        """Write down what was set, for the figure."""
        for name, values in self.hps.items():
            values.append(self.opt.hypers[-1][name])

    def after_epoch(self) -> None:
        """One more is done."""
        self.done += 1
        self.seconds += time.perf_counter() - self.began

    def after_fit(self) -> None:
        """Where fastai's `plot_sched` looks."""
        self.recorder.hps = self.hps

    def kept(self) -> dict[str, Any]:
        """The state, for a checkpoint."""
        return {"done": self.done, "seconds": self.seconds, "hps": self.hps}

    def put_back(self, state: dict[str, Any]) -> None:
        """The reverse of `kept`."""
        self.done, self.seconds, self.hps = state["done"], state["seconds"], state["hps"]
