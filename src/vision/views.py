"""Random and fixed views of a photograph: where each pixel lies in it, and the lighting.

The distribution is that of fastai 2.8: `Resize`, then `aug_transforms(size=size,
min_scale=min_scale)`. Coordinates are x, y from -1 to 1, edge to edge; sizes are height, width.
"""

import hashlib
import math
from typing import NamedTuple

import numpy as np

from src.core import Variant, height_width

WARP, DEGREES, ZOOM, LIGHTING = 0.2, 10.0, 1.1, 0.2  # fastai's aug_transforms
P_CHANGE = 0.75  # of each transform but the flip
CROP_SHARE = 0.875  # of the plain view's side, in the five crops
Size = tuple[int, int]  # height, width
Box = tuple[float, float, float, float]  # height, width, top, left


class Frame(NamedTuple):
    """How a model sees photographs: resized to `item_size`, then augmented to `size`."""

    item_size: Size
    resize: str
    size: Size
    min_scale: float
    flip_vert: bool = False


def frame_of(variant: Variant) -> Frame:
    """How the model of `variant` sees photographs."""
    item_size, size = height_width(variant.item_size), height_width(variant.size)
    return Frame(item_size, variant.resize, size, variant.min_scale, variant.flip_vert)


class View(NamedTuple):
    """One augmented view: where its pixels lie in the item image, and its lighting."""

    matrix: np.ndarray  # 3 × 3, from pixel (x, y, 1) of the view to the item image
    at: tuple[float, float] = (0.5, 0.5)  # x, y of the resize's crop or padding, 0 … 1
    brightness: float = 0.5  # 0.5: unchanged
    contrast: float = 1.0


def view_rng(seed: int, image_id: str, number: int) -> np.random.Generator:
    """The random generator of one view, the same in any order, batch or rerun."""
    digest = hashlib.sha256(f"{seed}/{image_id}/{number}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))


def sample_view(rng: np.random.Generator, frame: Frame) -> View:
    """A random view with the distribution of fastai's training transforms."""
    at = rng.random(), rng.random()
    flipped = rng.random() < 0.5
    flip = int(rng.integers(8)) if flipped and frame.flip_vert else int(flipped)
    warp = _draw(rng, 0, -WARP, WARP), _draw(rng, 0, -WARP, WARP)
    degrees = _draw(rng, 0, -DEGREES, DEGREES)
    zoom = _draw(rng, 1, 1, ZOOM), rng.random(), rng.random()
    matrix = homography(frame, random_box(rng, frame), flip, warp, degrees, zoom)
    brightness = _draw(rng, 0.5, 0.5 * (1 - LIGHTING), 0.5 * (1 + LIGHTING))
    contrast = math.exp(_draw(rng, 0, math.log(1 - LIGHTING), -math.log(1 - LIGHTING)))
    return View(matrix, at, brightness, contrast)


def fixed_views(kind: str, frame: Frame) -> list[View]:
    """The views of `kind` beside the plain one.

    flips: the mirror image; crops: corners and centre; rotations: by 90, 180 and 270 degrees.
    """
    if kind == "flips":
        return [View(homography(frame, flip=1))]
    if kind == "rotations":
        return [View(homography(frame, degrees=degrees)) for degrees in (90, 180, 270)]
    height, width = frame.item_size
    h, w = round(CROP_SHARE * height), round(CROP_SHARE * width)
    places = [(0, 0), (0, 1), (1, 0), (1, 1), (0.5, 0.5)]
    boxes = [(h, w, y * (height - h), x * (width - w)) for y, x in places]
    return [View(homography(frame, box)) for box in boxes]


def random_box(rng: np.random.Generator, frame: Frame) -> Box:
    """A random crop of the item image, as fastai draws it."""
    height, width = frame.item_size
    scale = math.sqrt(rng.uniform(frame.min_scale, 1))
    h, w = round(scale * height), round(scale * width)
    return h, w, int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))


def homography(
    frame: Frame, box: Box | None = None, flip: int = 0, warp: tuple[float, float] = (0.0, 0.0),
    degrees: float = 0.0, zoom: tuple[float, float, float] = (1.0, 0.5, 0.5),
) -> np.ndarray:
    """3 × 3 matrix from a pixel of the view to the item image: crop, zoom, rotation, flip, warp.

    Without `box` the whole item image; `flip` is a number of `_dihedral`; `zoom` is the factor and
    its centre, (x, y) from 0 to 1.
    """
    height, width = frame.item_size
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    scale = 1 / zoom[0]
    x, y = ((1 - scale) * (2 * place - 1) for place in zoom[1:])
    turn = np.array([[cos, sin], [-sin, cos]])
    affine = _dihedral(flip) @ np.column_stack([turn * scale, turn @ (x, y)])
    affine *= [[1, height / width, 1], [width / height, 1, 1]]  # as in fastai: not of the shift
    matrix = _warp(*warp) @ np.vstack([affine, [0, 0, 1]])
    matrix = matrix @ _from_pixels(frame, box or (height, width, 0, 0))
    # fastai measures between the centres of the outer pixels, we between their outer edges.
    matrix[0] *= 1 - 1 / width
    matrix[1] *= 1 - 1 / height
    return matrix


def _draw(rng: np.random.Generator, neutral: float, low: float, high: float) -> float:
    return rng.uniform(low, high) if rng.random() < P_CHANGE else neutral


def _dihedral(number: int) -> np.ndarray:
    """One of the eight turns of a square, by bits: 1 mirrored, 2 upside down, 4 transposed."""
    matrix = np.diag([-1.0 if number & 1 else 1.0, -1.0 if number & 2 else 1.0])
    return matrix[:, ::-1] if number & 4 else matrix


def _warp(x: float, y: float) -> np.ndarray:
    """The perspective from the moved corners (u - yuv, v - xuv) back to (u, v)."""
    s, p, q = 1 - x * x - y * y, x * (x * x - y * y - 1), y * (y * y - x * x - 1)
    return np.array([[s, 2 * x * y, p], [2 * x * y, s, q], [p, q, s]]) / s


def _from_pixels(frame: Frame, box: Box) -> np.ndarray:
    """From a pixel of the view to the item image, -1 and 1 at the centres of its outer pixels.

    fastai averages a large crop down to twice the view's size, then samples from centre to centre.
    """
    height, width, top, left = box
    reduction = max(1, height / frame.size[1] / 2)  # sic: fastai 2.8 takes height by width
    matrix = np.eye(3)
    for axis, side, start in ((0, width, left), (1, height, top)):
        out, item = frame.size[1 - axis], frame.item_size[1 - axis]
        cell = side / int(side / reduction)
        step = (side - cell) / max(out - 1, 1)
        matrix[axis, axis] = 2 * step / (item - 1)
        matrix[axis, 2] = 2 * (start + cell / 2 - 0.5) / (item - 1) - 1
    return matrix
