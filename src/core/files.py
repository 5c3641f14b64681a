"""Files that appear whole or not at all, their hashes, and the commit that made them."""

import glob
import hashlib
import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from src.core.config import ROOT, UserError

# What the runs themselves write changes nothing in what they would do again.
CODE = ("--", ".", ":!submissions", ":!models", ":!dvc.lock")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; it takes the final name only when the block ends well.

    A killed or failed write leaves `path` as it was. Raises UserError when it cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
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
        if pid.isdigit() and not _alive(int(pid)):
            left.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def require_writable(folder: Path) -> None:
    """Refuse a folder nothing can be written to, before hours are spent on what would go there."""
    with atomic_path(folder / "writable") as temporary:
        temporary.touch()
    (folder / "writable").unlink(missing_ok=True)  # another run may be asking the same


def is_plain_name(name: str) -> bool:
    """Whether `name` can be a file's name on every system, without folder and extension."""
    plain = re.fullmatch(r"\w([\w .+-]*[\w+-])?", name)
    return bool(plain) and not name.endswith((".csv", ".ipynb"))


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
    git = ["git", "-C", str(ROOT)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True)
        changes = [*git, "status", "--porcelain", *CODE]
        status = subprocess.run(changes, capture_output=True)
    except FileNotFoundError:
        return {"commit": "", "dirty": True}
    dirty = bool(status.stdout.strip() or head.returncode)
    return {"commit": head.stdout.decode("ascii").strip(), "dirty": dirty}
