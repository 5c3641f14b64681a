"""A Variant's recipe: a pretrained backbone, fine_tune, accumulated gradients, half precision."""

import time

import torch
from fastai.callback.fp16 import MixedPrecision
from fastai.vision.all import (
    Callback,
    DataLoaders,
    GradientAccumulation,
    Learner,
    error_rate,
    set_seed,
    vision_learner,
)
from tqdm import tqdm

from src.backbone import create_kwargs, require_loaded, timm_name, weights_error
from src.config import terminal
from src.variant import Variant


def get_learner(dls: DataLoaders, variant: Variant) -> Learner:
    """A Learner on `variant.arch`: ImageNet weights and a new head, or all of it random.

    Gradients are gathered over `accum` batches; `GradientAccumulation` counts images, hence `bs`.
    """
    set_seed(variant.seed, reproducible=True)
    cbs = [GradientAccumulation(variant.bs)] if variant.accum > 1 else []
    cbs += [MixedPrecision()] if torch.cuda.is_available() else []
    kwargs = create_kwargs(variant)
    try:
        learn = vision_learner(
            dls,
            timm_name(variant.arch),
            pretrained=bool(variant.pretrained),
            metrics=error_rate,
            cbs=cbs,
            **kwargs,
        )
        require_loaded(learn.model[0], variant)
        return learn
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # each kind of file and of network fails in its own way
        if not variant.pretrained:
            raise
        raise weights_error(variant, error) from error


def fit(learn: Learner, variant: Variant) -> Learner:
    """`fine_tune` of a pretrained backbone; a random one has nothing to protect: one cycle."""
    set_seed(variant.seed, reproducible=True)
    learn.dls.train.rng.seed(variant.seed)  # drawn when dls was made, before any seed was set
    start = time.perf_counter()
    if variant.pretrained:
        learn.fine_tune(variant.epochs, variant.lr, cbs=TerminalProgress())
    else:
        learn.fit_one_cycle(variant.epochs, variant.lr, cbs=TerminalProgress())
    learn.seconds = time.perf_counter() - start
    learn.remove_cbs([cb for cb in learn.cbs if isinstance(cb, MixedPrecision)])
    return learn


class TerminalProgress(Callback):
    """One bar per epoch on the terminal: papermill shows a notebook's output only afterwards."""

    order = 70  # after the Recorder, whose figures it repeats

    def before_fit(self) -> None:
        """Find the terminal; a log file gets few lines, a screen gets many."""
        self.stream = terminal()
        self.interval = 0.2 if self.stream.isatty() else 30

    def before_epoch(self) -> None:
        """Start the bar of this epoch."""
        title = f"epoch {self.epoch + 1}/{self.n_epoch}"
        batches = len(self.dls.train) + len(self.dls.valid)
        self.bar = tqdm(total=batches, desc=title, file=self.stream, mininterval=self.interval)

    def after_batch(self) -> None:
        """Count one batch."""
        self.bar.update()

    def after_epoch(self) -> None:
        """Close the bar on the figures of the epoch."""
        names, values = self.recorder.metric_names[1:-1], self.recorder.values[-1]
        figures = zip(names, values, strict=False)
        # With fold=all nothing is held out: no loss, no error.
        self.bar.set_postfix({n: f"{value:.4f}" for n, value in figures if value is not None})
        self.bar.close()
