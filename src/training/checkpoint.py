"""What a killed training goes on from: everything that the next epoch depends on, on disk.

Written after every epoch, atomically, beside the bundle that is to come; deleted when that stands.
Random numbers need no keeping: every epoch is seeded by its number (`schedule.Course`).
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from fastai.vision.all import Callback, Learner, to_device

from src import bundle, competition
from src.bundle import versions
from src.competition import digests, folds
from src.core import ROOT, Variant, atomic_path, sha256, sha256_lines, terminal, torch_writes
from src.notebook import Run

# The wings that decide what an epoch does: a checkpoint of other code is not resumed.
CODE = ("competition", "training", "vision")
# These fields change no epoch, only how many there are or how the model is asked.
FREE = ("time_limit", *bundle.TTA_FIELDS)
State = dict[str, Any]


class Place(NamedTuple):
    """Where an unfinished training is kept, and what tells it from another one of its name."""

    path: Path
    key: str


def place_of(variant: Variant, run: Run) -> Place:
    """The place of a training: its key changes with recipe, data, split, code and versions."""
    recipe = {name: value for name, value in variant.recipe.items() if name not in FREE}
    code = [sha256(path) for wing in CODE for path in sorted((ROOT / "src" / wing).rglob("*.py"))]
    data = [competition.train_fingerprint(run.folder), folds.digest(run.folds), digests(variant)]
    key = sha256_lines([json.dumps([recipe, code, data, versions.installed()])])
    return Place(bundle.checkpoint_path(run.models, variant.name), key)


def read(place: Place) -> State:
    """What is kept at `place`; empty, after a word about it, if nothing can be gone on with."""
    if not place.path.is_file():
        return {}
    try:
        state = torch.load(place.path, map_location="cpu", weights_only=True)
        problem = "" if state["key"] == place.key else "recipe, data, code or versions are others"
    except Exception as error:  # none of our files: reading it raises anything
        problem = f"no checkpoint ({type(error).__name__})"
    if problem:
        print(f"{place.path}: {problem}; training begins anew", file=terminal())
        return {}
    return state


def done(state: State) -> int:
    """How many epochs are behind `state`."""
    return state["callbacks"]["course"]["done"] if state else 0


class Checkpoint(Callback):
    """Puts `state` back before the first epoch, and keeps the new one after each.

    `used` is what the training found out about its recipe. Callbacks with a state of their own
    have `kept() -> dict` and `put_back(dict)`.
    """

    order = 80  # after all others have looked at an epoch

    def __init__(self, place: Place, used: dict[str, Any], state: State) -> None:
        self.place, self.used, self.state = place, used, state

    def before_fit(self) -> None:
        """Put back what was kept; at the very start keep that, for a batch too large."""
        if self.state:
            restore(self.learn, self.state)
            self.state = {}
        else:
            self.after_epoch()

    def after_epoch(self) -> None:
        """Replace the file."""
        state = {"key": self.place.key, "used": self.used, **collect(self.learn)}
        with atomic_path(self.place.path) as temporary, torch_writes():
            torch.save(state, temporary)


def collect(learn: Learner) -> State:
    """All of `learn` that a training changes, in plain containers: read back without pickle."""
    opt, recorder = learn.opt.state_dict(), learn.recorder
    state: State = {
        "model": learn.model.state_dict(),
        "opt": {name: [dict(part) for part in parts] for name, parts in opt.items()},
        "frozen": learn.opt.frozen_idx,
        "recorder": {
            "lrs": recorder.lrs,
            "losses": [float(loss) for loss in recorder.losses],
            "values": [list(values) for values in recorder.values],
            "iters": recorder.iters,
        },
        "search": learn.search,
        "smooth_loss": [recorder.smooth_loss.count, float(recorder.smooth_loss.val)],
        "callbacks": {cb.name: cb.kept() for cb in learn.cbs if hasattr(type(cb), "kept")},
    }
    if getattr(learn, "scaler", None):
        state["scaler"] = learn.scaler.state_dict()
    if hasattr(learn, "gradient_accumulation") and learn.gradient_accumulation.count:
        state["count"] = learn.gradient_accumulation.count  # a step is half gathered
        state["gradients"] = [p.grad for p in learn.model.parameters()]
    return state


def restore(learn: Learner, state: State) -> None:
    """The reverse of `collect`, when a fit has begun and nothing is trained yet."""
    device = next(learn.model.parameters()).device
    learn.model.load_state_dict(state["model"])
    learn.opt.load_state_dict(to_device(state["opt"], device))
    learn.opt.freeze_to(state["frozen"])
    for name, values in state["recorder"].items():
        setattr(learn.recorder, name, list(values))
    learn.search = state["search"]
    count, value = state["smooth_loss"]
    learn.recorder.smooth_loss.count, learn.recorder.smooth_loss.val = count, torch.tensor(value)
    for name, kept in state["callbacks"].items():
        getattr(learn, name).put_back(kept)
    if "scaler" in state:
        learn.scaler.load_state_dict(state["scaler"])
    if "count" in state:
        learn.gradient_accumulation.count = state["count"]
        for p, gradient in zip(learn.model.parameters(), state["gradients"], strict=True):
            p.grad = None if gradient is None else gradient.to(device)
