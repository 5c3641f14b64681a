"""`precompute`: the head learns what it would from plain images, without reading them again."""

import pytest
import torch
from fastai.vision.all import Callback
from small_training import saved_weights, tiny, train

from src.training.callbacks import finder
from src.vision import augment

pytestmark = pytest.mark.usefixtures("in_this_process")
FROZEN = {"augment": "fast", "freeze_epochs": 3, "epochs": 1}


def always_plain(views, path, *, call=augment.FastViews.__call__, **_):
    """`FastViews` without augmentation, in training too."""
    return call(views, path, split_idx=1)


class Watch(Callback):
    """After each epoch the weights of body and head, what was shown, the dimensions of batches (4
    are images, 2 features); and how often the body was run.
    """

    order = 70

    def before_fit(self):
        self.parts, self.shown, self.dims, self.runs = [], [], [], 0
        self.model[0].register_forward_pre_hook(lambda _, given: self.count(*given))

    def count(self, images):
        self.runs += images.ndim == 4  # features pass through

    def before_epoch(self):
        self.dims.append(set())

    def before_batch(self):
        self.dims[-1].add(self.x.ndim)

    def after_epoch(self):
        self.parts.append([torch.cat([t.detach().flatten() for t in part.state_dict().values()])
                           for part in self.model])
        self.shown.append(list(self.recorder.values[-1]))


class PlainAndConstant(Callback):
    """Frozen means frozen: the body's norm layers rest, too, and images are not augmented."""

    def before_batch(self):
        if self.training:
            frozen = self.schedule.plan[self.schedule.done].phase.frozen
            self.model[0].eval().requires_grad_(not frozen)


@pytest.mark.parametrize("arch", ["test_resnet", "test_vit", "test_convnext"])
def test_head_is_the_one_that_plain_images_would_train_and_they_are_read_once(
    competition_once, tmp_path, monkeypatch, arch
):
    recipe = FROZEN | {"arch": arch, "pretrained": saved_weights(tmp_path, arch)}
    train(competition_once, tmp_path / "cached", tiny(precompute=True, **recipe), ours := Watch())
    once, an_epoch = 3 + 1, 3 + 1  # batches of training images and of the hold-out
    assert ours.runs == once + an_epoch
    monkeypatch.setattr(augment.FastViews, "__call__", always_plain)
    slow = tiny(**recipe)
    train(competition_once, tmp_path / "read", slow, PlainAndConstant(), theirs := Watch())
    for epoch in range(3):
        (body, head), (their_body, their_head) = ours.parts[epoch], theirs.parts[epoch]
        assert torch.equal(body, their_body)
        torch.testing.assert_close(head, their_head, rtol=1e-4, atol=1e-5)
        assert ours.shown[epoch] == pytest.approx(theirs.shown[epoch], rel=1e-4)
    assert not torch.allclose(ours.parts[0][1], ours.parts[2][1], atol=1e-3)  # it does learn
    assert not torch.equal(ours.parts[2][0], ours.parts[3][0])  # and then the body, too


def test_everything_else_of_a_recipe_goes_with_it(competition_once, tmp_path, monkeypatch):
    monkeypatch.setattr(finder, "BATCHES", 20)
    recipe = FROZEN | {
        "pretrained": saved_weights(tmp_path), "precompute": True, "ema": 0.5, "sampler": "hard",
        "accum": 2, "size": 48, "sizes": "32,48", "epochs": 2, "lr": "find", "time_limit": 60,
        "targets": "disease+variety+age",
    }
    learn = train(competition_once, tmp_path, tiny(**recipe), seen := Watch())
    assert seen.dims == [{2}, {2}, {2}, {4}, {4}]
    assert learn.model[1][-1].out_features == 3


def test_without_a_hold_out_there_are_features_all_the_same(competition_once, tmp_path):
    variant = tiny(**FROZEN, pretrained=saved_weights(tmp_path), precompute=True, fold="all")
    learn = train(competition_once, tmp_path, variant, seen := Watch())
    assert seen.dims == [{2}, {2}, {2}, {4}]
    assert learn.recorder.values[0][1:] == [None, None]
