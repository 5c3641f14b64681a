"""The recipe: gradients gathered rightly, seeded, frozen only if pretrained, visible."""

import random

import pytest
import timm
import torch
from conftest import TINY
from fastai.callback.core import CancelStepException
from fastai.callback.fp16 import MixedPrecision
from fastai.vision.all import Callback, DataLoaders, GradientAccumulation, Learner
from safetensors.torch import save_file

from src import data
from src.folds import get_folds
from src.train import fit, get_learner
from src.variant import make_variant


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    """No loader processes, one thread: the models are tiny, their start is not."""
    monkeypatch.setattr(data, "workers", lambda: 0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def loaders(competition_once, tmp_path):
    """Variant → its DataLoaders on the tiny competition."""
    def make(variant):
        folds = get_folds(competition_once, variant.seed, tmp_path)
        return data.get_dls(competition_once, folds, variant)
    return make


@pytest.fixture
def weights_file(tmp_path) -> str:
    """Weights of a tiny ResNet, random but saved: enough to be called pretrained."""
    path = tmp_path / "test_resnet.safetensors"
    save_file(timm.create_model("test_resnet", num_classes=0).state_dict(), path)
    return str(path)


def tiny(**changes):
    """The tiny variant of the tests, with `changes`."""
    return make_variant(**TINY | changes)


def flat(learn: Learner) -> torch.Tensor:
    """All weights of `learn` in one row."""
    return torch.cat([p.detach().flatten().cpu() for p in learn.model.parameters()])


# gradient accumulation


class GradientsAtStep(Callback):
    """Keeps the gradients of each optimiser step, and lets the weights be.

    Without the two things that look at a batch as a whole or at random, batch norm's statistics
    and dropout, one full batch and its parts must agree.
    """

    order = GradientAccumulation.order + 1  # asked only when enough images were seen

    def before_fit(self):
        self.seen = []

    def before_batch(self):
        self.model.eval()

    def before_step(self):
        gradients = [p.grad.flatten() for p in self.model.parameters() if p.grad is not None]
        self.seen.append(torch.cat(gradients))
        raise CancelStepException


def gradients(dls, variant, without: type[Callback] | None = None) -> list[torch.Tensor]:
    """Gradients at every step of an epoch over the same 16 images in the same order."""
    images = sorted(dls.train_ds.items)[:16]
    plain = dls.test_dl(images, with_labels=True, bs=dls.train.bs)
    learn = get_learner(DataLoaders(plain, plain), variant)
    if without:
        learn.remove_cb(without)
    learn.fit(1, cbs=[watch := GradientsAtStep()])
    return watch.seen


@pytest.mark.parametrize("accum", [2, 4, 8])
def test_accumulated_gradient_is_the_one_of_the_full_batch(loaders, accum):
    full, parts = (tiny(bs=8, accum=n) for n in (1, accum))
    assert loaders(parts).train.bs == 8 // accum
    wanted, seen = (gradients(loaders(variant), variant) for variant in (full, parts))
    assert len(wanted) == len(seen) == 2  # 16 images, a step every 8
    for one, other in zip(wanted, seen, strict=True):
        assert one.abs().max() > 1e-3
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)


def test_parts_of_a_batch_alone_have_other_gradients_so_the_test_above_can_fail(loaders):
    full, parts = (tiny(bs=8, accum=n) for n in (1, 4))
    wanted = gradients(loaders(full), full)
    alone = gradients(loaders(parts), parts, without=GradientAccumulation)
    assert len(alone) == 8
    assert not any(torch.allclose(wanted[0], one, rtol=1e-3, atol=1e-6) for one in alone)


def test_nothing_is_gathered_at_accum_1(loaders):
    learn = get_learner(loaders(tiny()), tiny())
    assert not any(isinstance(cb, GradientAccumulation) for cb in learn.cbs)


# the recipe


def test_seeded_training_repeats_to_the_last_bit(loaders):
    variant, ends = tiny(epochs=2), []
    for number in (1, 2):
        random.seed(number)  # whatever happened before: a fresh kernel is in another state
        torch.manual_seed(number)
        ends.append(flat(fit(get_learner(loaders(variant), variant), variant)))
    assert torch.equal(*ends)


def test_another_seed_shuffles_otherwise(loaders):
    orders = []
    for seed in (1, 2):
        learn = fit(get_learner(loaders(tiny()), tiny()), tiny(seed=seed))
        orders.append(learn.dls.train.get_idxs())
    assert sorted(orders[0]) == sorted(orders[1]) and orders[0] != orders[1]


def test_random_weights_train_as_a_whole_from_the_first_epoch(loaders):
    learn = get_learner(loaders(tiny()), tiny())
    assert all(p.requires_grad for p in learn.model.parameters())
    before = flat(learn)
    fit(learn, tiny())
    changed = (flat(learn) != before).float().mean()
    assert changed > 0.95
    assert len(learn.recorder.values) == 1  # one cycle of `epochs`, no epoch for the head alone


def test_pretrained_body_is_frozen_for_one_epoch_and_trained_afterwards(loaders, weights_file):
    variant = tiny(pretrained=weights_file, epochs=2)
    learn = get_learner(loaders(variant), variant)
    body = [p for m in learn.model[0].modules() if isinstance(m, torch.nn.Conv2d)
            for p in m.parameters()]
    head = [p for m in learn.model[1].modules() if isinstance(m, torch.nn.Linear)
            for p in m.parameters()]
    before = [p.detach().clone() for p in body]
    assert not any(p.requires_grad for p in body) and all(p.requires_grad for p in head)

    class BodyPerEpoch(Callback):
        """Whether the body has moved by the end of each epoch."""

        def before_fit(self):
            self.moved = getattr(self, "moved", [])

        def after_epoch(self):
            pairs = zip(before, body, strict=True)
            self.moved.append(any(not torch.equal(old, new) for old, new in pairs))

    learn.add_cb(watch := BodyPerEpoch())
    fit(learn, variant)
    assert watch.moved == [False, True, True]


def test_epochs_and_lr_are_those_of_the_variant(loaders):
    variant = tiny(epochs=3, lr=0.005)
    learn = fit(get_learner(loaders(variant), variant), variant)
    assert len(learn.recorder.values) == 3
    assert max(learn.recorder.hps["lr"]) == pytest.approx(0.005, rel=0.1)
    assert learn.recorder.metric_names[1:-1] == ["train_loss", "valid_loss", "error_rate"]
    assert learn.seconds > 0


@pytest.mark.parametrize("cuda", [True, False])
def test_half_precision_is_used_on_cuda_only(loaders, monkeypatch, cuda):
    dls = loaders(tiny())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    learn = get_learner(dls, tiny())
    assert any(isinstance(cb, MixedPrecision) for cb in learn.cbs) == cuda


# progress


def test_each_epoch_is_a_line_on_the_terminal_with_its_figures(loaders, capsys):
    variant = tiny(epochs=2)
    fit(get_learner(loaders(variant), variant), variant)
    lines = capsys.readouterr().err.replace("\r", "\n").splitlines()
    for epoch in ("epoch 1/2", "epoch 2/2"):
        last = [line for line in lines if line.startswith(epoch)][-1]
        assert "100%" in last and "4/4" in last  # 3 batches of training, 1 of the hold-out
        assert all(name in last for name in ("train_loss=", "valid_loss=", "error_rate="))


def test_without_a_hold_out_only_the_training_loss_is_told(loaders, capsys):
    variant = tiny(fold="all")
    learn = fit(get_learner(loaders(variant), variant), variant)
    assert learn.recorder.values[0][1:] == [None, None]
    last = capsys.readouterr().err.replace("\r", "\n").splitlines()[-1]
    assert "100%" in last and "train_loss=" in last and "error_rate" not in last
