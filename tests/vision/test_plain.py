"""The plain view: the pixels that fastai's own batch transforms show without augmenting."""

import numpy as np
import pytest
import torch
from fastai.vision.all import Normalize, PILImage, Pipeline, TensorImage, image2tensor

from src.core import make_variant
from src.vision import batch_tfms, frame_of, plain_view


def photo(height: int, width: int) -> PILImage:
    """A blurred pattern with noise: it has edges that a wrong place would move."""
    y, x = np.mgrid[:height, :width]
    waves = 100 + 80 * np.sin(x / 7) * np.cos(y / 11)
    noise = np.random.default_rng(0).normal(0, 20, (height, width, 3))
    return PILImage.create((waves[..., None] + noise).clip(0, 255).astype(np.uint8))


def of_fastai(image: PILImage, recipe) -> torch.Tensor:
    """The plain view by fastai's own transforms, but for the normalisation."""
    tfms = [tfm for tfm in batch_tfms(recipe) if not isinstance(tfm, Normalize)]
    pixels = TensorImage(image2tensor(image))[None]
    return torch.Tensor(Pipeline(tfms, split_idx=1)((pixels,))[0][0])


@pytest.mark.parametrize(
    "item_size, size, min_scale",
    [(480, 224, 0.75), (480, 128, 0.75), (480, 224, 1.0), (128, 96, 0.75), (48, 64, 0.75),
     ("640x480", "288x224", 0.75), ("640x480", "320x240", 0.35), (640, 224, 0.75)],
)
def test_it_is_what_fastai_shows_to_a_fraction_of_a_grey_level(item_size, size, min_scale):
    resize = "rect" if isinstance(item_size, str) else "squish"
    recipe = make_variant(arch="test_resnet", item_size=item_size, size=size, resize=resize,
                     min_scale=min_scale)
    frame = frame_of(recipe)
    image = photo(*frame.item_size)
    ours, theirs = plain_view(image, frame), of_fastai(image, recipe)
    assert ours.shape == (3, *frame.size)
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=0.02 / 255)
