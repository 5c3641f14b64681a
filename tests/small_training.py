"""Trainings small enough for a test, in this process."""

import time
from pathlib import Path

import timm
import torch
from conftest import TINY
from fastai.vision.all import Callback, Learner
from safetensors.torch import save_file

from src.data import get_dls
from src.folds import get_folds
from src.notebook import Run
from src.train import fit, get_learner
from src.variant import Variant, make_variant


def tiny(**changes) -> Variant:
    """The tiny variant of the tests, trained for one epoch, with `changes`."""
    return make_variant(**TINY | {"epochs": 1, "lr": 0.01} | changes)


def run_of(data: Path, models: Path, variant: Variant) -> Run:
    """What `notebook.start` returns, without its checks."""
    folds = get_folds(data, variant.seed, models, variant.split)
    return Run(data, models, "paddy_train", folds, time.monotonic())


def begun(run: Run, variant: Variant, *cbs: Callback) -> Learner:
    """A Learner as the notebook has it before `fit`, with callbacks that watch."""
    learn = get_learner(get_dls(run.folder, run.folds, variant), variant)
    return learn.add_cbs(cbs)


def train(data: Path, models: Path, variant: Variant, *cbs: Callback) -> Learner:
    """`variant` trained as the notebook does, with callbacks that watch."""
    run = run_of(data, models, variant)
    return fit(begun(run, variant, *cbs), variant, run)


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
