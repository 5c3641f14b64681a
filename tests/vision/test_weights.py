"""Weights: random, of a file, of the cache without a request, else of a hub that answers."""

import os
import pickle
from io import BytesIO
from threading import Thread

import pytest
import timm
import torch
from conftest import refusal
from hub_stand_in import hub_stand_in, put_in_cache, weights_of
from huggingface_hub import constants
from safetensors.torch import save_file
from small_training import loaders, tiny

from src import bundle, compare, competition, vision
from src.core import make_variant
from src.training import get_learner, start
from src.vision import backbone, weights

pytestmark = pytest.mark.usefixtures("in_this_process")
REPO = "timm/test_resnet.r160_in1k"
FILE, OLDER = (f"/{REPO}/resolve/main/{name}" for name in weights.FILES)


@pytest.fixture
def cache(tmp_path):
    """The cache of the hub's client, empty."""
    return tmp_path / "hub"


@pytest.fixture
def hub(cache):
    """The only hub that can be reached, empty."""
    with hub_stand_in(cache) as hub:
        yield hub


@pytest.fixture
def dls(competition_once, tmp_path):
    return loaders(competition_once, tmp_path, tiny())


def body_weights(learn) -> dict:
    return learn.model[0].model.state_dict()


def pretrained(**changes):
    """The tiny variant of the tests with timm's weights."""
    return tiny(pretrained=True, **changes)


@pytest.mark.parametrize(("arch", "size"), [("test_resnet", 64), ("test_vit", 96)])
def test_cached_weights_need_no_request_and_are_loaded_as_timm_loads_them(
    hub, cache, monkeypatch, arch, size
):
    content = weights_of(arch)
    path = put_in_cache(cache, timm.get_pretrained_cfg(arch).hf_hub_id, weights.FILES[0], content)
    variant = pretrained(arch=arch, size=size)
    found = weights.fetch(variant)
    assert found == ("cache", path) == weights.find(variant)
    assert hub.requests == []
    kwargs = backbone.create_kwargs(variant)
    with monkeypatch.context() as offline:  # timm alone would send a request
        offline.setattr(constants, "HF_HUB_OFFLINE", True)
        by_timm = timm.create_model(arch, pretrained=True, num_classes=0, **kwargs).state_dict()
    kwargs |= weights.load_kwargs(variant, found)
    ours = timm.create_model(arch, pretrained=True, num_classes=0, **kwargs).state_dict()
    assert ours.keys() == by_timm.keys()
    assert all(torch.equal(ours[key], by_timm[key]) for key in ours)


def test_safetensors_are_taken_first_and_an_older_file_where_there_are_none(hub, cache):
    older = put_in_cache(cache, REPO, weights.FILES[1], b"older")
    assert weights.find(pretrained()) == ("cache", older)
    newer = older.with_name(weights.FILES[0])
    newer.write_bytes(b"newer")
    assert weights.find(pretrained()) == ("cache", newer) and hub.requests == []


def test_learner_says_where_its_weights_come_from_and_keeps_no_path(hub, cache, data, models):
    put_in_cache(cache, REPO, weights.FILES[0], weights_of("test_resnet"))
    learn = get_learner(loaders(data, models, pretrained()), pretrained())
    assert learn.history.weights == "cache"
    assert learn.model[0].model.pretrained_cfg == timm.create_model("test_resnet").pretrained_cfg
    torch.save(learn.model, file := BytesIO(), pickle_module=pickle)
    assert os.fsencode(cache) not in file.getvalue()


def test_cached_file_that_cannot_be_read_is_one_line_with_its_path(hub, cache, data, models):
    path = put_in_cache(cache, REPO, weights.FILES[0], b"no weights")
    line = refusal(get_learner, loaders(data, models, pretrained()), pretrained())
    assert line.startswith(f"no weights for test_resnet from {path} (") and "delete it" in line


def test_one_request_shows_that_the_hub_answers_and_the_download_waits_for_the_training(hub, cache):
    hub.files[FILE] = weights_of("test_resnet")
    assert weights.find(pretrained()) == ("hub", None)
    assert hub.requests == [f"HEAD {FILE}"] and not cache.exists()
    source, file = weights.fetch(pretrained())
    assert (source, file.read_bytes()) == ("hub", hub.files[FILE])
    assert hub.requests[-1] == f"GET {FILE}"
    assert weights.find(pretrained()) == ("cache", file) and hub.requests[-1] == f"GET {FILE}"


def test_older_repository_without_safetensors_is_downloaded_too(hub):
    hub.files[OLDER] = b"weights"
    assert weights.fetch(pretrained()).file.name == weights.FILES[1]


@pytest.mark.parametrize(
    ("state", "reason"), [("silent", "no answer within"), (503, "503")]
)
def test_hub_that_fails_is_one_line_after_one_request(hub, monkeypatch, state, reason):
    class Impatient(Thread):  # gives up as soon as the request has reached a silent hub
        def join(self, timeout=None):
            hub.reached.wait(60) if state == "silent" else super().join(60)

    monkeypatch.setattr(weights, "Thread", Impatient)
    hub.state = state
    line = refusal(weights.find, pretrained())
    assert line.startswith(f"no weights for test_resnet from {hub.url} (") and reason in line
    for way in ("-p pretrained PATH", "in a row: pretrained: PATH", "-p pretrained false"):
        assert way in line
    assert hub.requests == [f"HEAD {FILE}"]


def test_download_that_breaks_off_is_one_line(hub):
    hub.files[FILE] = hub.files[OLDER] = b""  # what is served ends before it begins
    failed = f"no weights for test_resnet from {hub.url} ("
    assert refusal(weights.fetch, pretrained()).startswith(failed)


def test_nothing_is_requested_offline_or_where_no_weights_are_published(hub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE" in refusal(weights.find, pretrained())
    for arch, where in (("coatnet_0_224", "timm has none"), ("gcvit_tiny", "they are at https://")):
        assert where in refusal(weights.find, make_variant(arch=arch, pretrained=True))
    assert hub.requests == []


def test_training_and_comparison_are_refused_before_they_begin(hub, data, models, monkeypatch):
    hub.state = 503
    monkeypatch.setattr(competition, "require_images", lambda _: pytest.fail("images were read"))
    refused = "no weights for test_resnet from"
    line = refusal(start, pretrained(), "", "", "paddy_train", False)
    assert line.startswith(refused) and not list(models.glob("folds*"))
    assert refusal(compare.plan, pretrained(), 2, data).startswith(refused)


def test_finished_recipe_needs_no_weights(hub, data, models, monkeypatch):
    hub.state = 503
    monkeypatch.setattr(bundle, "is_done", lambda *_: True)
    monkeypatch.setattr(bundle, "read_card", lambda *_: {"notebook": "paddy_train", "held_out": ""})
    compare.plan(pretrained(), 2, data)
    with pytest.raises(SystemExit) as end:
        start(pretrained(), "", "", "paddy_train", False)
    assert end.value.code == 0 and hub.requests == []


@pytest.mark.parametrize(
    ("name", "save"), [("own.safetensors", save_file), ("own.pth", torch.save)]
)
def test_local_weights_are_the_body_of_the_learner(dls, tmp_path, name, save):
    saved = timm.create_model("test_resnet", num_classes=0).state_dict()
    save(saved, tmp_path / name)
    body = body_weights(get_learner(dls, tiny(pretrained=str(tmp_path / name))))
    assert body.keys() == saved.keys()
    assert all(torch.equal(body[key], saved[key]) for key in body)


def test_without_weights_the_body_is_random_and_seeded(dls):
    bodies = [body_weights(get_learner(dls, tiny(seed=seed))) for seed in (1, 1, 2)]
    one, again, other = (body["conv1.0.weight"] for body in bodies)
    assert torch.equal(one, again) and not torch.equal(one, other)


@pytest.mark.parametrize("name", ["none.safetensors", "."])
def test_missing_file_or_a_folder_is_refused_before_any_work(tmp_path, name):
    line = refusal(weights.find, tiny(pretrained=str(tmp_path / name)))
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
