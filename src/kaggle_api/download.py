"""The competition's zip becomes the data folder: room, checksums, tables, then one rename."""

import shutil
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any
from zipfile import BadZipFile, ZipFile, is_zipfile

from tqdm import tqdm

from src import competition
from src.core import UserError, is_empty, is_left_by_system, put_in_place, sha256, write_json

NOTE = "archive.json"  # beside the data: where they came from
PUBLISHED = (13_876, 10)  # images and classes of the real competition
GB = 1e9


class Damaged(Exception):
    """The zip is half or broken; its text says how."""


def bring(folder: Path, zip_file: Path | None, fetch: Callable[[Path], None]) -> None:
    """Unpack `zip_file`, or what `fetch` downloads: once more if the first turns out damaged.

    Nothing is done when `folder` holds the whole competition.
    """
    if folder.is_dir() and not is_empty(folder):
        print(f"{_still_whole(folder)}: already here, nothing to do")
        return
    path = zip_file or folder.with_name(f"{competition.COMPETITION}.zip")
    remedy = "download it again in the browser" if zip_file else "run the same command again"
    for last in (bool(zip_file), True):
        if not zip_file and not is_zipfile(path):
            fetch(path)
        try:
            unpack(path, folder)
            break
        except Damaged as error:
            if last:
                raise UserError(f"{path} is damaged ({error}); {remedy}") from error
            print(f"{path} is damaged ({error}); downloading it again", flush=True)
            path.unlink()
    if not zip_file:
        path.unlink()
    print(describe(folder))


def _still_whole(folder: Path) -> str:
    """The line on a folder that was there before; how to begin anew when it is not whole."""
    try:
        return describe(folder)
    except UserError as error:
        raise UserError(f"{error}; or delete {folder} and run the same command again") from error


def unpack(zip_file: Path, folder: Path) -> None:
    """Unpack beside `folder`, check everything, then rename: `folder` is whole or not there.

    Raises Damaged for a broken zip, UserError for a full disk or a zip of something else.
    """
    temporary = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        _extract(zip_file, temporary)
        counts = _counts(zip_file, temporary)
        source = {"archive": zip_file.name, "sha256": sha256(zip_file)}
        when = {"unpacked": datetime.now(UTC).isoformat(timespec="seconds")}
        write_json(temporary / NOTE, source | {"bytes": zip_file.stat().st_size} | counts | when)
        put_in_place(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _extract(zip_file: Path, folder: Path) -> None:
    """Every member of the zip that no operating system left there, its checksum compared."""
    try:
        with ZipFile(zip_file) as archive:
            members = [m for m in archive.infolist() if not _is_left(m.filename)]
            need_room(folder.parent, sum(m.file_size for m in members), "to unpack it")
            for member in tqdm(members, desc="unpacking", unit=" files", mininterval=1):
                archive.extract(member, folder)
    except (BadZipFile, zlib.error, EOFError) as error:
        raise Damaged(str(error)) from error


def _is_left(member: str) -> bool:
    return any(map(is_left_by_system, PurePosixPath(member).parts))


def need_room(folder: Path, size: int, purpose: str) -> None:
    """Refuse when the disk of `folder` has less than `size` bytes (and 1 % more) free."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < size * 1.01:
        raise UserError(
            f"{folder} has {free / GB:.1f} GB free, {size / GB:.1f} GB are needed {purpose}; "
            "free some space, or name another folder with PADDY_DATA"
        )


def _counts(zip_file: Path, folder: Path) -> dict[str, Any]:
    """The counts of what was unpacked; a complaint names the zip, not the temporary folder."""
    try:
        return count(folder)
    except UserError as error:
        raise UserError(str(error).replace(str(folder), zip_file.name)) from error


def count(folder: Path) -> dict[str, Any]:
    """`images` and `classes`, once tables and files agree name by name; else UserError."""
    missing = competition.missing_parts(folder)
    if missing:
        raise UserError(f"no {', '.join(missing)} inside: not the competition's own zip, take that")
    images = len(competition.train_paths(folder)) + len(competition.test_paths(folder))
    return {"images": images, "classes": len(competition.classes(folder))}


def describe(folder: Path) -> str:
    """One line on a whole data folder: its counts, and whether they are the published ones."""
    counts = count(folder)
    line = f"{folder}: {counts['images']:,} images, {counts['classes']} classes"
    if (counts["images"], counts["classes"]) == PUBLISHED:
        return f"{line}, as published"
    return f"{line} (the real competition has {PUBLISHED[0]:,} and {PUBLISHED[1]})"
