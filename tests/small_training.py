"""Trainings small enough for a test, in this process, and what breaks them off."""

import time
from pathlib import Path

import pytest
import timm
import torch
from conftest import TINY
from fastai.vision.all import Callback, DataLoaders, Learner
from safetensors.torch import save_file

from src.competition import get_folds
from src.core import Variant, make_variant
from src.notebook import Run
from src.training import fit, get_learner
from src.vision import get_dls


def tiny(**changes) -> Variant:
    """The tiny variant of the tests, trained for one epoch, with `changes`."""
    return make_variant(**TINY | {"epochs": 1, "lr": 0.01} | changes)


def run_of(data: Path, models: Path, variant: Variant) -> Run:
    """What `notebook.start` returns, without its checks."""
    folds = get_folds(data, variant.seed, models, variant.split)
    return Run(data, models, "paddy_train", folds, time.monotonic())


def loaders(data: Path, models: Path, variant: Variant) -> DataLoaders:
    """The DataLoaders of `variant`, on the split kept in `models`."""
    return get_dls(data, get_folds(data, variant.seed, models), variant)


def begun(run: Run, variant: Variant, *cbs: Callback) -> Learner:
    """A Learner as the notebook has it before `fit`, with callbacks that watch."""
    learn = get_learner(get_dls(run.folder, run.folds, variant), variant)
    return learn.add_cbs(cbs)


def train(data: Path, models: Path, variant: Variant, *cbs: Callback) -> Learner:
    """`variant` trained as the notebook does, with callbacks that watch."""
    run = run_of(data, models, variant)
    return fit(begun(run, variant, *cbs), variant, run)


def untrained(data: Path, models: Path, variant: Variant) -> Learner:
    """A Learner that could be exported; training would not change what is shown with it."""
    learn = begun(run_of(data, models, variant), variant)
    learn.history.seconds = 1.25
    learn.history.outcome = {"epochs": 1, "planned": 1, "lr": 0.01, "accum": 1}
    return learn


def flat(learn: Learner) -> torch.Tensor:
    """All weights and buffers of `learn` in one row."""
    tensors = learn.model.state_dict().values()
    return torch.cat([t.detach().flatten().double().cpu() for t in tensors])


def saved_weights(folder: Path, arch: str = "test_resnet") -> str:
    """A file of random weights for the body of `arch`: enough to be called pretrained."""
    path = folder / f"{arch}.safetensors"
    torch.manual_seed(0)
    save_file(timm.create_model(arch, num_classes=0).state_dict(), path)
    return str(path)


class Stop(Exception):
    """Something that ends a training as a kill does: nothing runs afterwards."""


class StopAt(Callback):
    """Stops in the midst of epoch `number`."""

    def __init__(self, number):
        self.number, self.trained = number, 0

    def after_batch(self):
        if self.training and hasattr(self.learn, "schedule"):  # not in a search for a rate
            self.trained += 1
            if self.schedule.done == self.number and self.iter == 1:
                raise Stop("here")


def interrupted(data, models, variant, number):
    """A training of `variant` that stops in epoch `number`."""
    with pytest.raises(Stop):
        train(data, models, variant, StopAt(number))


class Limit(Callback):
    """A device that holds `images` images of a training batch, from epoch `since` on."""

    def __init__(self, images, since=0):
        self.images, self.since, self.batches = images, since, []

    def before_fit(self):
        if not hasattr(self, "hook"):
            self.hook = self.model.register_forward_pre_hook(self.holder())

    def holder(self):
        def hold(model, arguments):
            if not model.training:
                return
            count = len(arguments[0])
            if count > self.images and self.schedule.done >= self.since:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")
            self.batches.append(count)

        return hold
