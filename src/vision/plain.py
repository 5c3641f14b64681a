"""The plain view of an item image: fastai's batch transforms without augmentation, but faster.

fastai averages the image down to twice the view's size, then samples that bilinearly; on a CPU
this costs more than the forward pass of a small model. Along each axis it is one banded matrix: two
matrix products give the same pixels to a thousandth of a grey level.
"""

import math
from functools import lru_cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from src.vision.views import Frame, whole_box

BLOCK = 32  # rows of a banded matrix per block: the band stays in the processor's cache

Band = list[tuple[slice, Tensor]]  # per block of rows: the inputs with weights, and these weights


def plain_view(item: Image.Image, frame: Frame) -> Tensor:
    """The plain view of a resized photograph: float32, 3 × height × width, 0 … 1."""
    rows, columns = operators(frame)
    x = torch.from_numpy(np.asarray(item, np.float32)).flatten(1)
    x = torch.cat([block @ x[used] for used, block in rows])
    x = x.unflatten(1, (-1, 3)).permute(2, 0, 1).contiguous()
    return torch.cat([x[..., used] @ block.T for used, block in columns], -1)


@lru_cache(maxsize=64)
def operators(frame: Frame) -> tuple[Band, Band]:
    """The banded matrices of the y and the x axis."""
    box = whole_box(frame)
    reduction = box[0] / frame.size[1] / 2  # sic: fastai 2.8 takes height by width
    axes = zip(box[:2], box[2:], frame.item_size, frame.size, (1.0, 1 / 255), strict=True)
    return tuple(_band(_weights(*axis[:4], reduction) * axis[4]) for axis in axes)


def _weights(side: int, start: int, item: int, size: int, reduction: float) -> np.ndarray:
    """size × item: averages over cells of `reduction` pixels, then bilinear samples of these."""
    cells = math.floor(side * (1 / reduction)) if reduction > 1 else side
    edges = np.arange(cells + 1) * side / cells
    pixels = np.arange(item) - start
    area = (pixels >= np.floor(edges[:-1, None])) & (pixels < np.ceil(edges[1:, None]))
    positions = np.linspace(0, cells - 1, size)[:, None]
    bilinear = (1 - np.abs(np.arange(cells) - positions)).clip(0)
    return bilinear @ (area / area.sum(1, keepdims=True))


def _band(weights: np.ndarray) -> Band:
    """Blocks of rows, each without its columns of zeros left and right."""
    blocks = []
    for rows in np.split(weights, range(BLOCK, len(weights), BLOCK)):
        nonzero = np.flatnonzero(rows.any(0))
        used = slice(int(nonzero[0]), int(nonzero[-1]) + 1)
        blocks.append((used, torch.from_numpy(rows[:, used].copy()).float()))
    return blocks
