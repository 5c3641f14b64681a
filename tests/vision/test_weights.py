"""Weights of a file, or random ones; a file that cannot be used is one line."""

import pytest
import timm
import torch
from conftest import refusal
from safetensors.torch import save_file
from small_training import loaders, tiny

from src import vision
from src.training import get_learner
from src.vision.weights import find

pytestmark = pytest.mark.usefixtures("in_this_process")


@pytest.fixture
def dls(competition_once, tmp_path):
    """DataLoaders on the tiny competition: these tests train nothing."""
    return loaders(competition_once, tmp_path, tiny())


@pytest.fixture
def weights():
    """Random weights of the tiny ResNet, as a headless timm model has them."""
    return timm.create_model("test_resnet", num_classes=0).state_dict()


def body_weights(learn) -> dict:
    return learn.model[0].model.state_dict()


@pytest.mark.parametrize(
    ("name", "save"), [("own.safetensors", save_file), ("own.pth", torch.save)]
)
def test_local_weights_are_the_body_of_the_learner(dls, weights, tmp_path, name, save):
    save(weights, tmp_path / name)
    learn = get_learner(dls, tiny(pretrained=str(tmp_path / name)))
    body = body_weights(learn)
    assert body.keys() == weights.keys()
    assert all(torch.equal(body[key], weights[key]) for key in body)


def test_without_weights_the_body_is_random_and_seeded(dls, weights):
    bodies = [body_weights(get_learner(dls, tiny(seed=seed))) for seed in (1, 1, 2)]
    one, again, other = (body["conv1.0.weight"] for body in bodies)
    assert torch.equal(one, again) and not torch.equal(one, other)


@pytest.mark.parametrize("name", ["none.safetensors", "."])
def test_missing_file_or_a_folder_is_refused_before_any_work(tmp_path, name):
    line = refusal(find, tiny(pretrained=str(tmp_path / name)))
    assert "no such weights file" in line and str(tmp_path) in line


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("empty.pth", lambda path: path.write_bytes(b"")),
        ("text.safetensors", lambda path: path.write_text("these are no weights\n" * 50)),
        ("list.pth", lambda path: torch.save([1, 2], path)),
        ("of_another_architecture.safetensors", lambda path: save_file(
            timm.create_model("test_convnext", num_classes=0).state_dict(), path)),
    ],
)
def test_weights_file_that_cannot_be_loaded_is_one_line(dls, tmp_path, name, write):
    path = tmp_path / name
    write(path)
    line = refusal(get_learner, dls, tiny(pretrained=str(path)))
    assert line.startswith(f"no weights for test_resnet from {path} (")
    assert "-p pretrained PATH" in line and "-p pretrained false" in line


def test_bug_without_weights_is_not_taken_for_missing_weights(dls, monkeypatch):
    monkeypatch.setattr(vision, "create_kwargs", lambda *_: {"nonsense": 1})
    with pytest.raises(TypeError):
        get_learner(dls, tiny())
