"""The competition's files: found, compared with each other, read."""

import os
from functools import lru_cache
from pathlib import Path

import pandas as pd

from src.competition import mounts
from src.competition.tables import as_lines, internal_names, read_csv, some, table_faults
from src.core import DEMO_MARKER, ROOT, SAMPLE, Facts, UserError, entries, load_facts, sha256_lines

AGAIN = "unpack the competition's zip again (or draw the demo again)"
FIX = f"{AGAIN}, or fix the table; python -m src.competition check lists everything"
SOLUTION = "solution.csv"  # only the demo has it


def places() -> list[Path]:
    """Where the competition is looked for when nothing names its folder."""
    slug, kaggle = load_facts().slug, mounts.KAGGLE_INPUT
    return [kaggle / slug, kaggle / "competitions" / slug, ROOT / "data" / slug]


def candidates(data: str | Path = "") -> list[Path]:
    """Where the competition may be: the folder that is named, alone, else the usual places."""
    named = data or os.environ.get("PADDY_DATA")
    return [Path(str(named)).expanduser().resolve()] if named else places()


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
    """The competition's folder: `data`, else `PADDY_DATA`, else Kaggle's input, else data/.

    A folder that was named must hold the competition; the others are tried in turn.
    """
    folder = locate(data)
    if missing := missing_parts(folder):
        raise UserError(
            f"{folder} is no complete competition, it lacks {some(missing)}; {_how_to_get_it()}"
        )
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


def _refuse(folder: Path, faults: dict[str, list[str]], remedy: str = FIX) -> None:
    """Stop at the first kind of fault that was found."""
    for line in as_lines(faults)[:1]:
        raise UserError(f"{folder}: {line}; {remedy}")


# Tables


def train_table(folder: Path) -> pd.DataFrame:
    """The training table sorted by image_id, the index: label; variety and age (days) if known.

    Read again only when the file has changed: one command needs it several times.
    """
    facts = load_facts()
    path = folder / facts.table
    stat = path.stat() if path.exists() else None
    return _train_table(folder, facts, stat and (stat.st_mtime_ns, stat.st_size)).copy()


@lru_cache(maxsize=1)
def _train_table(folder: Path, facts: Facts, version: tuple[int, int] | None) -> pd.DataFrame:
    table = read_csv(folder / facts.table, [*facts.columns, *facts.other], AGAIN)
    _refuse(folder, table_faults(table, facts.table))
    table = internal_names(table).set_index("image_id").sort_index()
    return table.astype({"age": "int64"}) if "age" in table else table


def sample(folder: Path) -> pd.DataFrame:
    """sample_submission.csv in its own order: image_id, label (may be empty)."""
    facts = load_facts()
    table = read_csv(folder / SAMPLE, facts.columns, AGAIN)
    _refuse(folder, table_faults(table[[facts.id]], SAMPLE))
    return internal_names(table)


def solution(folder: Path) -> pd.Series | None:
    """The true labels of the test images in the sample's order; only the demo has them."""
    path, remedy = folder / SOLUTION, "delete it, or draw the demo again"
    if not path.exists():
        return None
    own = read_csv(path, load_facts().columns, remedy)
    ids, table = sample(folder).image_id, internal_names(own)
    strange = sorted(set(ids) ^ set(table.image_id))
    faults = table_faults(own, SOLUTION)
    _refuse(folder, faults | {f"{SOLUTION}: other images than in the sample": strange}, remedy)
    return table.set_index("image_id").label.loc[ids]


def classes(folder: Path) -> list[str]:
    """The labels of the training table, sorted."""
    return sorted(train_table(folder).label.unique())


# Tables and folders


def train_files(labels: pd.Series) -> pd.Series:
    """The path of each image below the training folder, for `labels` by image_id."""
    ids = labels.index.to_series()
    return labels + "/" + ids if load_facts().class_folders else ids


def train_sizes(folder: Path) -> dict[str, int]:
    """Path → bytes of every file below the training folder."""
    facts = load_facts()
    root = folder / facts.train
    if not facts.class_folders:
        return entries(root)
    labels = entries(root, folders=True)
    return {f"{label}/{name}": n for label in labels for name, n in entries(root / label).items()}


def train_faults(folder: Path, labels: pd.Series, sizes: dict[str, int]) -> dict[str, list[str]]:
    """Kinds of disagreement between table and training folder, with the names concerned."""
    facts, rows, files = load_facts(), set(train_files(labels)), set(sizes)
    faults = {}
    if facts.class_folders:
        folders, known = set(entries(folder / facts.train, folders=True)), set(labels.unique())
        faults[f"class folders that {facts.table} does not know"] = sorted(folders - known)
        faults[f"classes of {facts.table} without a folder"] = sorted(known - folders)
    faults[f"rows of {facts.table} without an image"] = sorted(rows - files)
    return faults | {"train images without a row": sorted(files - rows)}


def test_faults(ids: pd.Series, sizes: dict[str, int]) -> dict[str, list[str]]:
    """Kinds of disagreement between sample and test folder, with the names concerned."""
    rows, files = set(ids), set(sizes)
    return {
        "rows of the sample without an image": sorted(rows - files),
        "test images without a row": sorted(files - rows),
    }


def _checked_train(folder: Path) -> tuple[pd.Series, pd.Series, dict[str, int]]:
    """Labels and files by image_id, and the sizes of the files, once they agree."""
    labels, sizes = train_table(folder).label, train_sizes(folder)
    _refuse(folder, train_faults(folder, labels, sizes))
    return labels, train_files(labels), sizes


def _checked_test(folder: Path) -> tuple[pd.Series, dict[str, int]]:
    """The ids and the sizes of the test images, once sample and folder agree."""
    ids, sizes = sample(folder).image_id, entries(folder / load_facts().test)
    _refuse(folder, test_faults(ids, sizes))
    return ids, sizes


def train_paths(folder: Path) -> pd.Series:
    """image_id → path, sorted by id; tables and folders that disagree are refused."""
    _, files, _ = _checked_train(folder)
    root = folder / load_facts().train
    return pd.Series([root / file for file in files], files.index, dtype=object)


def test_paths(folder: Path) -> dict[str, Path]:
    """image_id → path in the sample's order; missing and extra images are refused."""
    root = folder / load_facts().test
    return {image_id: root / image_id for image_id in _checked_test(folder)[0]}


def train_fingerprint(folder: Path) -> str:
    """SHA-256 over id, label and bytes of every training image, whatever their order."""
    labels, files, sizes = _checked_train(folder)
    rows = zip(labels.index, labels, files, strict=True)
    return sha256_lines([f"{i}\t{label}\t{sizes[file]}" for i, label, file in rows])


def test_fingerprint(folder: Path) -> str:
    """SHA-256 over id and bytes of every test image, whatever their order."""
    return sha256_lines([f"{i}\t\t{size}" for i, size in _checked_test(folder)[1].items()])
