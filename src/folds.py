"""The saved splits: 5 stratified folds by image id for all variants, and 5 of whole sessions."""

from collections import Counter, defaultdict
from hashlib import sha256
from math import fsum
from pathlib import Path

import pandas as pd

from src.competition import train_fingerprint, train_paths, train_table
from src.config import UserError
from src.files import sha256_lines, write_text
from src.inspection import identical_files, read_csv

FOLDS = 5


def get_folds(folder: Path, seed: int, models: Path, split: str = "stratified") -> pd.Series:
    """image_id → fold 0 to 4, sorted by id: read from the models folder, made there if need be.

    Byte-identical files share a fold; with `split` grouped a whole variety × age does.
    """
    kind = "" if split == "stratified" else f"_{split}"
    path = models / f"folds_{train_fingerprint(folder)[:8]}{kind}_seed{seed}.csv"
    table = train_table(folder)
    if not path.exists():
        groups = identical_groups(train_paths(folder))
        groups = session_groups(table, groups) if split == "grouped" else groups
        folds = assign_folds(table.label, groups, seed)
        write_text(path, folds.reset_index().to_csv(index=False, lineterminator="\n"))
    return read_folds(path, table.index)


def read_folds(path: Path, ids: pd.Index) -> pd.Series:
    """The saved split, refused unless it gives each of the `ids` one fold from 0 to 4."""
    remedy = "delete it, the same split is made again"
    table = read_csv(path, ["image_id", "fold"], remedy)
    known = set(map(str, range(FOLDS)))
    if sorted(table.image_id) != sorted(ids) or set(table.fold) != known:
        what = f"does not give each training image one of {FOLDS} folds"
        raise UserError(f"{path} {what}; {remedy}")
    return table.astype({"fold": "int64"}).set_index("image_id").fold.sort_index()


def identical_groups(paths: pd.Series) -> pd.Series:
    """image_id → the first id among the files with the same bytes, often the image's own."""
    groups = pd.Series(paths.index, paths.index)
    for same in identical_files(paths):
        names = [path.name for path in same]
        groups[names] = min(names)
    return groups


def session_groups(table: pd.DataFrame, identical: pd.Series) -> pd.Series:
    """image_id → its variety and age; sessions that share `identical` files become one.

    Refused where there are fewer of them than folds.
    """
    groups = table.variety + " " + table.age.astype(str)
    for same in identical[identical.duplicated()].unique():
        together = groups.isin(groups[identical.index[identical == same]])
        groups[together] = groups[together].min()
    if (sessions := groups.nunique()) < FOLDS:
        raise UserError(
            f"split=grouped wants {FOLDS} or more groups of one variety and age that share no "
            f"photograph, train.csv has {sessions}; use split=stratified"
        )
    return groups


def assign_folds(labels: pd.Series, groups: pd.Series, seed: int, n: int = FOLDS) -> pd.Series:
    """image_id → fold; a group stays together, each class is spread as evenly as groups allow.

    Decided by hashes of group names and exact counts: the same on every machine, whatever the
    order of the rows. Large groups are dealt first, each to the fold that has least of its labels.
    """
    members = defaultdict(Counter)
    for image_id, group in groups.items():
        members[group][labels[image_id]] += 1
    if len(members) < n:
        raise UserError(f"{len(members)} different images cannot make {n} folds; add images")
    totals, fold_of = Counter(labels), {}
    held = [Counter() for _ in range(n)]
    for group in sorted(members, key=lambda g: (-members[g].total(), _shuffle(g, seed))):
        crowded = [(_crowding(members[group], fold, totals), fold.total()) for fold in held]
        fold_of[group] = crowded.index(min(crowded))
        held[fold_of[group]] += members[group]
    return groups.map(fold_of).rename("fold").rename_axis("image_id").sort_index()


def _shuffle(name: str, seed: int) -> str:
    """A random but lasting place for `name` in the order of the seed."""
    return sha256(f"{seed}\t{name}".encode()).hexdigest()


def _crowding(group: Counter, held: Counter, totals: Counter) -> float:
    """How full a fold already is of the labels of a group, each as a share of its class."""
    return fsum(n * held[label] / totals[label] ** 2 for label, n in sorted(group.items()))


def digest(folds: pd.Series) -> str:
    """Sixteen characters that name a split, whatever the order of its rows."""
    return sha256_lines([f"{image_id}\t{fold}" for image_id, fold in folds.items()])[:16]
