"""What each label does to a blade, painted in place on its flat strip (RGB x length x width).

On a strip the veins are columns and the tip is the last row, so streaks, spots and margins are a
few lines each. `strength` runs from 0 (hardly to be seen) to 1.
"""

from collections.abc import Callable

import numpy as np

Rng = np.random.Generator
Array = np.ndarray  # float32; pictures are 3 x h x w in 0..1: planes are much faster than pixels

STRAW = np.float32([0.80, 0.72, 0.50])
BROWN = np.float32([0.34, 0.19, 0.09])
YELLOW = np.float32([0.68, 0.60, 0.18])
SPOILT = np.float32([0.46, 0.34, 0.22])  # a grain


def noise(rng: Rng, shape: tuple[int, int], cells: tuple[int, int]) -> Array:
    """Smooth noise in -1..1 of `shape`, with about `cells` bumps down and across."""
    grid = rng.uniform(-1, 1, (cells[0] + 1, cells[1] + 1)).astype(np.float32)
    return _between(_between(grid.T, shape[1]).T, shape[0])


def _between(rows: Array, count: int) -> Array:
    """`count` rows that pass smoothly through `rows`."""
    at = np.linspace(0, len(rows) - 1, count, dtype=np.float32)
    low = np.minimum(at.astype(np.int32), len(rows) - 2)
    part = (at - low)[:, None]
    part = part * part * (3 - 2 * part)
    return rows[low] * (1 - part) + rows[low + 1] * part


def paint(view: Array, alpha: Array, colour: Array) -> None:
    """Blend `colour`, (3,) or (3, h, w), into `view` (3, h, w) in place, by `alpha` (h, w)."""
    view += alpha * ((colour if colour.ndim == 3 else colour[:, None, None]) - view)


def soft(distance: Array, softness: float = 0.25) -> Array:
    """1 where `distance` is below 1, falling to 0 beyond."""
    return np.clip((1 - distance) / softness + 0.5, 0, 1)


def window(strip: Array, y: float, x: float, ry: float, rx: float) -> tuple[Array, Array, Array]:
    """The part of `strip` around a lesion of radii `ry`, `rx`, and the offsets in radii."""
    top, left = max(0, int(y - 2 * ry)), max(0, int(x - 2 * rx))
    view = strip[:, top : max(0, int(y + 2 * ry) + 2), left : max(0, int(x + 2 * rx) + 2)]
    dy = (np.arange(top, top + view.shape[1], dtype=np.float32) - float(y)) / ry
    dx = (np.arange(left, left + view.shape[2], dtype=np.float32) - float(x)) / rx
    return view, dy[:, None], dx[None]


def blemish(strip: Array, rng: Rng) -> None:
    """What any leaf has: a few specks, sometimes a dry tip."""
    for y, x in _places(strip, rng, 3):
        radius = rng.uniform(0.8, 2)
        view, dy, dx = window(strip, y, x, radius * 1.5, radius)
        paint(view, 0.6 * soft(np.hypot(dy, dx), 0.6), BROWN if rng.random() < 0.5 else STRAW)
    if rng.random() < 0.25:
        dry = (_tip(strip) - rng.uniform(0.8, 0.97)) * 12 + noise(rng, strip.shape[1:], (9, 3))
        paint(strip, np.clip(dry, 0, 0.8), STRAW * rng.uniform(0.6, 1))


def panicle(canvas: Array, rng: Rng, sick: float) -> None:
    """A drooping ear of branches and grains; a share `sick` of the grains is discoloured."""
    height, width = canvas.shape[1:]
    x, y = width * rng.uniform(0.2, 0.8), height * rng.uniform(0.8, 1)
    droop = rng.uniform(0.01, 0.04) * (1 if x < width / 2 else -1)
    angle = rng.normal(0, 0.15)
    ripe = np.float32([0.66, 0.64, 0.30]) * rng.uniform(0.8, 1.15)
    for step in range(110):
        x, y = x + 4 * np.sin(angle), y - 4 * np.cos(angle)
        angle += droop * min(step / 50, 1.5)
        _grain(canvas, y, x, angle, ripe * 0.8, 4.5)
        if step < 45 or step % 5:
            continue
        lean = angle + rng.choice([-1, 1]) * rng.uniform(0.2, 0.6)
        for reach in np.arange(6, rng.uniform(30, 85), 7):
            at = y - reach * np.cos(lean) + rng.normal(0, 2.5), x + reach * np.sin(lean)
            colour = SPOILT * rng.uniform(0.5, 1.3) if rng.random() < sick else ripe
            _grain(canvas, *at, lean + rng.normal(0, 0.4), colour * rng.uniform(0.85, 1.2), 8.5)


def _grain(canvas: Array, y: float, x: float, angle: float, colour: Array, r: float) -> None:
    """One grain, a lit ellipse of radius `r` along `angle` and a third of it across."""
    view, dy, dx = window(canvas, y, x, r, r)
    sin, cos = float(np.sin(angle)), float(np.cos(angle))
    along, across = dx * sin - dy * cos, (dx * cos + dy * sin) * 2.8
    paint(view, 0.35 * soft(np.hypot(along, across - 0.5) / 1.1, 0.6), BROWN * 0.3)
    light = 1.1 - 0.25 * across - 0.15 * along
    paint(view, soft(np.hypot(along, across)), colour[:, None, None] * light)


def _places(strip: Array, rng: Rng, count: float) -> Array:
    """About `count` random (y, x) per 300 pixels of the strip's length."""
    number = max(1, rng.poisson(count * strip.shape[1] / 300))
    return rng.uniform((0.1, 0.06), (0.92, 0.94), (number, 2)) * strip.shape[1:]


def _tip(strip: Array) -> Array:
    """0 at the foot to 1 at the tip, as a column."""
    return np.linspace(0, 1, strip.shape[1], dtype=np.float32)[:, None]


def _leaf_streak(strip: Array, rng: Rng, strength: float) -> None:
    """Long translucent yellow-brown streaks between the veins."""
    colour = np.float32([0.52, 0.34, 0.13]) * rng.uniform(0.8, 1.15)
    for y, x in _places(strip, rng, 10 + 20 * strength):
        view, dy, dx = window(strip, y, x, rng.uniform(15, 60), rng.uniform(1.5, 3.6))
        alpha = soft(np.abs(dx), 0.5) * soft(np.abs(dy), 0.7) * rng.uniform(0.6, 0.95)
        paint(view, alpha * (1 + 0.4 * noise(rng, view.shape[1:], (12, 1))), colour)


def _leaf_blight(strip: Array, rng: Rng, strength: float) -> None:
    """A wavy straw-coloured margin that widens towards the tip."""
    shape = strip.shape[1:]
    across = np.linspace(-1, 1, shape[1], dtype=np.float32)[None]
    wave = 0.22 * noise(rng, (shape[0], 1), (14, 1)) + 0.08 * noise(rng, (shape[0], 1), (70, 1))
    ramp = np.clip(_tip(strip) * 1.5 - rng.uniform(0, 0.4), 0, 1)
    depth = (0.3 + 0.8 * strength * rng.uniform(0.6, 1)) * ramp
    side = np.abs(across) if rng.random() < 0.5 else across * float(rng.choice([-1, 1]))
    inner = (side - 1 + depth + wave * np.minimum(depth * 4, 1)) / 0.1
    paint(strip, np.exp(-((inner + 0.5) ** 2)) * 0.6, YELLOW)
    dry = STRAW[:, None, None] * (rng.uniform(0.75, 1.1) + 0.15 * noise(rng, shape, (40, 9)))
    paint(strip, np.clip(inner, 0, 1) * 0.92, dry)


def _blast(strip: Array, rng: Rng, strength: float) -> None:
    """Eye-shaped spots: grey centre, brown rim, pointed along the veins."""
    unit = strip.shape[2] ** 0.5
    for y, x in _places(strip, rng, 3 + 5 * strength):
        radius = unit * rng.uniform(0.7, 1.5)
        view, dy, dx = window(strip, y, x, radius * rng.uniform(1.6, 3.2), radius)
        eye = np.abs(dx) + dy**2 + 0.25 * noise(rng, view.shape[1:], (5, 4))
        paint(view, 0.4 * soft(eye / 1.6, 0.7), YELLOW)
        paint(view, 0.85 * soft(eye, 0.4), BROWN * rng.uniform(0.8, 1.3))
        grey = np.float32([0.70, 0.66, 0.58]) * rng.uniform(0.75, 1.1)
        paint(view, 0.9 * soft(eye / rng.uniform(0.45, 0.75), 0.3), grey)


def _brown_spot(strip: Array, rng: Rng, strength: float) -> None:
    """Many round brown spots of all sizes, with a yellow halo."""
    unit = strip.shape[2] ** 0.5
    for y, x in _places(strip, rng, 10 + 20 * strength):
        radius = unit * (0.3 + 0.6 * rng.random() ** 2)
        view, dy, dx = window(strip, y, x, radius * rng.uniform(1, 1.7), radius)
        r = np.hypot(dy, dx) + 0.2 * noise(rng, view.shape[1:], (4, 4))
        paint(view, 0.5 * soft(r / 1.7, 0.9), YELLOW)
        paint(view, 0.9 * soft(r, 0.5), BROWN * rng.uniform(0.7, 1.4))
        paint(view, 0.4 * soft(r / 0.45, 0.6), BROWN * 1.9)


def _downy_mildew(strip: Array, rng: Rng, strength: float) -> None:
    """Pale soft patches along the blade, mottled with a white down."""
    length, width = strip.shape[1:]
    patches = noise(rng, (length, width), (length // 80 + 1, 2))
    mottle = noise(rng, (length, width), (length // 10 + 1, width // 5 + 1))
    pale = np.clip(patches + mottle * 0.7 + strength - 0.4, 0, 1)
    paint(strip, pale * (0.5 + 0.35 * strength), np.float32([0.82, 0.85, 0.66]))


def _hispa(strip: Array, rng: Rng, strength: float) -> None:
    """Scraped white lines, parallel to the veins, in groups."""
    white = np.float32([0.84, 0.86, 0.76])
    for y, x in _places(strip, rng, 3 + 4 * strength):
        for _ in range(rng.integers(3, 9)):
            at = y + rng.normal(0, 15), x + rng.normal(0, strip.shape[2] / 12)
            view, dy, dx = window(strip, *at, rng.uniform(8, 32), rng.uniform(0.8, 1.9))
            alpha = soft(np.abs(dx), 0.5) * soft(np.abs(dy)) * rng.uniform(0.6, 1)
            paint(view, alpha, white)


def _tungro(strip: Array, rng: Rng, strength: float) -> None:
    """Yellow-orange from the tip down, the veins staying green longest."""
    shape = strip.shape[1:]
    reach = _tip(strip) * 1.2 + strength - 0.65 + 0.35 * noise(rng, shape, (shape[0] // 45, 4))
    reach += 0.15 * noise(rng, shape, (shape[0] // 6, shape[1] // 5 + 1))
    orange = np.float32([0.80, 0.60, 0.16]) * rng.uniform(0.85, 1.1)
    orange[1] *= rng.uniform(0.85, 1.15)
    paint(strip, np.clip(reach, 0, 0.8), orange)


DAMAGE: dict[str, Callable[[Array, Rng, float], None]] = {
    "bacterial_leaf_blight": _leaf_blight, "bacterial_leaf_streak": _leaf_streak,
    "blast": _blast, "brown_spot": _brown_spot, "downy_mildew": _downy_mildew, "hispa": _hispa,
    "tungro": _tungro,
}  # fmt: skip
