"""The pixels of views, each resampled once, at its final size, on the CPU or on a GPU.

    image = open_image(path)                                # once per photograph
    photo = shrink(image, frame)                            # once per frame
    views = [sample_view(view_rng(seed, image_id, k), frame) for k in range(4)]
    batch = cut(photo, views, frame)                        # uint8, 4 × 3 × height × width
"""

import math

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

cv2.setNumThreads(0)  # every core has its own photographs; OpenCV's threads do not survive a fork


def shrink(image: Image.Image, frame: Frame) -> np.ndarray:
    """The photograph as uint8, height × width × 3, ready for `cut`."""
    sides = zip(image.size, _shrunk_size(image.size[::-1], frame), strict=True)
    size = [max(1, min(pixels, round(side))) for pixels, side in sides]
    # Averaging takes four times as long; up to a factor of 1.5, bilinear skips few pixels.
    near = all(pixels <= 1.5 * side for pixels, side in zip(image.size, size, strict=True))
    method = cv2.INTER_LINEAR if near else cv2.INTER_AREA
    return cv2.resize(np.asarray(image), size, interpolation=method)


def reduction(photo_size: Size, frame: Frame) -> int:
    """By how much a JPEG may be reduced while decoding, 1, 2, 4 or 8, without loss for `shrink`."""
    least = np.divide(photo_size[::-1], _shrunk_size(photo_size, frame)).min()
    return max(factor for factor in (1, 2, 4, 8) if factor == 1 or least >= factor)


def _shrunk_size(photo_size: Size, frame: Frame) -> list[float]:
    """Width and height of the whole photograph shrunk until views are as sharp as fastai's.

    fastai averages an item image down to half its size; here 1 to 1.75 pixels become one.
    """
    scale, _ = resize_map(photo_size, frame, (0.5, 0.5))
    sides = zip(frame.item_size[::-1], frame.size[::-1], scale, strict=True)
    return [min(max(item / 2, out), 1.75 * out) / share for item, out, share in sides]


def cut(photo: np.ndarray, views: list[View], frame: Frame, device: torch.device = CPU) -> Tensor:
    """All `views` of one photograph: uint8, views × 3 × height × width, on `device`.

    `photo` is what `shrink` returned. Outside the item image its mirror image is shown, as in
    fastai; outside a padded photograph, black. A GPU differs from the CPU by a few grey levels and
    in the edge pixels of a padding.
    """
    if device.type != "cpu":
        return cut_on_gpu(photo, views, frame, device)
    pixels = np.empty((len(views), *frame.size, 3), np.uint8)
    photo = cv2.cvtColor(photo, cv2.COLOR_RGB2RGBA)  # four channels are resampled twice as fast
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP  # of bytes: far faster than torch on floats
    for view, out in zip(views, pixels, strict=True):
        item = _item_image(photo, view.at, frame)
        matrix = _to_pixels(item.shape[:2]) @ view.matrix
        rgba = cv2.warpPerspective(
            item, matrix, frame.size[::-1], flags=flags, borderMode=cv2.BORDER_REFLECT
        )
        cv2.LUT(cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB), light_table(view), out)
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


def cut_on_gpu(
    photo: np.ndarray, views: list[View], frame: Frame, device: torch.device
) -> Tensor:
    """`cut` by torch: the GPU receives the shrunk photograph instead of all its views."""
    pixels = torch.from_numpy(photo).to(device).permute(2, 0, 1).float()
    grid = _item_grid(np.stack([view.matrix for view in views]), frame.size, device)
    grid = 1 - ((grid + 1) % 4 - 2).abs()  # mirror images outside the edges
    maps = np.array([resize_map(photo.shape[:2], frame, view.at) for view in views])
    scale, shift = torch.from_numpy(maps).float().to(device)[..., None, None].unbind(1)
    grid.mul_(scale).add_(shift)
    photos, points = pixels.expand(len(views), -1, -1, -1), grid.permute(0, 2, 3, 1)
    out = F.grid_sample(photos, points, padding_mode="border", align_corners=False)
    if frame.resize == "pad":
        out *= (grid.abs() <= 1).all(1, keepdim=True)
    tables = torch.from_numpy(np.stack([light_table(view) for view in views])).to(device)
    return tables.gather(1, out.add_(0.5).to(torch.uint8).flatten(1).long()).view_as(out)


def _item_grid(matrices: np.ndarray, size: Size, device: torch.device) -> Tensor:
    """Where the pixels of `size` lie in the item image: views × (x, y) × height × width."""
    x = torch.arange(size[1], device=device, dtype=torch.float32)
    y = torch.arange(size[0], device=device, dtype=torch.float32)[:, None]
    a, b, c = torch.from_numpy(matrices).float().to(device)[..., None, None].unbind(2)
    points = a * x + (b * y + c)
    return points[:, :2].div_(points[:, 2:])


def _item_image(photo: np.ndarray, at: tuple[float, float], frame: Frame) -> np.ndarray:
    """The item image in the photograph's pixels: the whole, a crop, or padded with black."""
    (height, width), (scale, _) = photo.shape[:2], resize_map(photo.shape[:2], frame, at)
    h, w = max(1, round(scale[1] * height)), max(1, round(scale[0] * width))
    top, left = round(at[1] * (height - h)), round(at[0] * (width - w))
    if h <= height and w <= width:
        return photo[top : top + h, left : left + w]
    edges = -top, h - height + top, -left, w - width + left
    return cv2.copyMakeBorder(photo, *edges, cv2.BORDER_CONSTANT)


def resize_map(photo_size: Size, frame: Frame, at: tuple[float, float]) -> list:
    """[[x, y] scale, [x, y] shift] from the item image to the photograph, both -1 … 1."""
    if frame.resize in ("squish", "rect"):
        return [[1.0, 1.0], [0.0, 0.0]]
    ratios = [p / i for p, i in zip(photo_size, frame.item_size, strict=True)]
    pixels = min(ratios) if frame.resize == "crop" else max(ratios)
    scale = [pixels / ratio for ratio in reversed(ratios)]
    return [scale, [(2 * a - 1) * (1 - s) for a, s in zip(at, scale, strict=True)]]


def light_table(view: View) -> np.ndarray:
    """The 256 grey levels after brightness and contrast, by fastai's formula."""
    logit = LOGIT + math.log(view.brightness / (1 - view.brightness))
    return np.round(255 / (1 + np.exp(-view.contrast * logit))).astype(np.uint8)


def _to_pixels(size: Size) -> np.ndarray:
    """3 × 3 matrix from -1 … 1, edge to edge, to the pixels of an image of `size`."""
    height, width = size
    return np.array([[width / 2, 0, (width - 1) / 2], [0, height / 2, (height - 1) / 2], [0, 0, 1]])
