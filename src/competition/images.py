"""Image files: whether they can be decoded, what they hold, as 8-bit RGB; which are identical."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from src.competition.tables import some
from src.core import UserError, cores, sha256

SIDEWAYS = (5, 6, 7, 8)  # values of the EXIF orientation that exchange width and height


class Inspection(NamedTuple):
    """What a file holds; `problem` is empty when it can be decoded in full."""

    size: tuple[int, int] = (0, 0)  # width, height, upright
    kind: str = ""  # "JPEG RGB": format and mode as stored
    converted: bool = False  # the mode is not that of 8-bit colour or grey
    problem: str = ""


def inspect(path: Path) -> Inspection:
    """Decode `path` in full, JPEG at an eighth of its size: all its bytes are still read."""
    try:
        with Image.open(path) as image:
            kind, (width, height) = f"{image.format} {image.mode}", image.size
            orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
            converted = image.mode not in ("RGB", "L")
            image.draft("L", (1, 1))
            image.load()
            if converted:
                to_rgb(image)  # not all values can be
    # PIL raises almost anything on damaged bytes: OSError, SyntaxError, struct.error, zlib.error …
    except Exception as error:
        return Inspection(problem=problem_of(path, error))
    size = (height, width) if orientation in SIDEWAYS else (width, height)
    return Inspection(size, kind, converted)


def problem_of(path: Path, error: Exception) -> str:
    """What is wrong with a file that PIL could not decode, without repeating its path."""
    if isinstance(error, UnidentifiedImageError):
        return "no picture" if path.stat().st_size else "empty file"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return "truncated" if "truncated" in str(error).lower() else str(error) or type(error).__name__


def to_rgb(image: Image.Image) -> Image.Image:
    """`image` as 8-bit RGB; no grey is clipped.

    For 32-bit integers and floats no format says where white is: the least value of the picture
    becomes 0, its greatest 255. Alpha is dropped, as by fastai's `PILImage.create`.
    Raises ValueError for values that are not finite.
    """
    if image.mode == "La":  # which Pillow converts to nothing but LA
        image = image.convert("LA")
    elif image.mode.startswith("I;16"):
        image = _from_greys(np.asarray(image) / 65535)
    elif image.mode in ("I", "F"):
        values = np.asarray(image, np.float64)
        if not np.isfinite(values).all():
            raise ValueError("holds values that are no finite numbers")
        low, high = values.min(), values.max()
        image = _from_greys((values - low) / ((high - low) or 1))
    image.info.pop("transparency", None)  # of a palette: Pillow would warn that it is dropped
    return image if image.mode == "RGB" else image.convert("RGB")


def _from_greys(shares: np.ndarray) -> Image.Image:
    """An 8-bit grey picture of shares of white, 0 … 1."""
    return Image.fromarray(np.rint(shares * 255).astype(np.uint8))


def inspect_all(paths: Iterable[Path]) -> dict[Path, Inspection]:
    """`inspect` for many files, on all cores this process may use; in the order given."""
    from tqdm.contrib.concurrent import thread_map

    paths = list(paths)
    # Threads: PIL decodes without holding the interpreter's lock.
    found = thread_map(inspect, paths, max_workers=cores(), desc="decoding", unit=" images",
                       delay=2, disable=None)
    return dict(zip(paths, found, strict=True))


def short_name(path: Path) -> str:
    """The name of a file with that of its folder."""
    return f"{path.parent.name}/{path.name}"


def broken(found: dict[Path, Inspection]) -> list[str]:
    """The short names of the files that cannot be decoded, with the reason."""
    return [f"{short_name(path)} ({i.problem})" for path, i in found.items() if i.problem]


def require_images(paths: Iterable[Path]) -> None:
    """Refuse unreadable images, naming the first ten."""
    if bad := broken(inspect_all(paths)):
        problem = f"unreadable images ({len(bad):,}): {some(bad)}"
        raise UserError(problem, "restore them; python -m src.competition check shows all")


def identical_files(paths: Iterable[Path]) -> list[list[Path]]:
    """Groups of two or more files with the same bytes, sorted by name; empty files do not count."""
    by_size, by_content = defaultdict(list), defaultdict(list)
    for path in paths:
        by_size[path.stat().st_size].append(path)
    # Only files that share their size can be identical: in the real competition a quarter.
    for size, same in by_size.items():
        if size and len(same) > 1:
            for path in same:
                by_content[sha256(path)].append(path)
    return sorted(sorted(group) for group in by_content.values() if len(group) > 1)
