"""The competition's files: found, compared with each other, read."""

import os
from functools import lru_cache
from pathlib import Path

import pandas as pd

from src.competition import mounts
from src.competition.tables import as_lines, internal_names, read_csv, some, table_faults
from src.core import DEMO_MARKER, ROOT, SAMPLE, UserError, entries, load_facts, sha256_lines

AGAIN = "unpack the competition's zip again (or draw the demo again)"
FIX = f"{AGAIN}, or fix the table; python -m src.competition check lists everything"
SOLUTION = "solution.csv"  # only the demo has it


def candidates(data: str | Path = "") -> list[Path]:
    """Where the competition may be: the folder that is named, alone, else the usual places."""
    if named := data or os.environ.get("PADDY_DATA"):
        return [Path(str(named)).expanduser().resolve()]
    slug, kaggle = load_facts().slug, mounts.KAGGLE_INPUT
    return [kaggle / slug, kaggle / "competitions" / slug, ROOT / "data" / slug]


def missing_parts(folder: Path) -> list[str]:
    """The files and folders of the competition that `folder` lacks."""
    return [part for part in load_facts().layout if not (folder / part).exists()]


def locate(data: str | Path = "") -> Path:
    """The folder to look into, complete or not: the first complete one, else the first there is."""
    tried = candidates(data)
    found = [folder for folder in tried if folder.is_dir()]
    if not found:
        source = " (from PADDY_DATA)" if not data and os.environ.get("PADDY_DATA") else ""
        raise UserError(f"no competition in {some(tried)}{source}; {_how_to_get_it()}")
    return next((folder for folder in found if not missing_parts(folder)), found[0])


def find(data: str | Path = "") -> Path:
    """The competition's folder: `data`, else `PADDY_DATA`, else Kaggle's input, else data/."""
    folder = locate(data)
    if missing := missing_parts(folder):
        problem = f"{folder} is no complete competition, it lacks {some(missing)}"
        raise UserError(problem, _how_to_get_it())
    return folder


def _how_to_get_it() -> str:
    return (
        "download it (python -m src.kaggle_api download, or by hand, unzipped into "
        f"data/{load_facts().slug}), or draw the demo and go there (make demo; "
        "export PADDY_WORK=$PWD/demo PADDY_DATA=$PWD/demo/data)"
    )


def is_drawn(folder: Path) -> bool:
    """Whether the competition in `folder` was drawn by src/demo and is not Kaggle's."""
    return (folder / DEMO_MARKER).is_file()


def _refuse(folder: Path, faults: dict[str, list[str]]) -> None:
    """Stop at the first kind of fault that was found."""
    if lines := as_lines(faults):
        raise UserError(f"{folder}: {lines[0]}", FIX)


def train_table(folder: Path) -> pd.DataFrame:
    """The training table sorted by image_id, the index: label; variety and age (days) if known."""
    path = folder / load_facts().table
    stat = path.stat() if path.exists() else None
    return _train_table(path, stat and (stat.st_mtime_ns, stat.st_size)).copy()


@lru_cache(maxsize=1)  # one command needs it several times
def _train_table(path: Path, version: tuple[int, int] | None) -> pd.DataFrame:
    facts = load_facts()
    table = read_csv(path, [*facts.columns, *facts.other], AGAIN)
    _refuse(path.parent, table_faults(table, facts.table))
    table = internal_names(table).set_index("image_id").sort_index()
    return table.astype({"age": "int64"}) if "age" in table else table


def classes(folder: Path) -> list[str]:
    """The labels of the training table, sorted."""
    return sorted(train_table(folder).label.unique())


def sample(folder: Path) -> pd.DataFrame:
    """sample_submission.csv in its own order: image_id, label (may be empty)."""
    facts = load_facts()
    table = read_csv(folder / SAMPLE, facts.columns, AGAIN)
    _refuse(folder, table_faults(table[[facts.id]], SAMPLE))
    return internal_names(table)


def solution(folder: Path) -> pd.Series | None:
    """The true labels of the test images in the sample's order; only the demo has them."""
    if not (folder / SOLUTION).exists():
        return None
    table = read_csv(folder / SOLUTION, load_facts().columns, "draw the demo again")
    labels = internal_names(table).set_index("image_id").label
    ids = sample(folder).image_id
    if sorted(ids) != sorted(labels.index):
        raise UserError(f"{folder / SOLUTION} has other images than the sample; draw it again")
    return labels.loc[ids]


# Tables and folders. Files are named below the folder of their split, "train" or "test".


def file_names(labels: pd.Series) -> pd.Series:
    """The file of each training image, for `labels` by image_id."""
    ids = labels.index.to_series()
    return labels + "/" + ids if load_facts().class_folders else ids


def file_sizes(folder: Path, split: str) -> dict[str, int]:
    """File → bytes of all there are of a split."""
    facts = load_facts()
    root = folder / (facts.train if split == "train" else facts.test)
    if split == "test" or not facts.class_folders:
        return entries(root)
    labels = entries(root, folders=True)
    return {f"{label}/{name}": n for label in labels for name, n in entries(root / label).items()}


def file_faults(split: str, named: pd.Series, sizes: dict[str, int]) -> dict[str, list[str]]:
    """Rows whose file, one of `named`, is missing, and files without a row."""
    table = load_facts().table if split == "train" else "the sample"
    rows, files = set(named), set(sizes)
    return {f"rows of {table} without an image": sorted(rows - files),
            f"{split} images without a row": sorted(files - rows)}


def class_faults(folder: Path, labels: pd.Series) -> dict[str, list[str]]:
    """Class folders that the table does not know, and its classes without a folder."""
    facts = load_facts()
    if not facts.class_folders:
        return {}
    known, folders = set(labels), set(entries(folder / facts.train, folders=True))
    return {f"class folders that {facts.table} does not know": sorted(folders - known),
            f"classes of {facts.table} without a folder": sorted(known - folders)}


def _files(folder: Path, split: str) -> tuple[pd.Series, dict[str, int]]:
    """The file of each image_id and the bytes of each file, once table and folder agree."""
    if split == "train":
        labels = train_table(folder).label
        _refuse(folder, class_faults(folder, labels))
        named = file_names(labels)
    else:
        named = sample(folder).image_id.pipe(lambda ids: ids.set_axis(ids))
    sizes = file_sizes(folder, split)
    _refuse(folder, file_faults(split, named, sizes))
    return named, sizes


def train_paths(folder: Path) -> pd.Series:
    """image_id → path, sorted by id; a table and a folder that disagree are refused."""
    root, (named, _) = folder / load_facts().train, _files(folder, "train")
    return pd.Series([root / file for file in named], named.index, dtype=object)


def test_paths(folder: Path) -> dict[str, Path]:
    """image_id → path in the sample's order; missing and extra images are refused."""
    root, (names, _) = folder / load_facts().test, _files(folder, "test")
    return {name: root / name for name in names}


def train_fingerprint(folder: Path) -> str:
    """SHA-256 over id, label and bytes of every training image, whatever their order."""
    (named, sizes), labels = _files(folder, "train"), train_table(folder).label
    rows = zip(labels.items(), named, strict=True)
    return sha256_lines([f"{name}\t{label}\t{sizes[file]}" for (name, label), file in rows])


def test_fingerprint(folder: Path) -> str:
    """SHA-256 over id and bytes of every test image, whatever their order."""
    return sha256_lines([f"{name}\t\t{size}" for name, size in _files(folder, "test")[1].items()])
