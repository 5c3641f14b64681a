"""The plan: learning rates batch by batch, frozen epochs, sizes; fastai's own as proof."""

import math

import numpy as np
import pytest
import torch
from fastai.vision.all import Callback, set_seed
from small_training import begun, flat, run_of, saved_weights, tiny, train

from src.training import schedule
from src.training.schedule import make_plan

pytestmark = pytest.mark.usefixtures("in_this_process")
BATCHES = 3  # of an epoch: 24 images, 8 at a time


def cosine(batches: int, lr: float = 0.01) -> list[float]:
    """A cosine from `lr` to 0, at the beginning of each batch."""
    return [lr * (1 + math.cos(math.pi * batch / batches)) / 2 for batch in range(batches)]


class Watch(Callback):
    """Notes of every batch its image size, of every epoch whether body and head were trained."""

    order = 70

    def before_fit(self):
        self.sizes, self.moved, self.rates = [], [], []
        self.parts = self.model[0], self.model[1]

    def before_epoch(self):
        self.before = [self.weights(part) for part in self.parts]
        self.sizes.append(set())

    def before_batch(self):
        self.sizes[-1].add((self.training, *self.x.shape[-2:]))
        self.rates.append([hyper["lr"] for hyper in self.opt.hypers])

    def after_epoch(self):
        pairs = zip(self.before, self.parts, strict=True)
        self.moved.append([not torch.equal(old, self.weights(part)) for old, part in pairs])

    @staticmethod
    def weights(part):
        return torch.cat([p.detach().flatten() for p in part.parameters() if p.ndim > 1])


# sgdr


@pytest.mark.parametrize(
    ("cycles", "length", "mult", "epochs"),
    [(3, 1, 2, [1, 2, 4]), (3, 2, 1, [2, 2, 2]), (2, 1, 3, [1, 3]), (1, 5, 2, [5])],
)
def test_sgdr_has_cycles_of_the_lengths_asked_for(cycles, length, mult, epochs):
    variant = tiny(schedule="sgdr", cycles=cycles, cycle_len=length, cycle_mult=mult)
    plan = make_plan(variant)
    assert len(plan) == variant.scheduled == sum(epochs)
    assert [e.phase.epochs for e in plan if e.number == 0] == epochs


def test_sgdr_falls_along_a_cosine_batch_by_batch_and_starts_anew(competition_once, tmp_path):
    variant = tiny(schedule="sgdr", cycles=3, cycle_len=1, cycle_mult=2)
    learn = train(competition_once, tmp_path, variant)
    expected = [lr for epochs in (1, 2, 4) for lr in cosine(epochs * BATCHES)]
    np.testing.assert_allclose(learn.recorder.lrs, expected, rtol=1e-6)
    np.testing.assert_allclose(learn.recorder.hps["lr"], expected, rtol=1e-6)


# fastai's schedules, as fastai has them


class Seeds(Callback):
    """Seeds each epoch as `Schedule` does, over both fits of a `fine_tune`."""

    order = 60

    def before_epoch(self):
        seed = 42 * schedule.EPOCHS_PER_SEED + getattr(self, "count", 0)
        set_seed(seed, reproducible=True)
        self.dls.train.rng.seed(seed)
        self.count = getattr(self, "count", 0) + 1


def test_fine_tune_comes_to_the_weights_of_fastais_fine_tune(competition_once, tmp_path):
    weights = saved_weights(tmp_path)
    variant = tiny(pretrained=weights, epochs=2, freeze_epochs=2, lr_mult=10)
    run = run_of(competition_once, tmp_path, variant)
    reference = begun(run, variant, Seeds())
    start = flat(reference)
    reference.fine_tune(2, variant.lr, freeze_epochs=2, lr_mult=10)
    learn = train(competition_once, tmp_path, variant)
    assert (flat(learn) - start).abs().max() > 1e-2
    torch.testing.assert_close(flat(learn), flat(reference), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["one_cycle", "fine_tune"])
def test_random_weights_are_trained_in_fastais_one_cycle(competition_once, tmp_path, name):
    variant = tiny(epochs=2, schedule=name)
    run = run_of(competition_once, tmp_path, variant)
    reference = begun(run, variant, Seeds())
    reference.fit_one_cycle(2, variant.lr)
    learn = train(competition_once, tmp_path, variant)
    assert learn.recorder.hps["lr"] == pytest.approx(reference.recorder.hps["lr"])
    assert learn.recorder.hps["mom"] == pytest.approx(reference.recorder.hps["mom"])
    torch.testing.assert_close(flat(learn), flat(reference), rtol=1e-4, atol=1e-6)


# frozen, and slower


@pytest.mark.parametrize(("name", "frozen"), [("fine_tune", 2), ("one_cycle", 0), ("sgdr", 2)])
def test_only_the_head_is_trained_for_freeze_epochs(competition_once, tmp_path, name, frozen):
    variant = tiny(pretrained=saved_weights(tmp_path), schedule=name, cycles=1,
                   freeze_epochs=frozen)
    train(competition_once, tmp_path, variant, watch := Watch())
    assert watch.moved == [[False, True]] * frozen + [[True, True]]


def test_the_body_learns_lr_mult_times_slower_than_the_head(competition_once, tmp_path):
    variant = tiny(pretrained=saved_weights(tmp_path), freeze_epochs=0, lr_mult=20)
    train(competition_once, tmp_path, variant, watch := Watch())
    body, head = np.array(watch.rates).T
    np.testing.assert_allclose(head / body, 20, rtol=1e-6)


def test_random_weights_all_learn_alike(competition_once, tmp_path):
    train(competition_once, tmp_path, tiny(lr_mult=20), watch := Watch())
    body, head = np.array(watch.rates).T
    np.testing.assert_array_equal(body, head)


# sizes


@pytest.mark.parametrize(
    ("epochs", "sizes", "expected"),
    [(6, "32,48,64", [32, 32, 48, 48, 64, 64]), (4, "32,48,64", [32, 32, 48, 64]),
     (3, "32,48,64", [32, 48, 64]), (3, "", [64, 64, 64]), (2, "48x32,64", ["48x32", 64])],
)
def test_the_epochs_are_shared_out_among_the_sizes(epochs, sizes, expected):
    assert [e.size for e in make_plan(tiny(epochs=epochs, size=64, sizes=sizes))] == expected


@pytest.mark.parametrize("arch", ["test_resnet", "test_vit"])
def test_images_grow_within_one_training(competition_once, tmp_path, arch):
    variant = tiny(arch=arch, pretrained=saved_weights(tmp_path, arch), epochs=2, size=48,
                   sizes="32,48")
    learn = train(competition_once, tmp_path, variant, watch := Watch())
    assert watch.sizes == [{(kind, size, size) for kind in (True, False)} for size in (32, 32, 48)]
    assert learn.dls.one_batch()[0].shape[-2:] == (48, 48)
    assert len(learn.recorder.values) == 3 and len(learn.recorder.lrs) == 3 * BATCHES
