"""Occlusion: the place that the answer hangs on is found, for every resize and for the mean."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from simulated import ensemble_of
from small_bundles import sure

from src.core import make_variant
from src.looking import occlusion

PLACES = occlusion.PLACES


@pytest.fixture
def spot(tmp_path):
    """A grey photograph with a white square in the third of its eight rows, the sixth column."""
    pixels = np.full((640, 480, 3), 90, np.uint8)
    pixels[160:240, 300:360] = 255
    Image.fromarray(pixels).save(tmp_path / "spot.png")
    return tmp_path / "spot.png"


def seen_by(monkeypatch, file, **recipe):
    """The map of a model that is the surer the brighter the brightest pixel is."""
    import torch

    class Brightest(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(1))

        def forward(self, x):
            most = x.amax((1, 2, 3)) * self.scale
            return torch.stack([2 * most, torch.zeros_like(most)], 1)

    activation = SimpleNamespace(activation=lambda logits: logits.softmax(-1))
    learn = SimpleNamespace(model=Brightest(), loss_func=activation)
    monkeypatch.setattr(occlusion.bundle, "load", lambda models, name: learn)
    variant = make_variant(arch="test_vit", item_size=96, size=64, **recipe).recipe
    ((image, probs),) = occlusion._predict({"name": "x", "variant": variant}, {"spot": file})
    assert image == "spot" and probs.shape == (1 + PLACES**2, 2)
    return (probs[0, 0] - probs[1:, 0]).reshape(PLACES, PLACES)


@pytest.mark.parametrize("resize", ["squish", "crop", "pad"])
def test_the_map_shows_where_the_spot_is_in_the_photograph(monkeypatch, spot, resize):
    fall = seen_by(monkeypatch, spot, resize=resize)
    assert np.unravel_index(fall.argmax(), fall.shape) == (2, 5)
    assert fall.max() > 0.1 and np.abs(fall[4:]).max() < 0.01
    said = occlusion.place_phrase("blast", fall)
    assert said == (f"the brightest place, upper centre, is worth {fall.max():.2f} of the "
                    "probability of blast")


def test_what_a_crop_cuts_off_is_no_place(monkeypatch, spot):
    pixels = np.asarray(Image.open(spot)).copy()
    pixels[:60] = 255  # a crop shows the middle 480 of 640 rows
    Image.fromarray(pixels).save(spot)
    fall = seen_by(monkeypatch, spot, resize="crop")
    assert np.unravel_index(fall.argmax(), fall.shape) == (2, 5) and (fall[0] == 0).all()


@pytest.fixture
def pair(monkeypatch, tmp_path, spot):
    """An ensemble of two models that need different places, and how often each predicted."""
    labels = {"spot": "a"}
    tables = {name: sure(labels, ["a", "b"]) for name in ("one", "two")}
    ensemble, calls = ensemble_of(tables, pd.Series(labels)), []
    for member in ensemble.members:
        member.models[0] |= {"name": member.name, "sha256": member.name * 9, "classes": ["a", "b"]}

    def predict(card, files):
        calls.append(card["name"])
        of_a = np.full(1 + PLACES**2, 0.8)
        of_a[1 + (0 if card["name"] == "one" else 9)] = 0.2
        for image in files:
            yield image, np.stack([of_a, 1 - of_a], 1)

    held = {"plain": tables["one"]}
    monkeypatch.setattr(occlusion, "_predict", predict)
    monkeypatch.setattr(occlusion.bundle, "read_predictions", lambda *words: held)
    monkeypatch.setenv("PADDY_WORK", str(tmp_path / "work"))
    return ensemble, calls


def test_a_map_of_the_ensemble_is_of_the_mean_of_its_members_and_made_once(pair, spot):
    ensemble, calls = pair
    for _ in range(2):
        fall = occlusion.occlusion_maps(ensemble, {"spot": spot})["spot"]
        assert fall[0, 0] == pytest.approx(0.3) == fall[1, 1] and fall.sum() == pytest.approx(0.6)
    assert calls == ["one", "two"]
    doubled = [member._replace(weight=1 + (member.name == "one")) for member in ensemble.members]
    fall = occlusion.occlusion_maps(ensemble._replace(members=doubled), {"spot": spot})["spot"]
    assert fall[0, 0] == pytest.approx(0.4) and calls == ["one", "two"]
    Image.new("RGB", (9, 9)).save(spot)  # another picture of the same name
    occlusion.occlusion_maps(ensemble, {"spot": spot})
    assert calls == ["one", "two"] * 2


def test_without_a_place_that_matters_the_caption_says_so():
    fall = np.full((PLACES, PLACES), -0.2)
    fall[3, 3] = 0.049
    assert occlusion.place_phrase("hispa", fall).startswith("no single place: ")
    fall[7, 0] = 0.05
    assert "lower left, is worth 0.05 of the probability of hispa" in occlusion.place_phrase(
        "hispa", fall)


def test_the_picture_is_bright_where_the_answer_falls(tmp_path):
    fall = np.full((PLACES, PLACES), -0.3)
    fall[0, 7] = 0.2
    light = np.asarray(occlusion.lit(Image.new("RGB", (80, 160), (200, 100, 50)), fall))
    assert light.shape == (160, 80, 3)
    assert light[0, 79].tolist() == [200, 100, 50] and light[150, 5].tolist() == [60, 30, 15]
