"""The fused forward pass answers as the model does, or is not used."""

import pytest
import timm
import torch
from fastai.vision.all import CrossEntropyLossFlat, DataLoaders, Learner
from torch import nn

from src.predict.forward import CHUNK, forward_of


def learner(model: nn.Module) -> Learner:
    """A Learner around `model` as `load_learner` gives it: no data, ready to be asked."""
    return Learner(DataLoaders([]), model, loss_func=CrossEntropyLossFlat())


class Moody(nn.Module):
    """A model that answers otherwise each time: a graph would repeat its first mood for ever."""

    def __init__(self):
        super().__init__()
        self.weights, self.times = nn.Parameter(torch.eye(3)), 0

    def forward(self, images):
        self.times += 1
        return self.times * images.amax((2, 3)) @ self.weights


class Untraceable(Moody):
    """A model that no graph can be made of."""

    def forward(self, images):
        if torch.jit.is_tracing():
            raise ValueError("not while you are watching")
        return super().forward(images)


def test_the_fused_pass_gives_the_model_s_answers_for_any_number_of_images():
    for arch in ("test_convnext", "test_vit", "test_resnet"):
        torch.manual_seed(0)
        model = timm.create_model(arch, num_classes=5, img_size=64) if "vit" in arch else (
            timm.create_model(arch, num_classes=5))
        learn = learner(model)
        fused = forward_of(learn, (64, 64), fused=True)
        assert fused is not learn.model
        for number in (1, CHUNK, CHUNK + 3):
            images = torch.randn(number, 3, 64, 64)
            with torch.inference_mode():
                ours, theirs = fused(images), learn.model.eval()(images)
            assert ours.shape == (number, 5)
            torch.testing.assert_close(ours.softmax(1), theirs.softmax(1), atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind, why", [(Moody, "differs"), (Untraceable, "watching")])
def test_a_model_that_cannot_be_fused_is_asked_as_it_is_and_says_so(kind, why, capsys):
    learn = learner(kind())
    assert forward_of(learn, (32, 32), fused=True) is learn.model
    said = capsys.readouterr().err
    assert "without a fused graph" in said and why in said


def test_few_images_are_answered_by_the_model_itself_in_evaluation_mode():
    learn = learner(timm.create_model("test_resnet", num_classes=3).train())
    assert forward_of(learn, (32, 32), fused=False) is learn.model
    assert not learn.model.training
