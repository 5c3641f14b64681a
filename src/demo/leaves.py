"""One photograph of paddy leaves, drawn from random numbers: a field, blades, a label's damage.

A blade is painted flat, as a strip of RGB x length x width, and then bent onto the picture. All is
drawn smaller than the photograph and enlarged: none is sharp to the pixel.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from src.demo.damage import BROWN, DAMAGE, STRAW, Array, Rng, blemish, noise, paint, panicle

GREENS = np.float32([
    [0.34, 0.47, 0.16], [0.28, 0.42, 0.17], [0.40, 0.54, 0.22], [0.31, 0.48, 0.23],
])  # fmt: skip
GROUNDS = np.float32([
    [0.38, 0.31, 0.23],  # soil
    [0.60, 0.63, 0.63],  # water under the sky
    [0.15, 0.19, 0.10],  # shade
    [0.30, 0.40, 0.17],  # grass
    [0.50, 0.44, 0.34],  # dry soil
])  # fmt: skip


def photograph(
    label: str, rng: Rng, size: tuple[int, int] = (480, 640), ground: Array | None = None
) -> Image.Image:
    """Draw one photograph of `label`; `size` is width, height as in PIL.

    A `ground` of `drawn_size(size)` or larger takes the place of the field, with the same leaves
    in its middle; it is painted on.
    """
    drawn = drawn_size(size)
    strength = rng.uniform(0.4, 1.0)
    green, other = GREENS[rng.choice(len(GREENS), 2, replace=False)]
    green += (other - green) * np.float32(rng.random())  # a random colour between two
    green *= rng.uniform(0.85, 1.15)
    canvas = _field(rng, drawn, green, DAMAGE.get(label))  # always: leaves follow in the stream
    canvas = canvas if ground is None else ground
    left, top = (canvas.shape[2] - drawn[0]) // 2, (canvas.shape[1] - drawn[1]) // 2
    for strip, blade in _leaves(label, rng, drawn, green, strength):
        blade.x, blade.y = blade.x + left, blade.y + top
        _lay(canvas, strip, blade)
    middle = canvas[:, top : top + drawn[1], left : left + drawn[0]]
    if label == "bacterial_panicle_blight":
        panicle(middle, rng, 0.2 + 0.6 * strength)
    elif rng.random() < 0.06:
        panicle(middle, rng, 0)
    return _expose(canvas, rng, size)


def drawn_size(size: tuple[int, int]) -> tuple[int, int]:
    """The size at which a photograph of `size` is drawn."""
    return size[0] * 3 // 4, size[1] * 3 // 4


def _leaves(
    label: str, rng: Rng, size: tuple[int, int], green: Array, strength: float
) -> Iterator[tuple[Array, "Blade"]]:
    """The strips of the near blades and where they lie, from the lowest to the uppermost."""
    foot = size[0] * rng.uniform(0.35, 0.65)
    fan = label == "dead_heart" or rng.random() < 0.3
    blades = _fan(rng, size, foot) if fan else _crossing(rng, size)
    healthy = rng.permutation(len(blades)) >= max(1, len(blades) * rng.uniform(0.7, 1))
    for blade, well in zip(blades, healthy, strict=True):
        strip = _strip(rng, blade.length, blade.width, green)
        if label in DAMAGE and not well:
            DAMAGE[label](strip, rng, strength)
        blemish(strip, rng)
        yield strip, blade
    if label == "dead_heart":
        yield from _dead_shoots(rng, size, foot, strength)


def _enlarge(canvas: Array, size: tuple[int, int], blur: float) -> Array:
    """`canvas` out of focus by `blur` pixels, at `size` (width, height)."""
    image = _image(canvas).filter(ImageFilter.GaussianBlur(blur))
    image = image.resize(size, Image.Resampling.BICUBIC)
    return np.stack([np.asarray(band, np.float32) / 255 for band in image.split()])


def _image(canvas: Array) -> Image.Image:
    """Planes in 0..1 as a picture."""
    planes = (np.clip(canvas, 0, 1) * 255).astype(np.uint8)
    return Image.merge("RGB", [Image.fromarray(plane) for plane in planes])


def _field(rng: Rng, size: tuple[int, int], green: Array, damage: Callable | None) -> Array:
    """The ground, far blades at a quarter of the size and nearer ones at half: all blurred."""
    width, height = size[0] // 4, size[1] // 4
    ground, other = GROUNDS[rng.choice(len(GROUNDS), 2, replace=False)]
    patches = 0.6 * noise(rng, (height, width), (6, 4))
    patches += 0.2 * noise(rng, (height, width), (20, 15))
    canvas = np.tile(ground[:, None, None], (1, height, width))
    paint(canvas, np.clip(patches + 0.5, 0, 1), other)
    for scale, count, blur in ((4, rng.integers(10, 26), 1.5), (2, rng.integers(3, 8), 1.4)):
        layer = size[0] // scale, size[1] // scale
        for _ in range(count):
            angle = rng.normal(0, 0.6)
            blade = _blade(rng, layer, rng.uniform(-0.2, 1.2) * layer[0], angle, 0.07)
            shade = (0.65 if scale == 4 else 0.85) * rng.uniform(0.6, 1.2)
            colour = STRAW if rng.random() < 0.07 else green
            strip = _strip(rng, blade.length, blade.width, colour * shade)
            if damage and scale == 2 and rng.random() < 0.6:
                damage(strip, rng, 0.7)
            _lay(canvas, strip, blade)
        canvas = _enlarge(canvas, (layer[0] * 2, layer[1] * 2), blur)
    return canvas


@dataclass
class Blade:
    """A leaf's place: its foot, the lean of its stem, how far it bends over, and its pixels."""

    x: float
    y: float
    angle: float
    bend: float
    length: int
    width: int


def _blade(rng: Rng, size: tuple[int, int], x: float, angle: float, share: float) -> Blade:
    """A blade from a foot below the picture, `share` of its width wide, leaning by `angle`."""
    return Blade(
        x=float(x),
        y=size[1] * rng.uniform(1.0, 1.15),
        angle=float(angle),
        bend=float(np.sign(angle)) * abs(rng.normal(0, 0.22)),
        length=int(size[1] * rng.uniform(0.8, 1.5)),
        width=max(3, int(size[0] * share * rng.uniform(0.7, 1.4))),
    )


def _fan(rng: Rng, size: tuple[int, int], foot: float) -> list[Blade]:
    """Blades of one plant, spread from its `foot`."""
    angles = rng.permutation(np.linspace(-0.75, 0.75, rng.integers(4, 7)))
    angles += rng.normal(0, 0.1, len(angles))
    feet = foot + rng.normal(0, 0.06 * size[0], len(angles))
    return [_blade(rng, size, x, a, 0.11) for x, a in zip(feet, angles, strict=True)]


def _crossing(rng: Rng, size: tuple[int, int]) -> list[Blade]:
    """One to three broad blades, close to the camera, that pass through the picture's middle."""
    width, height = size
    count = rng.integers(1, 4)
    blades = [_blade(rng, size, 0, rng.normal(0, 0.6), 0.33 / count**0.6) for _ in range(count)]
    for blade in blades:
        sin, cos = math.sin(blade.angle), math.cos(blade.angle)
        back = min(0.65 * height / max(cos, 0.1), 0.75 * width / max(abs(sin), 0.1)) + blade.width
        blade.x = width * rng.uniform(0.3, 0.7) - sin * back
        blade.y = height * rng.uniform(0.4, 0.6) + cos * back
        blade.length = int(back + height * rng.uniform(0.25, 1))
        blade.bend *= 0.4
    return blades


def _strip(rng: Rng, length: int, width: int, green: Array) -> Array:
    """A healthy blade, flat: 3 x `length` x `width`, with midrib, veins, fibres and a crease."""
    across = np.linspace(-1, 1, width, dtype=np.float32)
    veins = np.cos(across * (np.pi * float(rng.integers(7, 12)))) * (0.05 if width > 12 else 0)
    crease = rng.uniform(-0.15, 0.15) * np.tanh(across * 8) - 0.1 * across**2
    light = 1 + veins + crease + 0.12 * noise(rng, (length, width), (length // 110 + 1, width))
    light += 0.18 * noise(rng, (length, width), (length // 70 + 1, 2))
    strip = light * (green * rng.uniform(0.85, 1.2))[:, None, None]
    sheen = np.clip(noise(rng, (length, width), (length // 90 + 1, 3)), 0, 1) * 0.25
    paint(strip, sheen, np.float32([0.75, 0.80, 0.72]))
    midrib = np.exp(-((across / 0.07) ** 2)) * rng.uniform(0.1, 0.35)
    paint(strip, midrib[None], green * 0.6 + 0.38)
    return strip


def _lay(canvas: Array, strip: Array, blade: Blade) -> None:
    """Bend `strip` onto `canvas`, in place, with its shadow on what lies below."""
    half, centre = _outline(blade)
    sin, cos = math.sin(blade.angle), math.cos(blade.angle)
    along = np.arange(blade.length)
    x, across = _span(blade.x, sin * along + cos * centre, blade.width, canvas.shape[2])
    y, down = _span(blade.y, sin * centre - cos * along, blade.width, canvas.shape[1])
    if not x.size or not y.size:
        return
    row = (x * sin - y[:, None] * cos).astype(np.intp)
    off = x * cos + y[:, None] * sin - centre.take(row, mode="clip")
    reach = half.take(row, mode="clip")
    edge = reach - np.abs(off)
    shadow = np.clip(1 + edge / (0.8 * np.maximum(reach, 0) + 2), 0, 1)
    drop = blade.width // 4 + 1  # pixels down and to the right
    cast = np.pad(shadow, ((drop, 0), (drop, 0)), "edge")[:-drop, :-drop]
    canvas[:, down, across] *= 1 - 0.4 * cast
    on = np.flatnonzero(edge > 0)
    row, off, reach, edge = (values.ravel()[on] for values in (row, off, reach, edge))
    column = ((off / reach + 1) * ((blade.width - 1) / 2)).astype(np.intp)
    source = row * blade.width + column
    at = (on // x.size + down.start) * canvas.shape[2] + on % x.size + across.start
    # Flat indices, plane by plane: several times faster than rows and columns.
    for plane, colours in zip(canvas.reshape(3, -1), strip.reshape(3, -1), strict=True):
        plane[at] += np.minimum(edge, 1) * (colours[source] - plane[at])


def _outline(blade: Blade) -> tuple[Array, Array]:
    """Half the width of each row of a blade, and how far its midrib bends aside there."""
    along = np.linspace(0, 1, blade.length, dtype=np.float32)
    slope = np.sqrt(1 + (2 * blade.bend * along) ** 2)
    half = (1 - along**3) ** 0.8 * (0.6 + 0.4 * np.minimum(1, along * 4)) * slope * blade.width / 2
    half[[0, -1]] = -99  # every row before the foot or beyond the tip is looked up here
    return half, blade.bend * blade.length * along**2


def _span(foot: float, path: Array, margin: int, limit: int) -> tuple[Array, slice]:
    """The pixels a blade along `path` can touch, below `limit`: from its foot, and as a slice."""
    first = int(np.clip(foot + path.min() - margin, 0, limit))
    last = int(np.clip(foot + path.max() + margin, 0, limit))
    return np.arange(first, last, dtype=np.float32) - foot, slice(first, last)


def _dead_shoots(
    rng: Rng, size: tuple[int, int], foot: float, strength: float
) -> Iterator[tuple[Array, Blade]]:
    """One or two dry, rolled, whitish shoots in the middle of the plant."""
    for _ in range(1 + (rng.random() < 0.5)):
        blade = _blade(rng, size, foot + rng.normal(0, 15), rng.normal(0, 0.2), 0.07)
        blade.length = int(size[1] * rng.uniform(0.7, 1.1) * (0.6 + 0.4 * strength))
        strip = _strip(rng, blade.length, blade.width, STRAW * rng.uniform(0.8, 1.15))
        paint(strip, np.clip(noise(rng, strip.shape[1:], (25, 3)), 0, 1) * 0.3, BROWN * 1.6)
        yield strip, blade


def _expose(canvas: Array, rng: Rng, size: tuple[int, int]) -> Image.Image:
    """The camera: sun and shade, colour cast, contrast, focus and grain, at `size`."""
    light = 1.1 + 0.2 * noise(rng, canvas.shape[1:], (3, 2)) + rng.uniform(-0.25, 0.25)
    warm, green, gamma = rng.normal(0, (0.04, 0.02, 0.1))
    cast = np.float32([1 + warm, 1 + green, 1 - warm])
    tone = [255 * (i / 255) ** (0.95 + gamma) for i in range(256)] * 3
    image = _image(canvas * light * cast[:, None, None]).point(tone)
    lens = np.outer(*[np.array([1, rng.uniform(3, 12), 1])] * 2).ravel()
    image = image.filter(ImageFilter.Kernel((3, 3), lens)).resize(size, Image.Resampling.BICUBIC)
    speed = int(rng.integers(4, 10))
    grain = rng.integers(0, 2 * speed + 1, (2, size[1], size[0]), np.uint8).sum(0, dtype=np.uint8)
    return ImageChops.add(image, Image.merge("RGB", [Image.fromarray(grain)] * 3), 1, -2 * speed)
