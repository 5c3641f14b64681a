"""Copies of the training photographs, shrunk once: `cache: 256` trains on them, and waits less.

A copy is a JPEG, upright, `side` pixels at its shorter side (no photograph is enlarged), below
cache/ of the work folder, in a folder of its class. Only training reads copies: the hold-out and
the test images are read from the competition's files, so that every error and every prediction is
one of photographs. `index.tsv` knows the size of each copy and the content it was made from;
whatever is missing, cut short or made from other content is made again, and what a killed run has
finished is kept.
"""

import re
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from PIL import Image
from tqdm import tqdm

from src.core import atomic_path, cache_dir, cores, require_writable, sha256, terminal
from src.vision.photograph import open_image

INDEX = "index.tsv"
QUALITY = 95


class Note(NamedTuple):
    """What the index tells of a copy: sha256 of the photograph, bytes of the copy."""

    content: str
    size: int


def shrunk(paths: pd.Series, side: int, fingerprint: str) -> pd.Series:
    """image_id → its copy, for the photographs in `paths`; copies that are not there are made.

    `fingerprint` tells the competition's images from any other's.
    """
    folder = cache_dir() / f"{fingerprint[:12]}_{side}"
    require_writable(folder)
    copies = paths.map(lambda path: folder / path.parent.name / path.name)
    index = read_index(folder)
    noted = [index.get(_key(copy)) for copy in copies]
    pool = ThreadPoolExecutor(cores())  # PIL and hashlib do not hold Python's lock
    notes = pool.map(partial(_renew, side), paths, copies, noted)
    with open(folder / INDEX, "a", encoding="utf-8") as file:
        try:
            for copy, note in zip(tqdm(copies, "shrink", file=terminal()), notes, strict=True):
                if note != index.get(_key(copy)):
                    # The line end comes first: a killed run may have cut the last line short.
                    file.write("\n{}\t{}\t".format(*note) + _key(copy))
                    file.flush()
        finally:
            pool.shutdown(cancel_futures=True)
    return copies


def read_index(folder: Path) -> dict[str, Note]:
    """What was noted in `folder`, by class/image_id; a line that was cut short tells nothing."""
    path = folder / INDEX
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    whole = re.findall(r"^(\w{64})\t(\d+)\t(.+)$", text, re.M)
    return {key: Note(content, int(size)) for content, size, key in whole}


def _key(copy: Path) -> str:
    return f"{copy.parent.name}/{copy.name}"


def _renew(side: int, path: Path, copy: Path, noted: Note | None) -> Note:
    """Make the copy of one photograph, unless the one that was `noted` stands there."""
    content = sha256(path)
    if copy.is_file() and noted == (content, copy.stat().st_size):
        return noted
    image = open_image(path)
    scale = min(1, side / min(image.size))
    small = image.resize([round(scale * n) for n in image.size], Image.Resampling.LANCZOS)
    with atomic_path(copy) as temporary:
        small.save(temporary, "JPEG", quality=QUALITY)
    return Note(content, copy.stat().st_size)
