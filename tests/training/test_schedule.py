"""The plan: learning rates batch by batch, frozen epochs, sizes; fastai's own as proof."""

import math

import numpy as np
import pytest
import torch
from fastai.vision.all import Callback
from small_training import Watch, begun, flat, run_of, saved_weights, tiny, train

from src.training.schedule import lr_mult, make_plan, seed_epoch

pytestmark = pytest.mark.usefixtures("in_this_process")
BATCHES = 3  # of an epoch: 24 images, 8 at a time


def test_sgdr_falls_along_a_cosine_batch_by_batch_and_starts_anew(competition_once, tmp_path):
    variant = tiny(schedule="sgdr", cycles=2, cycle_len=1, cycle_mult=2, lr_mult=20)
    learn = train(competition_once, tmp_path, variant, watch := Watch())
    expected = [variant.lr * (1 + math.cos(math.pi * batch / count)) / 2
                for count in (BATCHES, 2 * BATCHES) for batch in range(count)]
    np.testing.assert_allclose(learn.recorder.lrs, expected, rtol=1e-6)
    np.testing.assert_allclose(learn.recorder.hps["lr"], expected, rtol=1e-6)
    body, head = zip(*(batch.rates for batch in watch.batches), strict=True)
    np.testing.assert_array_equal(body, head)  # random weights: the same rate for all


class Seeds(Callback):
    """Seeds each epoch as `Schedule` does, over both fits of a `fine_tune`."""

    order, count = 60, 0

    def before_epoch(self):
        seed_epoch(42, self.count, self.dls.train)
        self.count += 1


def test_fine_tune_comes_to_the_weights_of_fastais_fine_tune(competition_once, tmp_path):
    weights = saved_weights(tmp_path)
    variant = tiny(pretrained=weights, epochs=2, freeze_epochs=2, lr_mult=20)
    reference = begun(run_of(competition_once, tmp_path, variant), variant, Seeds())
    start = flat(reference)
    reference.fine_tune(2, variant.lr, freeze_epochs=2, lr_mult=20)
    learn = train(competition_once, tmp_path, variant)
    assert learn.history.outcome["lr_mult"] == 20
    assert (flat(learn) - start).abs().max() > 1e-2
    torch.testing.assert_close(flat(learn), flat(reference), rtol=1e-4, atol=1e-6)


def test_random_weights_are_trained_in_fastais_one_cycle(competition_once, tmp_path):
    variant = tiny(epochs=2, schedule="fine_tune")
    reference = begun(run_of(competition_once, tmp_path, variant), variant, Seeds())
    reference.fit_one_cycle(2, variant.lr)
    learn = train(competition_once, tmp_path, variant)
    for hyper in ("lr", "mom"):
        assert learn.recorder.hps[hyper] == pytest.approx(reference.recorder.hps[hyper])
    torch.testing.assert_close(flat(learn), flat(reference), rtol=1e-4, atol=1e-6)


def test_the_head_alone_for_freeze_epochs_then_cycles_of_growing_length_and_a_slower_body():
    variant = tiny(schedule="sgdr", cycles=2, cycle_len=2, cycle_mult=3, pretrained=True,
                   freeze_epochs=2, lr_mult=20)
    plan = make_plan(variant)
    assert len(plan) == 2 + variant.scheduled == 2 + 2 + 6
    assert [epoch.phase.frozen for epoch in plan] == [True] * 2 + [False] * 8
    assert [number for number, epoch in enumerate(plan) if epoch.ends_cycle] == [3, 9]
    assert {epoch.phase.mult for epoch in plan[2:]} == {20}


@pytest.mark.parametrize(
    ("changes", "mult"),
    [({"arch": "mobilenetv2_100"}, 3), ({"arch": "tf_efficientnet_lite0"}, 3),
     ({"arch": "vit_small", "size": 224}, 100), ({"arch": "vit_small", "lr_mult": 7}, 7),
     ({"arch": "mobilenetv2_100", "pretrained": False}, 1)],
)
def test_the_body_is_slower_by_its_family_unless_a_number_or_random_weights_say_otherwise(
    changes, mult
):
    variant = tiny(**{"pretrained": True} | changes)
    assert make_plan(variant)[-1].phase.mult == lr_mult(variant) == mult


@pytest.mark.parametrize(
    ("epochs", "sizes", "expected"),
    [(6, "32,48,64", [32, 32, 48, 48, 64, 64]), (4, "32,48,64", [32, 32, 48, 64]),
     (3, "32,48,64", [32, 48, 64]), (3, "", [64, 64, 64]), (2, "48x32,64", ["48x32", 64])],
)
def test_the_epochs_are_shared_out_among_the_sizes(epochs, sizes, expected):
    assert [e.size for e in make_plan(tiny(epochs=epochs, size=64, sizes=sizes))] == expected


def test_images_grow_within_one_training(competition_once, tmp_path):
    variant = tiny(pretrained=saved_weights(tmp_path), epochs=2, size=48, sizes="32,48")
    learn = train(competition_once, tmp_path, variant, watch := Watch())
    sizes = [batch.images.shape[-2:] for batch in watch.batches[::BATCHES]]
    assert sizes == [images.shape[-2:] for images in watch.valid] == [(32, 32), (32, 32), (48, 48)]
    assert learn.dls.one_batch()[0].shape[-2:] == (48, 48)
    assert len(learn.recorder.values) == 3 and len(learn.recorder.lrs) == 3 * BATCHES
