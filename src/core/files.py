"""Files that appear whole or not at all, their hashes, what lies in folders, git's commit."""

import glob
import hashlib
import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from src.core.config import ROOT, UserError

# In lower case; Windows, macOS, Linux and network drives put them into any folder, macOS into zips.
LEFT_BY_SYSTEMS = frozenset({
    "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "system volume information",
    ".ds_store", "__macosx", "icon\r", ".appledouble", ".fseventsd", ".spotlight-v100",
    ".temporaryitems", ".trashes", ".directory", "lost+found", "@eadir",
})  # fmt: skip


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; it takes the final name only when the block ends well.

    Raises UserError when it cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{threading.get_ident()}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; nothing there was changed: "
            "free some space, or choose another folder with PADDY_WORK"
        ) from error
    finally:
        with suppress(OSError):  # of a read-only disk, where it never came to be
            temporary.unlink()


def _sweep(path: Path) -> None:
    """Remove what killed processes left half-written of `path`."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        pid = left.suffixes[-2].removeprefix(".")
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            left.unlink(missing_ok=True)


def require_writable(folder: Path) -> None:
    """Refuse a folder nothing can be written to, before hours are spent on what would go there."""
    with atomic_path(folder / "writable") as temporary:
        temporary.touch()
    (folder / "writable").unlink(missing_ok=True)  # another run may be asking the same


def is_plain_name(name: str) -> bool:
    """Whether `name` can be a file's name on every system, without folder and extension."""
    plain = re.fullmatch(r"\w([\w .+-]*[\w+-])?", name) is not None
    return plain and not name.endswith((".csv", ".ipynb"))


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` atomically, with unix line ends."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


@contextmanager
def torch_writes() -> Iterator[None]:
    """Make torch's RuntimeError of a full disk the OSError that it is."""
    try:
        yield
    except RuntimeError as error:
        raise OSError("torch could not write all of it") from error


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write `content` as readable JSON, atomically."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False, default=str) + "\n")


def sha256(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_lines(lines: list[str]) -> str:
    """SHA-256 of the sorted `lines`: the same whatever order they came in."""
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def commit() -> dict[str, Any]:
    """`commit` and `dirty` of the repository the code runs from; `commit` is empty outside git."""
    # What the runs themselves write changes nothing in what they would do again.
    code = ("--", ".", ":!submissions", ":!models", ":!dvc.lock")
    git = ["git", "-C", str(ROOT)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True)
        status = subprocess.run([*git, "status", "--porcelain", *code], capture_output=True)
    except FileNotFoundError:
        return {"commit": "", "dirty": True}
    dirty = bool(status.stdout.strip() or head.returncode)
    return {"commit": head.stdout.decode("ascii").strip(), "dirty": dirty}


def is_left_by_system(name: str) -> bool:
    """Whether a file or folder of this name is an operating system's own, whatever its case."""
    return name.startswith("._") or name.lower() in LEFT_BY_SYSTEMS


def entries(folder: Path, folders: bool = False) -> dict[str, int]:
    """Name → bytes of the files of `folder`, or of its folders; without those to be ignored."""
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as found:
        seen = [e for e in found if e.is_dir() == folders and not _is_ignored(e.name)]
        return {e.name: e.stat().st_size for e in seen}


def ignored(folder: Path) -> list[str]:
    """The names in `folder` that `entries` leaves out, sorted: hidden ones and systems' own."""
    return sorted(filter(_is_ignored, os.listdir(folder))) if folder.is_dir() else []


def _is_ignored(name: str) -> bool:
    return name.startswith(".") or is_left_by_system(name)


def is_empty(folder: Path) -> bool:
    """Whether nothing lies in `folder` but what operating systems left there."""
    return all(map(is_left_by_system, os.listdir(folder)))


def put_in_place(new: Path, folder: Path) -> None:
    """Rename the folder `new` to `folder`, which is empty or not there."""
    if folder.is_dir() and is_empty(folder):
        shutil.rmtree(folder)
    new.rename(folder)
