"""What a killed training resumes from: everything that the next epoch depends on, in one file.

Random numbers are not in it: every epoch is seeded by its number. fastai's `start_epoch` with
`SaveModelCallback(with_opt=True)` was measured: `ema`, `accum` and `sampler: hard` end otherwise.
"""

import json
from typing import Any

import torch
from fastai.vision.all import Callback, L, Learner, TensorBase, to_device

from src import bundle, competition
from src.bundle import versions
from src.core import ROOT, Variant, atomic_path, sha256, sha256_lines, terminal, torch_writes
from src.training.run import Run

# The wings that decide what an epoch does: a checkpoint of other code is not resumed.
CODE = ("competition", "training", "vision")
# These fields change only the number of epochs, or the inference.
FREE = ("time_limit", *bundle.TTA_FIELDS)
# What fastai's own callbacks resume with; ours name it in `resumed`.
RESUMED = {"recorder": ("lrs", "losses", "values", "iters"), "gradient_accumulation": ("count",)}
State = dict[str, Any]


class Checkpoint(Callback):
    """Restores a state before the first epoch, and writes the new one after each."""

    order = 80  # after all callbacks with a state

    def __init__(self, variant: Variant, run: Run) -> None:
        self.file = bundle.checkpoint_path(run.models, variant.name)
        self.key, self.state = _key(variant, run), {}
        self.used: State = {}  # the fields of the recipe that the training settled

    def load(self) -> State:
        """The state to resume from; empty, and a line on the terminal, if the file is no use."""
        self.state = {}
        if not self.file.is_file():
            return {}
        try:
            state = torch.load(self.file, map_location="cpu", weights_only=True)
            self.state = state if state["key"] == self.key else {}
            problem = "recipe, data, code or versions differ"
        except Exception as error:  # not written by us: reading it can raise anything
            problem = f"not a checkpoint ({type(error).__name__})"
        if not self.state:
            print(f"{self.file}: {problem}; training starts over", file=terminal())
        return self.state

    def before_fit(self) -> None:
        """Restore the state, or write the first one, to retry from with smaller batches."""
        if self.state:
            restore(self.learn, self.state)
            self.state = {}  # free its memory
        else:
            self.after_epoch()

    def after_epoch(self) -> None:
        """Replace the file."""
        state = {"key": self.key, "used": self.used, **collect(self.learn)}
        with atomic_path(self.file) as temporary, torch_writes():
            torch.save(state, temporary)


def _key(variant: Variant, run: Run) -> str:
    """A digest of what decides a training: recipe, data, split, code and versions."""
    recipe = {name: value for name, value in variant.recipe.items() if name not in FREE}
    code = [sha256(path) for wing in CODE for path in sorted((ROOT / "src" / wing).rglob("*.py"))]
    split, corrections = competition.digest(run.folds), competition.digests(variant)
    data = [competition.train_fingerprint(run.folder), split, corrections]
    return sha256_lines([json.dumps([recipe, code, data, versions.installed()])])


def collect(learn: Learner) -> State:
    """All of `learn` that a training changes, in plain containers: read back without pickle."""
    opt, smooth = learn.opt.state_dict(), learn.recorder.smooth_loss
    state = {
        "model": learn.model.state_dict(),
        "opt": {name: [dict(part) for part in parts] for name, parts in opt.items()},
        "frozen": learn.opt.frozen_idx,
        "smooth_loss": [smooth.count, float(smooth.val)],
        "search": learn.history.search,
        "callbacks": {cb.name: {name: _plain(getattr(cb, name)) for name in _resumed(cb)}
                      for cb in learn.cbs},
    }
    if getattr(learn, "scaler", None) and learn.scaler.is_enabled():  # not for bf16
        state["scaler"] = learn.scaler.state_dict()
    if hasattr(learn, "gradient_accumulation") and learn.gradient_accumulation.count:
        state["gradients"] = [p.grad for p in learn.model.parameters()]  # half a step
    return state


def _resumed(cb: Callback) -> tuple[str, ...]:
    # of the class: an instance passes on to the Learner
    return RESUMED.get(cb.name) or getattr(type(cb), "resumed", ())


def _plain(value: Any) -> Any:
    if isinstance(value, torch.nn.Module):
        return value.state_dict()
    if isinstance(value, list | L):
        return list(map(_plain, value))
    return float(value) if isinstance(value, TensorBase) else value


def restore(learn: Learner, state: State) -> None:
    """The reverse of `collect`, when a fit has begun and nothing is trained yet."""
    device = next(learn.model.parameters()).device
    learn.model.load_state_dict(state["model"])
    learn.opt.load_state_dict(to_device(state["opt"], device))
    learn.opt.freeze_to(state["frozen"])
    count, value = state["smooth_loss"]
    learn.recorder.smooth_loss.count, learn.recorder.smooth_loss.val = count, torch.tensor(value)
    learn.history.search = state["search"]
    for cb in learn.cbs:
        for name, value in state["callbacks"].get(cb.name, {}).items():
            if isinstance(old := getattr(cb, name), torch.nn.Module):
                old.load_state_dict(value)
            else:
                setattr(cb, name, value)
    if "scaler" in state:
        learn.scaler.load_state_dict(state["scaler"])
    if "gradients" in state:
        for p, gradient in zip(learn.model.parameters(), state["gradients"], strict=True):
            p.grad = to_device(gradient, device)
