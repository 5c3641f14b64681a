"""The competition's files: found, checked, read; never guessed."""

import os
from functools import lru_cache
from pathlib import Path

import pandas as pd

from src.competition import mounts
from src.competition.audit import Report, report
from src.competition.images import as_lines, faults, read_csv, some
from src.competition.mismatches import test_mismatches, train_mismatches, train_sizes
from src.core import DEMO_MARKER, ROOT, UserError, entries, ignored, sha256_lines

COMPETITION = "paddy-disease-classification"
LAYOUT = ("train.csv", "train_images", "test_images", "sample_submission.csv")
TRAIN_COLUMNS = ["image_id", "label", "variety", "age"]
SAMPLE_COLUMNS = ["image_id", "label"]
AGAIN = "unpack the competition's zip again (or draw the demo again)"
MEND = f"{AGAIN}, or mend the table; python -m src.competition check lists everything"
WAYS_OUT = (
    "download it (python -m src.kaggle_api download, or by hand, unzipped into "
    f"data/{COMPETITION}), or draw the demo and go there (make demo; "
    "export PADDY_WORK=$PWD/demo PADDY_DATA=$PWD/demo/data)"
)


def places() -> list[Path]:
    """Where the competition is looked for when nothing names its folder."""
    kaggle = mounts.KAGGLE_INPUT
    both = [kaggle / COMPETITION, kaggle / "competitions" / COMPETITION]
    return [*both, ROOT / "data" / COMPETITION]


def missing_parts(folder: Path) -> list[str]:
    """The files and folders of the layout that `folder` lacks."""
    return [part for part in LAYOUT if not (folder / part).exists()]


def find(data: str | Path = "") -> Path:
    """The competition's folder: `data`, else `PADDY_DATA`, else Kaggle's input, else data/.

    A folder that was named must hold the competition; the others are tried in turn.
    """
    folder = locate(data)
    missing = missing_parts(folder)
    if missing:
        raise UserError(f"{folder} is no whole competition, it lacks {some(missing)}; {WAYS_OUT}")
    return folder


def candidates(data: str | Path = "") -> list[Path]:
    """Where the competition may be: the folder that is named, alone, else the usual places."""
    named = data or os.environ.get("PADDY_DATA")
    return [Path(str(named)).expanduser().resolve()] if named else places()


def is_drawn(folder: Path) -> bool:
    """Whether the competition in `folder` was drawn by src/demo.py and is not Kaggle's."""
    return (folder / DEMO_MARKER).is_file()


def locate(data: str | Path = "") -> Path:
    """The folder to look into, whole or not: the first whole one, else the first there is."""
    tried = candidates(data)
    there = [folder for folder in tried if folder.is_dir()]
    if not there:
        source = " (from PADDY_DATA)" if not data and os.environ.get("PADDY_DATA") else ""
        raise UserError(f"no competition in {', '.join(map(str, tried))}{source}; {WAYS_OUT}")
    return next((folder for folder in there if not missing_parts(folder)), there[0])


def _refuse(folder: Path, found: dict[str, list[str]], remedy: str = MEND) -> None:
    """Stop at the first kind of fault of which any were `found`."""
    for line in as_lines(found)[:1]:
        raise UserError(f"{folder}: {line}; {remedy}")


def train_table(folder: Path) -> pd.DataFrame:
    """train.csv sorted by image_id, the index: label, variety, age (whole days)."""
    path = folder / "train.csv"
    seen = path.stat() if path.exists() else None
    return _train_table(folder, seen and (seen.st_mtime_ns, seen.st_size)).copy()


@lru_cache(maxsize=1)  # one command asks for it up to four times
def _train_table(folder: Path, version: tuple[int, int] | None) -> pd.DataFrame:
    table = read_csv(folder / "train.csv", TRAIN_COLUMNS, AGAIN)
    _refuse(folder, faults(table, "train.csv"))
    return table.astype({"age": "int64"}).set_index("image_id").sort_index()


def sample(folder: Path) -> pd.DataFrame:
    """sample_submission.csv in its own order: image_id, label (may be empty)."""
    table = read_csv(folder / "sample_submission.csv", SAMPLE_COLUMNS, AGAIN)
    _refuse(folder, faults(table[["image_id"]], "sample_submission.csv"))
    return table


def solution(folder: Path) -> pd.Series | None:
    """The true labels of the test images in the sample's order; only the demo has them."""
    path, remedy = folder / "solution.csv", "delete it, or draw the demo again"
    if not path.exists():
        return None
    table = read_csv(path, SAMPLE_COLUMNS, remedy)
    ids = sample(folder).image_id
    foreign = sorted(set(ids) ^ set(table.image_id))
    strangers = {"solution.csv: other images than in the sample": foreign}
    _refuse(folder, faults(table, "solution.csv") | strangers, remedy)
    return table.set_index("image_id").label.loc[ids]


def classes(folder: Path) -> list[str]:
    """The labels of train.csv, sorted."""
    return sorted(train_table(folder).label.unique())


def train_path(folder: Path, image_id: str, label: str) -> Path:
    """Where the photograph of a row of train.csv lies."""
    return folder / "train_images" / label / image_id


def _whole_train(folder: Path) -> tuple[pd.Series, dict[tuple[str, str], int]]:
    """The labels and the sizes of the images, once tables and folders agree."""
    labels, sizes = train_table(folder).label, train_sizes(folder)
    _refuse(folder, train_mismatches(folder, labels, sizes))
    return labels, sizes


def train_paths(folder: Path) -> pd.Series:
    """image_id → path, sorted by id; tables and folders that disagree are refused."""
    labels, _ = _whole_train(folder)
    paths = [train_path(folder, image_id, label) for image_id, label in labels.items()]
    return pd.Series(paths, labels.index, dtype=object)


def _whole_test(folder: Path) -> tuple[pd.Series, dict[str, int]]:
    """The ids and the sizes of the test images, once sample and folder agree."""
    ids, sizes = sample(folder).image_id, entries(folder / "test_images")
    _refuse(folder, test_mismatches(ids, sizes))
    return ids, sizes


def test_paths(folder: Path) -> dict[str, Path]:
    """image_id → path in the sample's order; missing and extra images are refused."""
    ids, _ = _whole_test(folder)
    return {image_id: folder / "test_images" / image_id for image_id in ids}


def train_fingerprint(folder: Path) -> str:
    """SHA-256 over id, label and bytes of every training image, whatever their order."""
    _, sizes = _whole_train(folder)
    return sha256_lines([f"{i}\t{label}\t{size}" for (label, i), size in sizes.items()])


def test_fingerprint(folder: Path) -> str:
    """SHA-256 over id and bytes of every test image, whatever their order."""
    _, sizes = _whole_test(folder)
    return sha256_lines([f"{i}\t\t{size}" for i, size in sizes.items()])


def _lenient(path: Path, columns: list[str], wrong: list[str]) -> pd.DataFrame:
    """The table as far as it can be read; a reason why not is added to `wrong`."""
    try:
        return read_csv(path, columns, AGAIN)
    except UserError as error:
        wrong.append(str(error))
        return pd.DataFrame(columns=columns, dtype=str)


def check(folder: Path) -> Report:
    """What `folder` holds and what keeps training from starting; stops at nothing."""
    wrong = [f"no folder {folder / part}" for part in missing_parts(folder) if "." not in part]
    train = _lenient(folder / "train.csv", TRAIN_COLUMNS, wrong)
    test = _lenient(folder / "sample_submission.csv", ["image_id"], wrong)
    found = faults(train, "train.csv") | faults(test, "sample_submission.csv")
    sizes, test_sizes = train_sizes(folder), entries(folder / "test_images")
    if len(train):
        found |= train_mismatches(folder, train.set_index("image_id").label, sizes)
    if len(test):
        found |= test_mismatches(test.image_id, test_sizes)
    images = {
        "train": sorted(train_path(folder, name, label) for label, name in sizes),
        "test": sorted(folder / "test_images" / name for name in test_sizes),
    }
    return report(train, images, found, wrong, _ignored(folder))


def _ignored(folder: Path) -> list[str]:
    """Paths below `folder` of the files and folders that are not looked at."""
    root = folder / "train_images"
    places = [folder, root, *(root / label for label in entries(root, folders=True))]
    found = [place / name for place in [*places, folder / "test_images"] for name in ignored(place)]
    return [path.relative_to(folder).as_posix() for path in found]
