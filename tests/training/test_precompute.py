"""`precompute`: the head learns what it would from plain images, without reading them again."""

import pytest
import torch
from fastai.vision.all import Callback
from small_training import Watch, saved_weights, tiny, train

from src.training.callbacks import finder
from src.vision import augment

pytestmark = pytest.mark.usefixtures("in_this_process")
FROZEN = {"augment": "fast", "freeze_epochs": 3, "epochs": 1}


def always_plain(views, path, *, call=augment.FastViews.__call__, **_):
    """`FastViews` without augmentation, in training too."""
    return call(views, path, split_idx=1)


def dims(watch: Watch) -> list[int]:
    """The dimensions of each batch: 4 are images, 2 features."""
    return [batch.images.ndim for batch in watch.batches]


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
    fast, slow = tiny(precompute=True, **recipe), tiny(**recipe)
    ours = train(competition_once, tmp_path / "cached", fast, seen := Watch())
    assert dims(seen) == [2] * 9 + [4] * 3 and [x.ndim for x in seen.valid] == [2] * 3 + [4]
    monkeypatch.setattr(augment.FastViews, "__call__", always_plain)
    theirs = train(competition_once, tmp_path / "read", slow, PlainAndConstant(), plain := Watch())
    for one, other in zip(seen.weights[:10], plain.weights[:10], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    for one, other in zip(ours.recorder.values[:3], theirs.recorder.values[:3], strict=True):
        assert list(one) == pytest.approx(list(other), rel=1e-4)
    assert not torch.allclose(seen.weights[0], seen.weights[9], atol=1e-3)  # it does learn


def test_everything_else_of_a_recipe_goes_with_it(competition_once, tmp_path, monkeypatch):
    monkeypatch.setattr(finder, "BATCHES", 20)
    recipe = FROZEN | {
        "pretrained": saved_weights(tmp_path), "precompute": True, "ema": 0.5, "sampler": "hard",
        "accum": 2, "size": 48, "sizes": "32,48", "epochs": 2, "lr": "find", "time_limit": 60,
        "targets": "disease+variety+age",
    }
    learn = train(competition_once, tmp_path, tiny(**recipe), seen := Watch())
    assert dims(seen) == [2] * 18 + [4] * 12
    assert learn.model[1][-1].out_features == 3


def test_without_a_hold_out_there_are_features_all_the_same(competition_once, tmp_path):
    variant = tiny(**FROZEN, pretrained=saved_weights(tmp_path), precompute=True, fold="all")
    learn = train(competition_once, tmp_path, variant, seen := Watch())
    assert dims(seen) == [2] * 9 + [4] * 3
    assert learn.recorder.values[0][1:] == [None, None]
