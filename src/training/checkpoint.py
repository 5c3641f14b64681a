"""What a killed training resumes from: everything that the next epoch depends on, in one file.

Written atomically after every epoch, beside the coming bundle; deleted when that is complete.
Random numbers are not in it: every epoch is seeded by its number (`schedule.seed_epoch`).

Why not fastai's `start_epoch` with `SaveModelCallback(with_opt=True)`? Measured, with a seeding
callback: plain weights are equal, those of `ema`, `accum` and `sampler: hard` are not (their
state is not saved), and each skipped epoch calls every `after_epoch`: an empty row in the recorder.
"""

import json
from pathlib import Path
from typing import Any

import torch
from fastai.vision.all import Callback, Learner, to_device

from src import bundle, competition
from src.bundle import versions
from src.competition import digests, folds
from src.core import ROOT, Variant, atomic_path, sha256, sha256_lines, terminal, torch_writes
from src.notebook import Run

# The wings that decide what an epoch does: a checkpoint of other code is not resumed.
CODE = ("competition", "training", "vision")
# These fields change only the number of epochs, or the inference.
FREE = ("time_limit", *bundle.TTA_FIELDS)
State = dict[str, Any]


class Checkpoint(Callback):
    """Restores a state before the first epoch, and writes the new one after each.

    A callback that has `state_dict` and `load_state_dict` is part of it.
    """

    order = 80  # after all callbacks with a state

    def __init__(self, variant: Variant, run: Run) -> None:
        self.file = bundle.checkpoint_path(run.models, variant.name)
        self.key, self.used, self.state = _key(variant, run), {}, {}

    def load(self) -> State:
        """The state to resume from; empty, and a line on the terminal, if the file is no use."""
        self.state, problem = _read(self.file, self.key)
        if problem:
            print(f"{self.file}: {problem}; training starts over", file=terminal())
        return self.state

    def before_fit(self) -> None:
        """Restore; at the very start write the file, to retry from with smaller batches."""
        if self.state:
            restore(self.learn, self.state)
            self.state = {}  # free its memory
        else:
            self.after_epoch()

    def after_epoch(self) -> None:
        """Replace the file; `used` are the fields of the recipe that the training settled."""
        state = {"key": self.key, "used": self.used, **collect(self.learn)}
        with atomic_path(self.file) as temporary, torch_writes():
            torch.save(state, temporary)


def _key(variant: Variant, run: Run) -> str:
    """A digest of what decides a training: recipe, data, split, code and versions."""
    recipe = {name: value for name, value in variant.recipe.items() if name not in FREE}
    code = [sha256(path) for wing in CODE for path in sorted((ROOT / "src" / wing).rglob("*.py"))]
    data = [competition.train_fingerprint(run.folder), folds.digest(run.folds), digests(variant)]
    return sha256_lines([json.dumps([recipe, code, data, versions.installed()])])


def _read(file: Path, key: str) -> tuple[State, str]:
    """The state in `file`, or what is wrong with it."""
    if not file.is_file():
        return {}, ""
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
        same = state["key"] == key
    except Exception as error:  # not written by us: reading it can raise anything
        return {}, f"not a checkpoint ({type(error).__name__})"
    return (state, "") if same else ({}, "recipe, data, code or versions differ")


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
        "smooth_loss": [recorder.smooth_loss.count, float(recorder.smooth_loss.val)],
        "search": learn.history.search,
        "callbacks": {cb.name: cb.state_dict() for cb in learn.cbs if _has_state(cb)},
    }
    if getattr(learn, "scaler", None):
        state["scaler"] = learn.scaler.state_dict()
    if hasattr(learn, "gradient_accumulation") and learn.gradient_accumulation.count:
        state["count"] = learn.gradient_accumulation.count  # a step is half gathered
        state["gradients"] = [p.grad for p in learn.model.parameters()]
    return state


def _has_state(cb: Callback) -> bool:
    return hasattr(type(cb), "state_dict")  # the class: an instance passes on to the Learner


def restore(learn: Learner, state: State) -> None:
    """The reverse of `collect`, when a fit has begun and nothing is trained yet."""
    device = next(learn.model.parameters()).device
    learn.model.load_state_dict(state["model"])
    learn.opt.load_state_dict(to_device(state["opt"], device))
    learn.opt.freeze_to(state["frozen"])
    for name, values in state["recorder"].items():
        setattr(learn.recorder, name, list(values))
    count, value = state["smooth_loss"]
    learn.recorder.smooth_loss.count, learn.recorder.smooth_loss.val = count, torch.tensor(value)
    learn.history.search = state["search"]
    for name, values in state["callbacks"].items():
        getattr(learn, name).load_state_dict(values)
    if "scaler" in state:
        learn.scaler.load_state_dict(state["scaler"])
    if "count" in state:
        learn.gradient_accumulation.count = state["count"]
        for p, gradient in zip(learn.model.parameters(), state["gradients"], strict=True):
            p.grad = None if gradient is None else gradient.to(device)
