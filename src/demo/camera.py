"""The second camera: the same leaves on other ground, from elsewhere, in other light, less sharp.

It has random numbers of its own, so that the leaves are those of the first camera's photograph.
"""

import numpy as np
from PIL import Image, ImageFilter

from src.demo.damage import Array, Rng, noise
from src.demo.leaves import drawn_size, photograph

FIELD = 0.5  # of its photographs; in the others the plant lies on a ground, or is held up
GROUNDS = (  # a colour, and how much it varies in patches and in crumbs
    ((0.84, 0.83, 0.79), 0.06, 0.02),  # paper
    ((0.56, 0.55, 0.52), 0.12, 0.08),  # concrete
    ((0.50, 0.29, 0.18), 0.25, 0.18),  # red soil
    ((0.62, 0.52, 0.37), 0.12, 0.11),  # sacking
    ((0.19, 0.33, 0.50), 0.20, 0.05),  # a blue sheet
    ((1.75, 1.80, 1.90), 0.15, 0.00),  # the sky, so bright that no shadow of a leaf shows on it
)


def second_photograph(
    label: str, leaves: Rng, rng: Rng, size: tuple[int, int]
) -> tuple[Image.Image, int]:
    """The second camera's photograph of what `leaves` draws, and the JPEG quality to save it."""
    field = rng.random() < FIELD
    # A field ends where the first camera's picture does: of it there are only nearer views.
    scale = rng.uniform(1 if field else 0.5, 1.3)
    image = photograph(label, leaves, size, None if field else _ground(rng, size, min(scale, 1)))
    return photographed_again(image, rng, max(scale, 1))


def photographed_again(image: Image.Image, rng: Rng, scale: float) -> tuple[Image.Image, int]:
    """The second camera's photograph of `image`, `scale` times as near, and its JPEG quality."""
    image = _expose(_nearer(image, rng, scale), rng)
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 2.5) * min(image.size) / 480))
    return image, int(rng.integers(25, 71))


def _ground(rng: Rng, size: tuple[int, int], scale: float) -> Array:
    """A ground so large that leaves drawn for `size` look `scale` times as large on it."""
    width, height = (round(side / scale) for side in drawn_size(size))
    colour, patches, crumbs = GROUNDS[rng.integers(len(GROUNDS))]
    light = 1 + patches * noise(rng, (height, width), (4, 3))
    for side in (2, 5, 14):  # of crumbs, in pixels; one alone would show the grid of the noise
        light += crumbs * noise(rng, (height, width), (height // side, width // side))
    return np.float32(colour)[:, None, None] * rng.uniform(0.85, 1.15) * light


def _nearer(image: Image.Image, rng: Rng, scale: float) -> Image.Image:
    """A part of `image`, `scale` times as large."""
    width, height = image.width / scale, image.height / scale
    left, top = rng.uniform(0, (image.width - width, image.height - height))
    return image.resize(image.size, Image.Resampling.BICUBIC,
                        (left, top, left + width, top + height))


def _expose(image: Image.Image, rng: Rng) -> Image.Image:
    """Other white balance (warm or cool, green or magenta), exposure and contrast."""
    spread = np.clip(rng.normal(size=4), -1.5, 1.5)  # no camera is wrong beyond all bounds
    warm, green, exposure, contrast = spread * (0.15, 0.07, 0.2, 0.25)
    gains = np.exp(np.array([warm, green, -warm]) + exposure)
    tones = np.minimum(gains[:, None] * np.linspace(0, 1, 256), 1) ** np.exp(contrast)
    return image.point((255 * tones).round().astype(int).ravel().tolist())
