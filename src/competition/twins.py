"""The table that `python -m src.review twins` makes: which images show the same leaf.

Beside it a .json has the fingerprint of the images it is of.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from src.competition import dataset
from src.competition.images import identical_files
from src.competition.tables import read_csv
from src.core import UserError, review_dir, sha256_lines, write_json, write_text

TWIN_COLUMNS = ["a", "b", "kind", "group", "inliers"]
MAKE = "python -m src.review twins"


def twins_path() -> Path:
    """Where the table is."""
    return review_dir() / "twins.csv"


def write_twins(folder: Path, pairs: pd.DataFrame) -> None:
    """Write the `pairs` found among the images of `folder`, and whose they are."""
    write_text(twins_path(), pairs[TWIN_COLUMNS].to_csv(index=False, lineterminator="\n"))
    write_json(twins_path().with_suffix(".json"), {"images": _images(folder), "pairs": len(pairs)})


def read_twins(folder: Path) -> pd.DataFrame:
    """The pairs among the images of `folder`; UserError without a table, or with one of others."""
    path = twins_path()
    try:
        facts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        images, count = facts["images"], facts["pairs"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{path} is missing, or its .json", MAKE) from None
    if images != _images(folder):
        raise UserError(f"{path} is of other images than {folder}", MAKE)
    lines = path.read_text(encoding="utf-8-sig").split() if count and path.is_file() else []
    if not count or lines == [",".join(TWIN_COLUMNS)]:  # none found, or a person removed all
        return pd.DataFrame(columns=TWIN_COLUMNS)
    pairs = read_csv(path, TWIN_COLUMNS, MAKE)
    return pairs.assign(group=groups_of(pairs))


def groups_of(pairs: pd.DataFrame) -> list[int]:
    """The number of each pair's group: the union of all pairs that share an image."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    codes, ids = pd.factorize(pairs[["a", "b"]].to_numpy().ravel("F"))
    a, b = codes[: len(pairs)], codes[len(pairs) :]
    joined = coo_array((np.ones(len(a)), (a, b)), shape=(len(ids), len(ids)))
    return [int(number) + 1 for number in pd.factorize(connected_components(joined)[1][a])[0]]


def both_ways(pairs: pd.DataFrame) -> pd.DataFrame:
    """The `pairs` as a, b, kind in both directions; the copies of a file share its twins."""
    both = pd.concat([pairs, pairs.rename(columns={"a": "b", "b": "a"})])[["a", "b", "kind"]]
    same = both[both.kind == "identical"]
    same = pd.concat([same[["a", "b"]], both[["a"]].assign(b=both.a)]).drop_duplicates()
    same = same.merge(same.set_axis(["b", "copy"], axis=1))[["a", "copy"]].drop_duplicates()
    for side in "ab":  # each image in it stands for its copies, too
        copies = same.rename(columns={"a": side})
        both = both.merge(copies, on=side).drop(columns=side).rename(columns={"copy": side})
    both = both[both.a != both.b].drop_duplicates().sort_values(["a", "b"])
    return both[["a", "b", "kind"]]


def _images(folder: Path) -> str:
    return sha256_lines([dataset.train_fingerprint(folder), dataset.test_fingerprint(folder)])


def _by_group(folder: Path) -> Iterator[pd.Index]:
    """The images of each group of twins."""
    for _, rows in read_twins(folder).groupby("group"):
        yield pd.Index(pd.unique(rows[["a", "b"]].to_numpy().ravel()))


def twin_groups(folder: Path, identical: pd.Series) -> pd.Series:
    """`identical` (image_id → its group), joined where the table says that leaves are the same."""
    groups = identical.copy()
    for images in _by_group(folder):
        own = groups[groups.index.isin(images)]
        groups[groups.isin(own)] = own.min()
    return groups


def leaking(folder: Path, folds: pd.Series) -> pd.Index:
    """The images with a twin in another fold, where a model that holds them out was trained on it.

    None without a table of these images; `read_twins` says how to make it.
    """
    try:
        inside = [images.intersection(folds.index) for images in _by_group(folder)]
    except UserError:
        inside = []
    apart = [images for images in inside if folds[images].nunique() > 1]
    return pd.Index([image for images in apart for image in images], dtype=object)


def identical_labels(folder: Path) -> dict[str, pd.Series]:
    """"train" and "test" → image_id → the one label of its byte-identical training images.

    A training image is none of its own; where they have several labels none is known.
    """
    train, tests = dataset.train_paths(folder), pd.Series(dataset.test_paths(folder), dtype=object)
    given = dict(zip(train, dataset.train_table(folder).label[train.index], strict=True))
    known = {}
    for same in identical_files([*train, *tests]):
        for path in same:
            labels = {given[other] for other in same if other in given and other != path}
            known |= {path: labels.pop()} if len(labels) == 1 else {}
    return {split: paths[paths.isin(known)].map(known).astype(object)
            for split, paths in (("train", train), ("test", tests))}
