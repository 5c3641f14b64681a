"""Small image files, whole and damaged."""

from pathlib import Path

from PIL import Image


def picture(path: Path, red: int = 1, size=(12, 16), mode: str = "RGB", **save) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (red, 90, 40)).convert(mode).save(path, "JPEG", **save)


def truncate(path: Path, lost: int = 200) -> None:
    path.write_bytes(path.read_bytes()[:-lost])
