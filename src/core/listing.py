"""What lies in a folder, without the files that operating systems leave there."""

import os
import shutil
from pathlib import Path

# In lower case; Windows, macOS, Linux and network drives put them into any folder, macOS into zips.
LEFT_BY_SYSTEMS = frozenset({
    "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "$recycle.bin",
    "system volume information",
    ".ds_store", "__macosx", "icon\r", ".appledouble", ".apdisk", ".fseventsd", ".localized",
    ".spotlight-v100", ".temporaryitems", ".trashes", ".volumeicon.icns",
    ".directory", "lost+found", "@eadir",
})  # fmt: skip


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
    for name in filter(is_left_by_system, os.listdir(folder) if folder.is_dir() else []):
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    new.rename(folder)
