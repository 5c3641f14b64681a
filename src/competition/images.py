"""What is in tables and image files, and what is wrong with them; knows no competition.

PIL and tqdm are loaded by the functions that open images: who reads tables need not wait for them.
"""

import csv
import io
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from src.core import UserError, cores, sha256

TURNED = (5, 6, 7, 8)  # values of the EXIF orientation that exchange width and height


class Picture(NamedTuple):
    """What one file turned out to be; `problem` is empty when it can be decoded in full."""

    size: tuple[int, int] = (0, 0)  # width, height, upright
    kind: str = ""  # "JPEG RGB": format and mode as stored
    converted: bool = False  # the mode is another than that of 8-bit colour or grey photographs
    rotated: bool = False  # the EXIF orientation is not the usual one
    problem: str = ""


def some(names: Iterable[object], shown: int = 10, joint: str = ", ") -> str:
    """The first `names` as a list on one line, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - shown:,} more" if len(names) > shown else ""
    return joint.join(_visible(str(name)) for name in names[:shown]) + more


def _visible(name: str) -> str:
    r"""`name` with what a terminal would not print as an escape: Icon\r, a\nb.jpg."""
    return name if name.isprintable() else repr(name)[1:-1]


def read_csv(path: Path, columns: list[str], remedy: str) -> pd.DataFrame:
    """The `columns` of a CSV as strings; a table without rows or with torn ones is refused."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        header, *rows = [row for row in csv.reader(io.StringIO(text), strict=True) if row] or [[]]
    except OSError as error:
        raise UserError(f"{path}: {(error.strerror or str(error)).lower()}; {remedy}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is no readable CSV ({error}); {remedy}") from None
    problem = _shape_problem(header, rows, columns)
    if problem:
        raise UserError(f"{path} {problem}; {remedy}")
    values = dict(zip(header, zip(*rows, strict=True), strict=True))
    return pd.DataFrame({column: values[column] for column in columns})


def _shape_problem(header: list[str], rows: list[list[str]], columns: list[str]) -> str:
    """What keeps header and rows from being a table with these columns, or nothing."""
    lacking = [column for column in columns if header.count(column) != 1]
    torn = [(n, len(row)) for n, row in enumerate(rows, 1) if len(row) != len(header)]
    if not header:
        return "is empty"
    if lacking:
        return f"needs one column {', '.join(lacking)} and has {','.join(header)[:80]!r}"
    if not rows:
        return "has a header but no rows"
    if torn:
        return f"has {torn[0][1]} fields instead of {len(header)} in row {torn[0][0]:,}"
    return ""


def faults(table: pd.DataFrame, file: str) -> dict[str, list[str]]:
    """Kinds of wrong values in a table of strings read from `file`, with the ids concerned."""
    ids = table.image_id.replace("", "(no id)")
    wrong = {f"{file}: empty {column}": table[column].str.strip() == "" for column in table}
    wrong[f"{file}: id twice"] = ids.duplicated() & (table.image_id != "")
    if "age" in table:
        wrong[f"{file}: age is no whole number"] = ~table.age.str.fullmatch("[0-9]+")
    return {what: list(ids[rows]) for what, rows in wrong.items()}


def as_lines(found: dict[str, list[str]]) -> list[str]:
    """`{"train.csv: empty label": [ids]}` → "train.csv: empty label (1): 100330.jpg"."""
    return [f"{what} ({len(names):,}): {some(names)}" for what, names in found.items() if names]


def look(path: Path) -> Picture:
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
        return Picture(problem=problem_of(path, error))
    size = (height, width) if orientation in TURNED else (width, height)
    return Picture(size, kind, converted, orientation not in (0, 1))


def problem_of(path: Path, error: Exception) -> str:
    """What is wrong with a file that PIL could not decode, without repeating its path."""
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "no picture" if path.stat().st_size else "empty file"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return "truncated" if "truncated" in str(error).lower() else str(error) or type(error).__name__


def look_at_all(paths: Iterable[Path]) -> list[Picture]:
    """`look` at many files on all cores this process may use, in the order given."""
    from tqdm import tqdm

    paths = list(paths)
    # PIL decodes without holding the interpreter's lock, so threads are as good as processes.
    with ThreadPoolExecutor(cores()) as pool:
        looks = pool.map(look, paths)
        return list(tqdm(looks, "decoding", len(paths), unit=" images", delay=2, disable=None))


def verify_images(paths: Iterable[Path]) -> list[tuple[Path, str]]:
    """The files that cannot be decoded in full, each with what is wrong with it."""
    paths = list(paths)
    pictures = zip(paths, look_at_all(paths), strict=True)
    return [(path, picture.problem) for path, picture in pictures if picture.problem]


def require_images(paths: Iterable[Path]) -> None:
    """Refuse unreadable images, naming the first ten."""
    bad = verify_images(paths)
    if bad:
        count = "1 unreadable image" if len(bad) == 1 else f"{len(bad):,} unreadable images"
        names = some(f"{path.parent.name}/{path.name} ({problem})" for path, problem in bad)
        remedy = "restore them; python -m src.competition check shows all"
        raise UserError(f"{count}: {names}; {remedy}")


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
