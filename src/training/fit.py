"""A Variant's training: a pretrained backbone, a schedule of epochs, a few callbacks."""

import gc
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import torch
from fastai.callback.fp16 import MixedPrecision
from fastai.learner import Recorder
from fastai.vision.all import CrossEntropyLossFlat, DataLoaders, Learner, error_rate, set_seed
from fastai.vision.learner import vision_learner

from src import vision
from src.core import FEWEST, FIND, UserError, Variant, terminal
from src.training.callbacks import recipe_cbs
from src.training.callbacks.epochs import CacheHoldout, EpochLog, tracker
from src.training.callbacks.finder import find_lr
from src.training.callbacks.targets import add_targets, drop_targets
from src.training.checkpoint import Checkpoint
from src.training.precision import Bfloat16, precision_cbs, precision_of
from src.training.run import Run
from src.training.schedule import Schedule, lr_mult, make_plan


def get_learner(dls: DataLoaders, variant: Variant) -> Learner:
    """A Learner on `variant.arch`: pretrained weights and a new head, or all of it random."""
    weights = vision.fetch(variant)
    set_seed(variant.seed, reproducible=True)
    try:
        learn = vision_learner(
            dls, vision.timm_name(variant.arch), pretrained=bool(variant.pretrained),
            loss_func=CrossEntropyLossFlat(label_smoothing=variant.label_smoothing),
            metrics=error_rate, cbs=precision_cbs(), ps=variant.dropout,
            **vision.create_kwargs(variant), **vision.load_kwargs(variant, weights),
        )
        vision.require_loaded(learn.model[0], weights)
        vision.forget_file(learn.model[0], variant)
    except Exception as error:  # each kind of file fails in its own way
        if not weights.file or isinstance(error, torch.OutOfMemoryError):
            raise
        raise vision.unusable(variant, weights, error) from error
    learn.model.to(memory_format=torch.channels_last)  # the order convolutions are fast in
    # For figures and card: the source of the weights, the search, the seconds by epoch, and as
    # outcome epochs, planned, lr, lr_mult, … `fit` adds recorder and sizes of the epochs, when the
    # first of them started, which may have been before an interruption, and a tracker's `report`.
    learn.history = SimpleNamespace(weights=weights.source, search={}, seconds=[], outcome={},
                                    report=None)
    return learn


def fit(learn: Learner, variant: Variant, run: Run) -> Learner:
    """Train `learn` by its schedule, from its checkpoint if it has one; `learn.history` says how.

    Out of memory, the batches are halved and the epoch is repeated.
    """
    checkpoint, loaders = Checkpoint(variant, run), _loaders(learn.dls, variant, run)
    loss, used = learn.loss_func, replace(variant, **checkpoint.load().get("used", {}))
    add_targets(learn, variant, run.folder)
    while True:
        try:
            if used.lr == FIND:
                learn.history.search = find_lr(learn, used, loaders)
                used = replace(used, lr=learn.history.search["valley"])
                print(f"{used.name}: lr={used.lr:.2g} found", file=terminal())
            _train(learn, used, run.started, checkpoint, loaders)
            break
        except torch.OutOfMemoryError as error:
            used = _halved(used, error)
        except UserError as error:  # fastai puts the callback's name before it
            raise UserError(str(error).rpartition("\n\t")[2]) from error
        learn.loss_func = loss  # that of an interrupted mixup is another
        _free(learn)
        checkpoint.load()
    learn.dls = loaders(used, variant.size)
    learn.remove_cbs([MixedPrecision, Bfloat16])
    drop_targets(learn)
    return learn


def _train(
    learn: Learner, v: Variant, started: float, checkpoint: Checkpoint, loaders: Callable
) -> None:
    """The epochs after those of the checkpoint."""
    plan, state = make_plan(v), checkpoint.state
    done = state["callbacks"]["schedule"]["done"] if state else 0
    if done:
        print(f"{v.name}: resuming after epoch {done} of {len(plan)}", file=terminal())
    checkpoint.used = {"lr": v.lr, "accum": v.accum}
    schedule = Schedule(plan, v.seed, partial(loaders, v))
    tracking, learn.history.report = tracker(learn, v, done)
    cbs = [schedule, *recipe_cbs(v, started), CacheHoldout(), checkpoint, EpochLog(v.name)]
    with learn.no_logging():  # fastai's table shows a bare error rate
        learn.fit(len(plan) - done, cbs=[*cbs, *tracking])
    history, ended = learn.history, plan[: schedule.done]
    history.seconds, history.started = schedule.seconds, schedule.started
    history.sizes = [epoch.size for epoch in ended]
    history.recorder = Recorder()  # a copy: predictions reset that of the Learner
    vars(history.recorder).update(vars(learn.recorder))
    history.outcome = {"epochs": len(ended), "planned": len(plan), **checkpoint.used,
                       "lr_mult": lr_mult(v), "precision": precision_of(learn.cbs)}
    if v.snapshots != "none":
        history.outcome["snapshots"] = sum(epoch.ends_cycle for epoch in ended)


def _loaders(dls: DataLoaders, variant: Variant, run: Run) -> Callable:
    """DataLoaders by Variant and image size, each made once; `dls` are those of `variant`."""
    made = {(variant.size, variant.accum): dls}

    def loaders(used: Variant, size: int | str) -> DataLoaders:
        """The DataLoaders at `size`, in batches of `used.bs / used.accum` images."""
        at = size, used.accum
        if at not in made:
            made[at] = vision.get_dls(run.folder, run.folds, replace(used, size=size, sizes=""))
        return made[at]

    return loaders


def _halved(variant: Variant, error: Exception) -> Variant:
    """`variant` with batches in twice as many parts, or the next number that divides them."""
    parts = range(2 * variant.accum, variant.bs // FEWEST + 1)
    accum = next((n for n in parts if variant.bs % n == 0), None)
    message = f"out of memory at batch size {variant.bs // variant.accum}"
    if accum is None:
        raise UserError(f"{message}; choose a smaller arch or size") from error
    print(f"{message}; retrying with {variant.bs // accum}", file=terminal())
    return replace(variant, accum=accum)


def _free(learn: Learner) -> None:
    """Release what an interrupted batch holds."""
    if torch.is_autocast_enabled("cuda"):
        learn.mixed_precision.autocast.__exit__(None, None, None)
    learn.loss_grad = None
    learn.model.zero_grad(set_to_none=True)
    learn._end_cleanup()
    gc.collect()
    torch.cuda.empty_cache()
