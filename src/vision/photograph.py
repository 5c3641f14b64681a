"""Photographs on disk: read as 8-bit RGB, upright; copies shrunk once for `cache: 256`.

Each copy contains the sha256 of its photograph: one missing, cut short or of other content is made
again. Only training reads copies.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pandas as pd
from fastai.vision.core import PILImage
from PIL import ExifTags, Image, ImageOps
from tqdm import tqdm

from src.competition import problem_of, to_rgb
from src.core import UserError, atomic_path, cache_dir, cores, require_writable, sha256, terminal
from src.vision.pixels import reduction
from src.vision.views import Frame


def open_image(path: str | Path, frame: Frame | None = None) -> PILImage:
    """One photograph, RGB and upright; for `frame`, a JPEG decoded at the scale `shrink` needs."""
    try:
        with Image.open(path) as image:
            if frame:
                sideways = image.getexif().get(ExifTags.Base.Orientation, 1) > 4
                factor = reduction(image.size if sideways else image.size[::-1], frame)
                image.draft("RGB", tuple(math.ceil(side / factor) for side in image.size))
            image.load()
        ImageOps.exif_transpose(image, in_place=True)
        return PILImage(to_rgb(image))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        problem = f"cannot read {path}: {problem_of(path, error)}"
        raise UserError(problem, "replace the file") from error


def shrunk_copies(paths: pd.Series, side: int, fingerprint: str) -> pd.Series:
    """image_id → copy of `paths`, at most `side` pixels at its shorter side.

    `fingerprint` is that of the competition's images.
    """
    folder = cache_dir() / f"{fingerprint[:12]}_{side}"
    require_writable(folder)
    copies = paths.map(lambda path: folder / path.parent.name / path.name)
    pool = ThreadPoolExecutor(cores())  # PIL and hashlib release Python's lock
    try:
        made = pool.map(partial(_shrink, side), paths, copies)
        for _ in tqdm(made, "shrink", len(paths), file=terminal()):
            pass
    finally:
        pool.shutdown(cancel_futures=True)
    return copies


def _shrink(side: int, path: Path, copy: Path) -> None:
    """Make the copy of one photograph, unless it is there, whole and of this content."""
    source = sha256(path).encode()
    content = copy.read_bytes() if copy.is_file() else b""
    if source in content[:1000] and content.endswith(b"\xff\xd9"):  # the end of a JPEG
        return
    image = open_image(path)
    small = ImageOps.scale(image, min(1, side / min(image.size)), Image.Resampling.LANCZOS)
    with atomic_path(copy) as temporary:
        small.save(temporary, "JPEG", quality=95, comment=source)
