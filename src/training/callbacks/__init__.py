"""What a Variant adds to plain training: one fastai callback a field, one line of the table each.

To add a recipe: a field of `Variant` with a neutral value in params.yaml, a module here with a
callback of fewer than 40 lines, a line below. If attributes of the callback outlive an epoch, name
them in `resumed`, and a killed training resumes with them (ema.py).
"""

from collections.abc import Callable
from typing import Any

from fastai.callback.mixup import CutMix, MixUp
from fastai.vision.all import Callback, GradientAccumulation

from src.core import Variant
from src.training.callbacks.ema import Ema
from src.training.callbacks.precompute import Precompute
from src.training.callbacks.sampler import Sampler
from src.training.callbacks.snapshots import Snapshots
from src.training.callbacks.time_limit import TimeLimit

# Field → its neutral value, and the callback of a Variant and the start of the run in seconds.
RECIPES: dict[str, tuple[Any, Callable[[Variant, float], Callback]]] = {
    "accum": (1, lambda v, _: GradientAccumulation(v.bs)),
    "mixup": (0, lambda v, _: MixUp(v.mixup)),
    "cutmix": (0, lambda v, _: CutMix(v.cutmix)),
    "snapshots": ("none", lambda v, _: Snapshots(v.snapshots)),
    "ema": (0, lambda v, _: Ema(v.ema)),
    "sampler": ("uniform", lambda v, _: Sampler(v.sampler)),
    "precompute": (False, lambda *_: Precompute()),
    "time_limit": (0, lambda v, started: TimeLimit(v, started + 60 * v.time_limit)),
}


def recipe_cbs(v: Variant, started: float) -> list[Callback]:
    """The callbacks of every field of `v` that is not neutral."""
    return [make(v, started) for name, (neutral, make) in RECIPES.items()
            if getattr(v, name) != neutral]
