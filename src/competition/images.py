"""Image files: whether they can be decoded, what they hold, which are identical.

PIL and tqdm are imported by the functions that open images: reading tables does not need them.
"""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from src.competition.tables import as_lines
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
    from PIL import ExifTags, Image

    from src.competition.rgb import ORDINARY, to_rgb

    try:
        with Image.open(path) as image:
            kind, (width, height) = f"{image.format} {image.mode}", image.size
            orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
            converted = image.mode not in ORDINARY
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
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "no picture" if path.stat().st_size else "empty file"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return "truncated" if "truncated" in str(error).lower() else str(error) or type(error).__name__


def inspect_all(paths: Iterable[Path]) -> dict[Path, Inspection]:
    """`inspect` for many files, on all cores this process may use; in the order given."""
    from tqdm.contrib.concurrent import thread_map

    paths, bar = list(paths), {"desc": "decoding", "unit": " images", "delay": 2, "disable": None}
    # Threads: PIL decodes without holding the interpreter's lock.
    found = thread_map(inspect, paths, max_workers=cores(), **bar)
    return dict(zip(paths, found, strict=True))


def require_images(paths: Iterable[Path]) -> None:
    """Refuse unreadable images, naming the first ten."""
    bad = [f"{path.parent.name}/{path.name} ({i.problem})"
           for path, i in inspect_all(paths).items() if i.problem]
    if bad:
        (line,) = as_lines({"unreadable images": bad})
        raise UserError(line, "restore them; python -m src.competition check shows all")


def identical_files(paths: Iterable[Path]) -> list[list[Path]]:
    """Groups of two or more files with the same bytes, sorted by name; empty files do not count."""
    by_size, by_content = defaultdict(list), defaultdict(list)
    for path in paths:
        by_size[path.stat().st_size].append(path)
    # Only files that share their size can be identical: in the real competition a quarter.
    for size, same in by_size.items():
        for path in same if size and len(same) > 1 else ():
            by_content[sha256(path)].append(path)
    return sorted(sorted(group) for group in by_content.values() if len(group) > 1)
