"""Pages of one file: text, tables, pictures inside; they open from disk and fetch nothing."""

import base64
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src import competition
from src.core import cache_dir, cores, sha256_lines, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import Series
    from PIL.Image import Image

TEMPLATES = Path(__file__).with_name("templates")


def splits_path(folder: Path) -> Path:
    """Where paddy_explore.ipynb leaves how test and training images differ, for report.html."""
    images = competition.train_fingerprint(folder), competition.test_fingerprint(folder)
    return cache_dir() / f"splits_{sha256_lines(list(images))[:16]}.csv"


def write_page(path: Path, template: str, **facts: Any) -> None:
    """Write `template`, filled in; all text is escaped, and a fact that is missing is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # slow to load

    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True,
                              undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    write_text(path, environment.get_template(template).render(facts))


def small(image: "Path | Image", pixels: int) -> "Image":
    """A photograph, upright and in RGB, at most so many `pixels` wide and high."""
    from PIL import Image, ImageOps

    if isinstance(image, Path):
        image = Image.open(image)
        image.draft("RGB", (pixels, pixels))  # a JPEG is read no larger than needed
        image = ImageOps.exif_transpose(image)
    shown = competition.to_rgb(image)
    shown.thumbnail((pixels, pixels))
    return shown


def picture(image: "Path | Image", pixels: int = 360) -> str:
    """The `small` picture for `src=`, as WebP."""
    small(image, pixels).save(file := io.BytesIO(), "webp", quality=70)
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
