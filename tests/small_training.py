"""Trainings small enough for a test, in this process, and what breaks them off."""

import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import timm
import torch
import torch.nn.functional as F
from conftest import TINY
from fastai.callback.fp16 import MixedPrecision
from fastai.vision.all import Callback, DataLoaders, Learner
from safetensors.torch import save_file

from src.competition import get_folds
from src.core import Variant, make_variant
from src.training import Run, export, fit, get_learner, holdout_probs
from src.training.callbacks.sampler import batch_images
from src.training.precision import Bfloat16
from src.vision import get_dls


def tiny(**changes) -> Variant:
    """The tiny variant of the tests, trained for one epoch, with `changes`."""
    return make_variant(**TINY | {"epochs": 1, "lr": 0.01} | changes)


def run_of(data: Path, models: Path, variant: Variant) -> Run:
    """What `start` returns, without its checks."""
    folds = get_folds(data, variant.seed, models, variant.split)
    return Run(data, models, "paddy_train", folds, time.monotonic())


def loaders(data: Path, models: Path, variant: Variant) -> DataLoaders:
    """The DataLoaders of `variant`, on the split saved in `models`."""
    return get_dls(data, get_folds(data, variant.seed, models), variant)


def begun(run: Run, variant: Variant, *cbs: Callback) -> Learner:
    """A Learner as the notebook has it before `fit`, with callbacks that watch."""
    learn = get_learner(get_dls(run.folder, run.folds, variant), variant)
    return learn.add_cbs(cbs)


def train(data: Path, models: Path, variant: Variant, *cbs: Callback) -> Learner:
    """`variant` trained as the notebook does, with callbacks that watch."""
    run = run_of(data, models, variant)
    return fit(begun(run, variant, *cbs), variant, run)


def exported(data: Path, models: Path, variant: Variant, *cbs: Callback) -> Learner:
    """The same, and its bundle in `models`: refused if it predicts otherwise on reload."""
    learn = train(data, models, variant, *cbs)
    export(learn, variant, holdout_probs(learn, variant), run_of(data, models, variant))
    return learn


def untrained(data: Path, models: Path, variant: Variant) -> Learner:
    """A Learner that could be exported; training would not change what is shown with it."""
    learn = begun(run_of(data, models, variant), variant)
    learn.remove_cbs([MixedPrecision, Bfloat16])  # as after a training
    learn.history.seconds, learn.history.started = [1.25], "2026-01-02T03:04:05+00:00"
    learn.history.recorder = SimpleNamespace(values=[[0.5, 0.75, 1 / 3]])
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


def floats(model: torch.nn.Module) -> torch.Tensor:
    """All weights and measured means of `model` in one row."""
    tensors = [t for t in model.state_dict().values() if t.is_floating_point()]
    return torch.cat([t.detach().flatten() for t in tensors])


class Watch(Callback):
    """What a training does: its batches, the images of the hold-out, the weights after each step.

    A batch has its epoch, images, labels, places in the data set, learning rates and losses.
    """

    order = 70  # after all callbacks that change a batch

    def before_fit(self):
        self.batches, self.valid, self.weights = [], [], [floats(self.model)]

    def before_batch(self):
        if self.training:
            self.batches.append(SimpleNamespace(
                epoch=self.epoch, images=self.x.clone(), labels=self.y.tolist(),
                places=batch_images(self.dls.train, self.iter),
                rates=[hypers["lr"] for hypers in self.opt.hypers],
            ))
        else:
            self.valid.append(self.x.clone())

    def after_loss(self):
        if self.training:
            losses = F.cross_entropy(self.pred, self.y, reduction="none")
            self.batches[-1].losses = losses.detach()

    def after_step(self):
        self.weights.append(floats(self.model))

    def of_epochs(self, name):
        """The labels, or places, of each epoch in the order of the training."""
        epochs = [[] for _ in range(self.batches[-1].epoch + 1)]
        for batch in self.batches:
            epochs[batch.epoch] += getattr(batch, name)
        return epochs


class Stop(Exception):
    """Something that ends a training as a kill does: nothing runs afterwards."""


class StopAt(Callback):
    """Stops, or is killed, in the midst of epoch `number`; counts the batches that are trained."""

    def __init__(self, number=None, kill=False):
        self.number, self.kill, self.trained = number, kill, 0

    def after_batch(self):
        if self.training and hasattr(self.learn, "schedule"):  # not in a search for a rate
            self.trained += 1
            if self.schedule.done == self.number and self.iter == 1:
                if self.kill:
                    os.kill(os.getpid(), signal.SIGKILL)
                raise Stop("here")


def interrupted(data, models, variant, number, *cbs):
    """A training of `variant` that stops in epoch `number`."""
    with pytest.raises(Stop):
        train(data, models, variant, *cbs, StopAt(number))


class Limit(Callback):
    """A device that holds `images` images of a batch, from training batch `since` on.

    With `body` it is the backbone, computing features, that does not fit.
    """

    def __init__(self, images, since=0, body=False):
        self.images, self.since, self.body, self.batches = images, since, body, []

    def before_fit(self):
        if not hasattr(self, "hook"):
            part = self.model[0] if self.body else self.model
            self.hook = part.register_forward_pre_hook(self.holder())

    def holder(self):
        def hold(model, arguments):
            if (model.training or self.body) and arguments[0].ndim == 4:
                if len(arguments[0]) > self.images and len(self.batches) >= self.since:
                    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")
                self.batches.append(len(arguments[0]))

        return hold
