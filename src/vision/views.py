"""Random and fixed views of a photograph, each cut in one resample at its final size.

    image = open_image(path)                                # once per photograph
    photo = shrink(image, frame)                            # once per frame
    views = [sample_view(view_rng(seed, image_id, k), frame) for k in range(4)]
    batch = cut(photo, views, frame)                        # uint8, 4 × height × width × 3

The draws are those of fastai 2.8 in training, and so in `tta`: a random place for crop and pad, as
`Resize` has it, then `aug_transforms(size=size, min_scale=min_scale)`. A view depends on its seed,
image and number alone. Coordinates are x, y from -1 to 1, edge to edge; sizes are height, width.

OpenCV resamples bytes, which on a CPU takes far less time than torch's sampling of floats.
"""

import hashlib
import math
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from src.core import UserError, Variant, height_width

WARP, DEGREES, ZOOM, LIGHTING = 0.2, 10.0, 1.1, 0.2  # fastai's aug_transforms
P_CHANGE = 0.75  # of each change but the flip
GREYS = (np.arange(256) / 255).clip(1e-7, 1 - 1e-7)
LOGIT = np.log(GREYS / (1 - GREYS))
CROP_SHARE = 0.875  # of the plain view's side, in the five crops

cv2.setNumThreads(0)  # each core works on photographs of its own; threads do not survive a fork


class Frame(NamedTuple):
    """How a model looks at photographs: resized to `item_size`, then augmented to `size`."""

    item_size: tuple[int, int]
    resize: str
    size: tuple[int, int]
    min_scale: float


def frame_of(variant: Variant) -> Frame:
    """How the model of `variant` looks at photographs."""
    item_size, size = height_width(variant.item_size), height_width(variant.size)
    return Frame(item_size, variant.resize, size, variant.min_scale)


class View(NamedTuple):
    """One look at a photograph: where its pixels lie in the item image, and in what light."""

    matrix: np.ndarray  # 3 × 3, from pixel (x, y, 1) of the view to the item image
    at: tuple[float, float] = (0.5, 0.5)  # place of the crop or the padding, 0 … 1
    brightness: float = 0.5  # 0.5 changes nothing
    contrast: float = 1.0


def view_rng(seed: int, image_id: str, number: int) -> np.random.Generator:
    """The random numbers of one view, the same in any order, batch or rerun."""
    digest = hashlib.sha256(f"{seed}/{image_id}/{number}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))


def sample_view(rng: np.random.Generator, frame: Frame) -> View:
    """Draw a view as fastai's training transforms would."""
    at = rng.random(), rng.random()
    flip = -1.0 if rng.random() < 0.5 else 1.0
    warp = _draw(rng, 0, -WARP, WARP), _draw(rng, 0, -WARP, WARP)
    degrees = _draw(rng, 0, -DEGREES, DEGREES)
    zoom = _draw(rng, 1, 1, ZOOM), rng.random(), rng.random()
    matrix = homography(frame, random_box(rng, frame), flip, warp, degrees, zoom)
    brightness = _draw(rng, 0.5, 0.5 * (1 - LIGHTING), 0.5 * (1 + LIGHTING))
    contrast = math.exp(_draw(rng, 0, math.log(1 - LIGHTING), -math.log(1 - LIGHTING)))
    return View(matrix, at, brightness, contrast)


def fixed_views(kind: str, frame: Frame) -> list[View]:
    """The views of `kind` beside the plain one.

    flips: the mirrored one; crops: corners and centre; rotations: the other three quarter turns.
    """
    box = height, width, top, left = whole_box(frame)
    if kind == "flips":
        return [View(homography(frame, box, flip=-1.0))]
    if kind == "rotations":
        return [View(homography(frame, box, degrees=degrees)) for degrees in (90, 180, 270)]
    if kind == "crops":
        h, w = round(CROP_SHARE * height), round(CROP_SHARE * width)
        places = [(0, 0), (0, 1), (1, 0), (1, 1), (0.5, 0.5)]
        boxes = [(h, w, top + y * (height - h), left + x * (width - w)) for y, x in places]
        return [View(homography(frame, box)) for box in boxes]
    raise UserError(f"unknown views {kind!r}; known: flips, crops, rotations")


def random_box(rng: np.random.Generator, frame: Frame) -> tuple[int, int, int, int]:
    """Height, width, top, left of a crop of the item image, as `data.batch_tfms` draws it."""
    height, width = frame.item_size
    scale = math.sqrt(rng.uniform(frame.min_scale, 1))
    h, w = round(scale * height), round(scale * width)
    return h, w, int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))


def whole_box(frame: Frame) -> tuple[int, int, int, int]:
    """Height, width, top, left of what the plain view shows: all of the item image."""
    return *frame.item_size, 0, 0


def homography(
    frame: Frame,
    box: tuple[float, float, float, float],
    flip: float = 1.0,
    warp: tuple[float, float] = (0.0, 0.0),
    degrees: float = 0.0,
    zoom: tuple[float, float, float] = (1.0, 0.5, 0.5),
) -> np.ndarray:
    """3 × 3 matrix from a pixel of the view to the item image: crop, zoom, turn, flip, warp.

    `zoom` is the factor and the place of its centre, (x, y) from 0 to 1.
    """
    height, width = frame.item_size
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    scale = 1 / zoom[0]
    x, y = ((1 - scale) * (2 * place - 1) for place in zoom[1:])
    affine = [  # as in fastai: the shift knows no aspect, so an oblong image turns off-centre
        [flip * cos * scale, flip * sin * scale * height / width, flip * (cos * x + sin * y)],
        [-sin * scale * width / height, cos * scale, cos * y - sin * x],
        [0, 0, 1],
    ]
    matrix = _warp(*warp) @ np.array(affine) @ _from_pixels(frame, box)
    # fastai measures between the centres of the outer pixels, we between their outer edges.
    matrix[0] *= 1 - 1 / width
    matrix[1] *= 1 - 1 / height
    return matrix


def cut(photo: np.ndarray, views: list[View], frame: Frame) -> np.ndarray:
    """Cut all `views` out of one photograph: uint8, views × height × width × 3.

    `photo` is what `shrink` returned. Beyond the item image its mirror image is seen, as in
    fastai; where `pad` padded it, black.
    """
    seen = np.empty((len(views), *frame.size, 3), np.uint8)
    photo = cv2.cvtColor(photo, cv2.COLOR_RGB2RGBA)  # four channels are sampled twice as fast
    for view, out in zip(views, seen, strict=True):
        _cut_one(photo, view, frame, out)
    return seen


def _cut_one(photo: np.ndarray, view: View, frame: Frame, out: np.ndarray) -> None:
    item = _item_image(photo, view.at, frame)
    matrix = _to_pixels(item.shape[:2]) @ view.matrix
    how = {"flags": cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, "borderMode": cv2.BORDER_REFLECT}
    pixels = cv2.warpPerspective(item, matrix, frame.size[::-1], **how)
    cv2.LUT(cv2.cvtColor(pixels, cv2.COLOR_RGBA2RGB), light_table(view), out)


def _item_image(photo: np.ndarray, at: tuple[float, float], frame: Frame) -> np.ndarray:
    """The item image in the photograph's pixels: all or a part of it, or black beside it."""
    (height, width), (scale, _) = photo.shape[:2], resize_map(photo.shape[:2], frame, at)
    h, w = max(1, round(scale[1] * height)), max(1, round(scale[0] * width))
    top, left = round(at[1] * (height - h)), round(at[0] * (width - w))
    if h <= height and w <= width:
        return photo[top : top + h, left : left + w]
    edges = -top, h - height + top, -left, w - width + left
    return cv2.copyMakeBorder(photo, *edges, cv2.BORDER_CONSTANT)


def resize_map(photo_size: tuple[int, int], frame: Frame, at: tuple[float, float]) -> list:
    """[[x, y] scale, [x, y] shift] from the item image to the photograph, both -1 … 1."""
    if frame.resize in ("squish", "rect"):
        return [[1.0, 1.0], [0.0, 0.0]]
    ratios = [p / i for p, i in zip(photo_size, frame.item_size, strict=True)]
    pixels = min(ratios) if frame.resize == "crop" else max(ratios)
    scale = [pixels / ratio for ratio in reversed(ratios)]
    return [scale, [(2 * a - 1) * (1 - s) for a, s in zip(at, scale, strict=True)]]


def light_table(view: View) -> np.ndarray:
    """What brightness and contrast make of the 256 values, by fastai's formula."""
    logit = LOGIT + math.log(view.brightness / (1 - view.brightness))
    return np.round(255 / (1 + np.exp(-view.contrast * logit))).astype(np.uint8)


def shrink(image: Image.Image, frame: Frame) -> np.ndarray:
    """The photograph as uint8, height × width × 3, ready for `cut`."""
    sides = list(zip(image.size, _wanted(image.size[::-1], frame), strict=True))
    size = [max(1, min(pixels, round(wanted))) for pixels, wanted in sides]
    # Averaging takes four times as long; little would be left out without it.
    near = all(pixels <= 1.5 * side for pixels, side in zip(image.size, size, strict=True))
    how = cv2.INTER_LINEAR if near else cv2.INTER_AREA
    return cv2.resize(np.asarray(image), size, interpolation=how)


def reduction(photo_size: tuple[int, int], frame: Frame) -> int:
    """The scale a JPEG may be decoded at, 1, 2, 4 or 8, before `shrink` has its pixels from it."""
    least = np.divide(photo_size[::-1], _wanted(photo_size, frame)).min()
    return max(factor for factor in (1, 2, 4, 8) if factor == 1 or least >= factor)


def _wanted(photo_size: tuple[int, int], frame: Frame) -> list[float]:
    """Pixels, x and y, the whole photograph is shrunk to, so that views are as sharp as fastai's.

    fastai averages an item image down to half its size; a view takes 1 to 1.75 pixels for one.
    """
    scale, _ = resize_map(photo_size, frame, (0.5, 0.5))
    sides = zip(frame.item_size[::-1], frame.size[::-1], scale, strict=True)
    return [min(max(item / 2, out), 1.75 * out) / share for item, out, share in sides]


def _draw(rng: np.random.Generator, neutral: float, low: float, high: float) -> float:
    return rng.uniform(low, high) if rng.random() < P_CHANGE else neutral


def _warp(x: float, y: float) -> np.ndarray:
    """The perspective that takes corners (u, v), moved to (u - yuv, v - xuv), back to (u, v)."""
    s, p, q = 1 - x * x - y * y, x * (x * x - y * y - 1), y * (y * y - x * x - 1)
    return np.array([[s, 2 * x * y, p], [2 * x * y, s, q], [p, q, s]]) / s


def _to_pixels(size: tuple[int, int]) -> np.ndarray:
    """3 × 3 matrix from -1 … 1, edge to edge, to the pixels of an image of `size`."""
    height, width = size
    return np.array([[width / 2, 0, (width - 1) / 2], [0, height / 2, (height - 1) / 2], [0, 0, 1]])


def _from_pixels(frame: Frame, box: tuple[float, float, float, float]) -> np.ndarray:
    """From a pixel of the view to the item image, -1 and 1 in its outer pixels' centres.

    fastai averages a large crop down to twice the view's size, then samples from centre to centre.
    """
    reduction = max(1, box[0] / frame.size[1] / 2)  # sic: fastai 2.8 takes height by width
    matrix = np.eye(3)
    for axis, (side, start, out, item) in enumerate(
        zip(box[1::-1], box[:1:-1], frame.size[::-1], frame.item_size[::-1], strict=True)
    ):
        cell = side / int(side / reduction)
        step = (side - cell) / max(out - 1, 1)
        matrix[axis, axis] = 2 * step / (item - 1)
        matrix[axis, 2] = 2 * (start + cell / 2 - 0.5) / (item - 1) - 1
    return matrix
