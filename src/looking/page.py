"""Pages of one file: text, tables, pictures inside; they open from disk and fetch nothing."""

import base64
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src import competition
from src.core import cores, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy import ndarray
    from pandas import Series
    from PIL.Image import Image

TEMPLATES = Path(__file__).with_name("templates")


def render(template: str, **facts: Any) -> str:
    """`template`, filled in; all text is escaped, and a fact that is missing is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # slow to load

    loader = FileSystemLoader(TEMPLATES)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True)
    return environment.get_template(template).render(facts)


def write_page(path: Path, template: str, **facts: Any) -> None:
    """The page in its place, complete or not at all."""
    write_text(path, render(template, **facts))


def picture(image: "Path | Image | ndarray", pixels: int = 360, quality: int = 70) -> str:
    """A picture for `src=`: at most so many `pixels` wide and high, as WebP (PIL's quality)."""
    from PIL import Image, ImageOps

    if isinstance(image, Path):
        image = Image.open(image)
        image.draft("RGB", (pixels, pixels))  # a JPEG is read no larger than needed
        image = ImageOps.exif_transpose(image)
    elif not isinstance(image, Image.Image):
        image = Image.fromarray(image)
    small, file = competition.to_rgb(image), io.BytesIO()
    small.thumbnail((pixels, pixels))
    small.save(file, "webp", quality=quality)
    return _address("image/webp", file.getvalue())


def pictures(paths: "Series", pixels: int = 360) -> dict[str, str]:
    """The `picture` of each of the `paths`, by name; empty for a file that cannot be read."""

    def _read(path: Path) -> str:
        try:
            return picture(path, pixels)
        except Exception:  # PIL raises almost anything on damaged bytes
            return ""

    with ThreadPoolExecutor(cores()) as pool:
        return dict(zip(paths.index, pool.map(_read, paths), strict=True))


def figure(fig: "Figure") -> str:
    """A figure for `src=`: as SVG or PNG, whichever is smaller."""
    files = {}
    for kind, mime in (("svg", "image/svg+xml"), ("png", "image/png")):
        fig.savefig(file := io.BytesIO(), format=kind)
        files[mime] = file.getvalue()
    mime = min(files, key=lambda one: len(files[one]))
    return _address(mime, files[mime])


def _address(mime: str, content: bytes) -> str:
    return f"data:{mime};base64,{base64.b64encode(content).decode('ascii')}"
