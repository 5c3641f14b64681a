"""The pixels of views: random ones, each resampled once at its final size, and the plain one.

A photograph is shrunk once for each `Frame` (`shrink`), then all its views are cut from it (`cut`).
"""

import math
from functools import lru_cache

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from src.vision.views import Frame, Size, View

GREYS = (np.arange(256) / 255).clip(1e-7, 1 - 1e-7)
LOGIT = np.log(GREYS / (1 - GREYS))
CPU = torch.device("cpu")
BLOCK = 32  # rows of a banded matrix per block: the band stays in the processor's cache
Band = list[tuple[slice, Tensor]]  # per block of rows: the inputs with weights, and these weights

cv2.setNumThreads(0)  # every core has its own photographs; OpenCV's threads do not survive a fork


def shrink(image: Image.Image, frame: Frame) -> np.ndarray:
    """The photograph as uint8, height × width × 3, ready for `cut`."""
    pixels = np.asarray(image)
    whole = np.array(pixels.shape[:2])
    size = np.round(_shrunk_size(whole, frame)).clip(1, whole)
    # Averaging takes four times as long; up to a factor of 1.5, bilinear skips few pixels.
    method = cv2.INTER_LINEAR if (whole <= 1.5 * size).all() else cv2.INTER_AREA
    height, width = size.astype(int).tolist()
    return cv2.resize(pixels, (width, height), interpolation=method)


def reduction(photo_size: Size, frame: Frame) -> int:
    """By how much a JPEG may be reduced while decoding, 1, 2, 4 or 8, without loss for `shrink`."""
    least = (np.array(photo_size) / _shrunk_size(photo_size, frame)).min()
    return max(factor for factor in (1, 2, 4, 8) if factor == 1 or least >= factor)


def _shrunk_size(photo_size: Size, frame: Frame) -> np.ndarray:
    """Height and width of the whole photograph shrunk until views are as sharp as fastai's.

    fastai averages an item image down to half its size; here 1 to 1.75 pixels become one.
    """
    size = np.array(frame.size)
    return np.clip(np.array(frame.item_size) / 2, size, 1.75 * size) / item_share(photo_size, frame)


def item_share(photo_size: Size, frame: Frame) -> np.ndarray:
    """Height and width of the item image, in those of the photograph: a crop's are below 1."""
    if frame.resize in ("squish", "rect"):
        return np.ones(2)
    ratios = np.array(photo_size) / frame.item_size
    return (ratios.min() if frame.resize == "crop" else ratios.max()) / ratios


def cut(photo: np.ndarray, views: list[View], frame: Frame, device: torch.device = CPU) -> Tensor:
    """All `views` of one photograph: uint8, views × 3 × height × width, on `device`.

    `photo` is what `shrink` returned. Outside the item image its mirror image is shown, as in
    fastai; outside a padded photograph, black. A GPU differs from the CPU by a few grey levels.
    """
    if device.type != "cpu":
        return cut_on_gpu(photo, views, frame, device)
    pixels = np.empty((len(views), *frame.size, 3), np.uint8)
    photo = cv2.cvtColor(photo, cv2.COLOR_RGB2RGBA)  # four channels are resampled twice as fast
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP  # of bytes: far faster than torch on floats
    for view, out in zip(views, pixels, strict=True):
        item = _item_image(photo, view, frame)
        height, width = item.shape[:2]
        to_pixels = [[width / 2, 0, (width - 1) / 2], [0, height / 2, (height - 1) / 2], [0, 0, 1]]
        rgba = cv2.warpPerspective(
            item, np.array(to_pixels) @ view.matrix, frame.size[::-1], flags=flags,
            borderMode=cv2.BORDER_REFLECT,
        )
        cv2.LUT(cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB), light_table(view), out)
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


def cut_on_gpu(photo: np.ndarray, views: list[View], frame: Frame, device: torch.device) -> Tensor:
    """`cut` by torch: the GPU receives the shrunk photograph instead of all its views."""
    pixels = torch.from_numpy(photo).to(device).permute(2, 0, 1).float()
    items = []
    for view in views:
        top, bottom, left, right = _item_edges(photo, view, frame)
        items.append(F.pad(pixels, (left, right, top, bottom)))
    x = torch.arange(frame.size[1], device=device, dtype=torch.float32)
    y = torch.arange(frame.size[0], device=device, dtype=torch.float32)[:, None]
    matrices = torch.from_numpy(np.stack([view.matrix for view in views])).float().to(device)
    a, b, c = matrices[..., None, None].unbind(2)
    points = (a * x + (b * y + c)).permute(0, 2, 3, 1)  # views × height × width × (x, y, 1)
    grid = points[..., :2] / points[..., 2:]
    out = F.grid_sample(torch.stack(items), grid, padding_mode="reflection", align_corners=False)
    tables = torch.from_numpy(np.stack([light_table(view) for view in views])).to(device)
    return tables.gather(1, out.add_(0.5).to(torch.uint8).flatten(1).long()).view_as(out)


def _item_image(photo: np.ndarray, view: View, frame: Frame) -> np.ndarray:
    """The item image in the photograph's pixels: the whole, a crop, or padded with black."""
    top, bottom, left, right = edges = _item_edges(photo, view, frame)
    if max(edges) > 0:
        return cv2.copyMakeBorder(photo, *edges, cv2.BORDER_CONSTANT)
    return photo[-top : len(photo) + bottom, -left : photo.shape[1] + right]


def _item_edges(photo: np.ndarray, view: View, frame: Frame) -> list[int]:
    """Pixels to add to the photograph, or if negative to cut off: top, bottom, left, right."""
    whole, edges = photo.shape[:2], []
    for side, share, at in zip(whole, item_share(whole, frame), view.at[::-1], strict=True):
        item = max(1, round(share * side))
        before = -round(at * (side - item))
        edges += [before, item - side - before]
    return edges


def light_table(view: View) -> np.ndarray:
    """The 256 grey levels after brightness and contrast, by fastai's formula."""
    logit = LOGIT + math.log(view.brightness / (1 - view.brightness))
    return np.round(255 / (1 + np.exp(-view.contrast * logit))).astype(np.uint8)


def plain_view(item: Image.Image, frame: Frame) -> Tensor:
    """The view of a resized photograph without augmentation: float32, 3 × height × width, 0 … 1.

    fastai averages the image down to twice the view's size, then samples that bilinearly. Along
    each axis this is one banded matrix, and two matrix products are much faster on a CPU.
    """
    rows, columns = _bands(frame)
    x = torch.from_numpy(np.asarray(item, np.float32)).flatten(1)
    x = torch.cat([block @ x[used] for used, block in rows])
    x = x.unflatten(1, (-1, 3)).permute(2, 0, 1).contiguous()
    return torch.cat([x[..., used] @ block.T for used, block in columns], -1)


@lru_cache(maxsize=64)
def _bands(frame: Frame) -> tuple[Band, Band]:
    """The banded matrices of the y and of the x axis; the latter also divides by 255."""
    factor = frame.item_size[0] / frame.size[1] / 2  # sic: fastai 2.8 takes height by width
    height, width = zip(frame.item_size, frame.size, strict=True)
    return _band(_weights(*height, factor)), _band(_weights(*width, factor) / 255)


def _weights(item: int, size: int, factor: float) -> np.ndarray:
    """size × item: averages over cells of `factor` pixels, then bilinear samples of these."""
    cells = math.floor(item * (1 / factor)) if factor > 1 else item
    edges = np.arange(cells + 1) * item / cells
    pixels = np.arange(item)
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
