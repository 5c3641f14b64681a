"""A Variant's training: a pretrained backbone, a plan of epochs, a few callbacks."""

import gc
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from fastai.callback.fp16 import MixedPrecision
from fastai.vision.all import (
    Callback,
    CrossEntropyLossFlat,
    DataLoaders,
    Learner,
    error_rate,
    set_seed,
    vision_learner,
)
from tqdm import tqdm

from src.core import FEWEST, UserError, Variant, terminal
from src.evidence import INTERVAL, error_cell, error_phrase
from src.notebook import Run
from src.training import checkpoint
from src.training.callbacks import targets
from src.training.callbacks.finder import settled
from src.training.callbacks.kept import KeepHoldout
from src.training.callbacks.recipes import recipe_cbs
from src.training.checkpoint import Checkpoint, Place, State
from src.training.schedule import Course, make_plan
from src.vision import (
    create_kwargs,
    fetch,
    forget_file,
    get_dls,
    require_loaded,
    timm_name,
    unusable,
)


def get_learner(dls: DataLoaders, variant: Variant) -> Learner:
    """A Learner on `variant.arch`: ImageNet weights and a new head, or all of it random."""
    weights = fetch(variant)
    set_seed(variant.seed, reproducible=True)
    kwargs = create_kwargs(variant, weights.file)
    try:
        learn = vision_learner(
            dls,
            timm_name(variant.arch),
            pretrained=bool(variant.pretrained),
            loss_func=CrossEntropyLossFlat(label_smoothing=variant.label_smoothing),
            metrics=error_rate,
            cbs=[MixedPrecision()] if torch.cuda.is_available() else [],
            ps=variant.dropout,
            **kwargs,
        )
        require_loaded(learn.model[0], weights)
        forget_file(learn.model[0], variant)
        learn.weights = weights.source
        learn.model.to(memory_format=torch.channels_last)  # the order convolutions are fast in
        return learn
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # each kind of file fails in its own way
        if not weights.file:
            raise
        raise unusable(variant, weights, error) from error


def fit(learn: Learner, variant: Variant, run: Run) -> Learner:
    """Train `learn` by its plan, from where a killed run was; `learn.outcome` tells how it went.

    When memory does not suffice, the batches are halved and the epoch is begun again.
    """
    place, loaders = checkpoint.place_of(variant, run), _loaders(learn.dls, variant, run)
    state, loss = checkpoint.read(place), learn.loss_func
    targets.begin(learn, variant, run.folder)
    used, learn.search = replace(variant, **state.get("used", {})), {}
    while True:
        try:
            used = settled(learn, used, loaders)
            _go_on(learn, used, run, place, state, loaders)
            break
        except torch.OutOfMemoryError as error:
            used = halved(used, error)
        except UserError as error:  # fastai has put the callback's name before it
            raise UserError(str(error).rpartition("\n\t")[2]) from error
        learn.loss_func = loss  # callbacks that were cut short leave their own
        _free(learn)
        state = checkpoint.read(place)
    learn.dls = loaders(used, variant.size)
    learn.remove_cbs(MixedPrecision)
    targets.drop(learn)
    return learn


def _go_on(
    learn: Learner, used: Variant, run: Run, place: Place, state: State, loaders: Callable
) -> None:
    """The epochs that `state` has not yet behind it."""
    plan, done = make_plan(used), checkpoint.done(state)
    if done:
        print(f"{used.name}: going on after epoch {done} of {len(plan)}", file=terminal())
    course = Course(plan, used.seed, partial(loaders, used))
    facts = {"lr": used.lr, "accum": used.accum}
    keeper = Checkpoint(place, facts, state)
    cbs = [course, *recipe_cbs(used, run.started), KeepHoldout(), keeper, EpochLog(used.name)]
    with learn.no_logging():  # fastai's table tells a bare error rate
        learn.fit(len(plan) - done, cbs=cbs)
    learn.seconds = course.seconds
    learn.sizes = [epoch.size for epoch in plan[: course.done]]
    learn.outcome = {"epochs": course.done, "planned": len(plan), **facts}
    if used.snapshots != "none":
        learn.outcome["snapshots"] = sum(epoch.ends_cycle for epoch in plan[: course.done])


def _loaders(dls: DataLoaders, variant: Variant, run: Run) -> Callable:
    """DataLoaders by Variant and image size, each made once; `dls` are those of `variant`."""
    made = {(variant.size, variant.accum): dls}

    def loaders_at(used: Variant, size: int | str) -> DataLoaders:
        """The DataLoaders of `used` at `size`, with batches in as many parts as it has."""
        at = size, used.accum
        if at not in made:
            made[at] = get_dls(run.folder, run.folds, replace(used, size=size, sizes=""))
        return made[at]

    return loaders_at


def halved(variant: Variant, error: Exception) -> Variant:
    """`variant` with batches in twice as many parts, or the next number that divides them."""
    parts = range(2 * variant.accum, variant.bs // FEWEST + 1)
    accum = next((n for n in parts if variant.bs % n == 0), None)
    images = variant.bs // variant.accum
    if accum is None:
        raise UserError(
            f"no memory for a batch of {images} images; choose a smaller arch or size"
        ) from error
    left = variant.bs // accum
    print(f"no memory for {images} images at once; going on with {left}", file=terminal())
    return replace(variant, accum=accum)


def _free(learn: Learner) -> None:
    """Let go of what a batch that did not fit has left behind."""
    if torch.is_autocast_enabled("cuda"):
        learn.mixed_precision.autocast.__exit__(None, None, None)
    learn.loss_grad = None
    learn.model.zero_grad(set_to_none=True)
    learn._end_cleanup()
    gc.collect()
    torch.cuda.empty_cache()


class EpochLog(Callback):
    """Every epoch a bar on the terminal and a row in the notebook, its error told in images.

    Both, because papermill shows a notebook's output only afterwards.
    """

    order = 70  # after the Recorder and ProgressCallback, whose figures and table it uses

    def __init__(self, model_name: str) -> None:
        self.model_name = model_name  # two trainings may share a terminal

    def before_fit(self) -> None:
        """Find the terminal; a log file gets few lines, a screen gets many."""
        self.stream = terminal()
        self.interval = 0.2 if self.stream.isatty() else 30
        self._row("epoch", "train_loss", "valid_loss", f"hold-out error ({INTERVAL})", "time")

    def before_epoch(self) -> None:
        """Start the bar of this epoch."""
        title = f"{self.model_name}: epoch {self.course.done + 1}/{len(self.course.plan)}"
        batches = len(self.dls.train) + len(self.dls.valid)
        self.bar = tqdm(total=batches, desc=title, file=self.stream, mininterval=self.interval)

    def after_batch(self) -> None:
        """Count one batch."""
        self.bar.update()

    def after_epoch(self) -> None:
        """Write the row of this epoch, and close its bar on the same figures."""
        _, trained, valid, error, took = self.recorder.log
        held = len(self.dls.valid_ds)  # 0 with fold=all: no loss, no error
        valid = f"{valid:.4f}" if held else "-"
        wrong = round(error * held) if held else 0
        self._row(self.course.done, f"{trained:.4f}", valid, error_cell(wrong, held), took)
        shown = error_phrase(wrong, held)
        self.bar.set_postfix_str(f"train_loss={trained:.4f}, valid_loss={valid}, {shown}")
        self.bar.close()

    def _row(self, *cells: object) -> None:
        """Add to the table below the notebook's cell, where fastai shows one."""
        bar = getattr(getattr(self, "progress", None), "mbar", None)
        if bar:
            bar.write(list(map(str, cells)), table=True)
