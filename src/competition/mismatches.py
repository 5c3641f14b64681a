"""Where the tables of a competition and its folders of images disagree."""

from pathlib import Path

import pandas as pd

from src.core import entries


def train_sizes(folder: Path) -> dict[tuple[str, str], int]:
    """(label, image_id) → bytes of every file below train_images/."""
    root = folder / "train_images"
    found = {label: entries(root / label) for label in entries(root, folders=True)}
    return {(label, name): n for label, names in found.items() for name, n in names.items()}


def train_mismatches(
    folder: Path, labels: pd.Series, sizes: dict[tuple[str, str], int]
) -> dict[str, list[str]]:
    """Kinds of disagreement between train.csv and train_images/, with the names concerned."""
    rows, files = set(zip(labels.tolist(), labels.index.tolist(), strict=True)), set(sizes)
    folders, named = set(entries(folder / "train_images", folders=True)), set(labels.unique())
    return {
        "class folders that train.csv does not know": sorted(folders - named),
        "classes of train.csv without a folder": sorted(named - folders),
        "rows of train.csv without an image": sorted(map("/".join, rows - files)),
        "train images without a row": sorted(map("/".join, files - rows)),
    }


def test_mismatches(ids: pd.Series, sizes: dict[str, int]) -> dict[str, list[str]]:
    """Kinds of disagreement between the sample and test_images/, with the names concerned."""
    rows, files = set(ids.tolist()), set(sizes)
    return {
        "rows of the sample without an image": sorted(rows - files),
        "test images without a row": sorted(files - rows),
    }
