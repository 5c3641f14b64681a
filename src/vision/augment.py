"""Augmentation in one step: from a photograph's file to a random view of it, cut at its final size.

`augment: fast` puts `FastViews` where fastai resizes each photograph to `item_size` and then
augments batches of these. It draws what fastai draws, but reads a JPEG at a reduced scale and
resamples it once. Without augmentation, on the hold-out and whatever else is predicted, the model
sees exactly what fastai's transforms would show it, as in `src.tta`: a bundle predicts the same way
whichever way it was trained.
"""

import random
import weakref
from collections import deque
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from fastai.vision.all import Normalize, TensorImage, Transform
from torch import Tensor

from src.vision.photograph import open_image
from src.vision.plain import plain_view
from src.vision.views import Frame, cut, sample_view, shrink

SPARE: deque[np.ndarray] = deque(maxlen=2)  # memory of the last batches that are no longer used


class FastViews(Transform):
    """File to pixels, 3 × height × width, 0 … 255: uint8 in training, float32 otherwise.

    `resize` makes the item image of the plain view.
    """

    input_types = (str, Path)

    def __init__(self, frame: Frame, resize: Callable) -> None:
        super().__init__()
        self.frame, self.resize = frame, resize

    def __call__(self, path: str | Path, split_idx: int | None = None, **_: object) -> TensorImage:
        """The view of one photograph, a random one of the split 0.

        Not `encodes`: that would be looked up by its argument's type again for each image.
        """
        if split_idx != 0:
            item = self.resize(open_image(path), split_idx=1)
            return TensorImage(plain_view(item, self.frame) * 255)
        # fastai seeds `random`, in every loader process and every epoch another way.
        rng = np.random.default_rng(random.getrandbits(64))
        return TensorImage(random_view(path, self.frame, rng))


class NormalizeBytes(Normalize):
    """fastai's `IntToFloatTensor` and `Normalize` in one, from 0 … 255.

    On a CPU into memory that was used before.
    """

    def encodes(self, x: TensorImage) -> TensorImage:
        """The batch as floats, normalised."""
        on_cpu = x.device.type == "cpu"
        floats = TensorImage(_lent(x.shape)).copy_(x) if on_cpu else x.float()
        return floats.sub_(self.mean * 255).div_(self.std * 255)


def _lent(shape: tuple[int, ...]) -> Tensor:
    """Memory for a batch of floats, lent again once no tensor refers to it.

    Above 32 MB the system hands out new pages each time, which takes longer than to fill them.
    """
    memory = SPARE.pop() if SPARE else None
    if memory is None or memory.shape != shape:
        memory = np.empty(shape, np.float32)
    alias = memory.view()  # torch holds on to it, and to nothing else
    weakref.finalize(alias, SPARE.append, memory).atexit = False
    return torch.from_numpy(alias)


def random_view(path: str | Path, frame: Frame, rng: np.random.Generator) -> Tensor:
    """One view as fastai's training transforms would draw it: uint8, 3 × height × width."""
    photo = shrink(open_image(path, frame), frame)
    view = cut(photo, [sample_view(rng, frame)], frame)[0]
    return torch.from_numpy(np.stack(cv2.split(view)))
