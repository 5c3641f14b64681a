"""`augment: fast`: from a photograph's file to a random view of it at the final size, in one step.

The distribution is fastai's, from a JPEG decoded at a reduced scale and resampled once. What is not
training looks exactly as after fastai's transforms, so a bundle predicts the same either way.
"""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
from fastai.vision.all import Normalize, TensorImage, Transform
from torch import Tensor

from src.vision.photograph import open_image
from src.vision.pixels import cut, plain_view, shrink
from src.vision.views import Frame, sample_view


class FastViews(Transform):
    """File to pixels, 3 × height × width, 0 … 255: uint8 in training, float32 otherwise.

    `resize` makes the item image of the plain view.
    """

    input_types = (str, Path)

    def __init__(self, frame: Frame, resize: Callable) -> None:
        super().__init__()
        self.frame, self.resize = frame, resize

    def __call__(self, path: str | Path, split_idx: int | None = None, **_: object) -> TensorImage:
        """A random view in training (split 0), else the plain one.

        Not `encodes`: its dispatch by type costs time for every image.
        """
        if split_idx != 0:
            item = self.resize(open_image(path), split_idx=1)
            return TensorImage(plain_view(item, self.frame) * 255)
        # fastai seeds `random` differently in every loader process and epoch.
        rng = np.random.default_rng(random.getrandbits(64))
        return TensorImage(random_view(path, self.frame, rng))


class NormalizeBytes(Normalize):
    """fastai's `IntToFloatTensor` and `Normalize` in one, from 0 … 255."""

    def encodes(self, x: TensorImage) -> TensorImage:
        """The batch as floats, normalised."""
        return x.float().sub_(self.mean * 255).div_(self.std * 255)


def random_view(path: str | Path, frame: Frame, rng: np.random.Generator) -> Tensor:
    """One view with the distribution of fastai's training transforms: uint8, 3 × height × width."""
    photo = shrink(open_image(path, frame), frame)
    return cut(photo, [sample_view(rng, frame)], frame)[0].contiguous()
