"""One photograph: from its file to 8-bit RGB pixels, upright."""

import math
from pathlib import Path

from fastai.vision.core import PILImage
from PIL import Image, ImageOps

from src.competition import problem_of, to_rgb
from src.core import UserError
from src.vision.views import Frame, reduction

ORIENTATION = 0x0112  # the EXIF tag; above 4 the picture lies on its side


def open_image(path: str | Path, frame: Frame | None = None) -> PILImage:
    """One photograph, RGB and upright; for `frame`, a JPEG at the scale `shrink` brings it to."""
    try:
        with Image.open(path) as image:
            if frame:
                _draft(image, frame)
            image.load()
        ImageOps.exif_transpose(image, in_place=True)
        return PILImage(to_rgb(image))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        problem = problem_of(path, error)
        raise UserError(f"cannot read {path}: {problem}; replace the file") from error


def _draft(image: Image.Image, frame: Frame) -> None:
    """Have a JPEG decoded at a half, a quarter or an eighth of its size, which saves time."""
    sideways = image.getexif().get(ORIENTATION, 1) > 4
    factor = reduction(image.size if sideways else image.size[::-1], frame)
    image.draft("RGB", tuple(math.ceil(side / factor) for side in image.size))
