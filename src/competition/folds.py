"""The saved splits: 5 stratified folds by image id for all variants, or of sessions, or of leaves.

Not scikit-learn's: its folds depend on the order of the rows, its StratifiedGroupKFold hardly on
the seed. These depend on hashes of names and exact counts alone, as saved splits must not change.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from hashlib import sha256
from math import fsum
from pathlib import Path

import pandas as pd

from src.competition.dataset import train_fingerprint, train_paths, train_table
from src.competition.images import identical_files
from src.competition.tables import read_csv, some
from src.competition.twins import leaking, twin_groups
from src.core import UserError, load_facts, sha256_lines, write_text

FOLDS = 5
TRIES = 20  # of which a grouped split is the most even one
# Older versions split sessions in another way.
REMEDY = "restore it, or delete it: the same is made again, unless it is an old grouped one"
Members = Mapping[str, Counter]  # how many images of each label a group has


def get_folds(folder: Path, seed: int, models: Path, split: str = "stratified") -> pd.Series:
    """image_id → fold 0 to 4, sorted by id: read from the models folder, made there if need be.

    Byte-identical files share a fold; with `split` grouped a whole variety × age does, with twins
    the photographs of one leaf. A saved split that separates such twins is refused.
    """
    path, table = folds_path(folder, seed, models, split), train_table(folder)
    if not path.exists():
        groups = identical_groups(train_paths(folder))
        if split == "grouped":
            folds = assign_sessions(table.label, session_groups(table, groups), seed)
        else:
            groups = twin_groups(folder, groups) if split == "twins" else groups
            folds = assign_folds(table.label, groups, seed)
        write_text(path, folds.reset_index().to_csv(index=False, lineterminator="\n"))
    folds = _read_folds(path, table.index)
    if split == "twins" and len(apart := leaking(folder, folds)):  # without a table: on a node
        raise UserError(f"{path} separates twins of review/twins.csv: {some(apart, 4)}",
                        "restore that table, or delete the split and train its models again")
    return folds


def folds_path(folder: Path, seed: int, models: Path, split: str) -> Path:
    """The file of this split of these training images in the models folder."""
    kind = "" if split == "stratified" else f"_{split}"
    return models / f"folds_{train_fingerprint(folder)[:8]}{kind}_seed{seed}.csv"


def _read_folds(path: Path, ids: pd.Index) -> pd.Series:
    """The saved split, refused unless it gives each of the `ids` one fold from 0 to 4."""
    table = read_csv(path, ["image_id", "fold"], REMEDY)
    if sorted(table.image_id) != sorted(ids) or {*table.fold} != {*map(str, range(FOLDS))}:
        raise UserError(f"{path} does not give each training image one of {FOLDS} folds", REMEDY)
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
            f"split=grouped needs {FOLDS} or more groups of one variety and age that share no "
            f"photograph, {load_facts().table} has {sessions}", "use split=stratified")
    return groups


def assign_folds(labels: pd.Series, groups: pd.Series, seed: int) -> pd.Series:
    """image_id → fold; a group stays together, each class is spread as evenly as groups allow.

    Large groups come first; the seed orders groups of one size.
    """
    members = _count(labels, groups)
    order = sorted(members, key=lambda g: (-members[g].total(), _shuffle(g, seed)))
    return _by_image(groups, _distribute(members, order, Counter(labels)))


def assign_sessions(labels: pd.Series, groups: pd.Series, seed: int) -> pd.Series:
    """image_id → fold, as by `assign_folds`, for few groups of very unequal size.

    With the largest first all seeds would give the same folds: here each takes the most even split
    of several random orders, in which a larger group mostly comes earlier. The folds, from the
    largest on, are numbered from `seed` on: 5 seeds in a row hold out 5 others.
    """
    members, totals = _count(labels, groups), Counter(labels)
    splits = []
    for number in range(TRIES):
        late = {g: int(_shuffle(g, f"{seed}\t{number}"), 16) * -members[g].total() for g in members}
        splits.append(_distribute(members, sorted(members, key=late.get), totals))
    best = min(splits, key=lambda folds: _unevenness(members, folds, totals))
    best = sorted(best, key=lambda fold: max((members[g].total(), g) for g in fold), reverse=True)
    return _by_image(groups, [best[(number - seed) % FOLDS] for number in range(FOLDS)])


def _count(labels: pd.Series, groups: pd.Series) -> Members:
    members = defaultdict(Counter)
    for group, label in zip(groups, labels.loc[groups.index], strict=True):
        members[group][label] += 1
    if len(members) < FOLDS:
        raise UserError(f"{len(members)} different images cannot make {FOLDS} folds; add images")
    return members


def _distribute(members: Members, order: list[str], totals: Counter) -> list[list[str]]:
    """The groups of each fold: in `order`, each goes to the fold with the least of its labels."""
    folds, held = [[] for _ in range(FOLDS)], [Counter() for _ in range(FOLDS)]
    for group in order:
        crowded = [(_crowding(members[group], fold, totals), fold.total()) for fold in held]
        number = crowded.index(min(crowded))
        folds[number].append(group)
        held[number] += members[group]
    return folds


def _crowding(group: Counter, held: Counter, totals: Counter) -> float:
    """How much a fold already holds of the labels of a group, each as a share of its class."""
    return fsum(n * held[label] / totals[label] ** 2 for label, n in sorted(group.items()))


def _unevenness(members: Members, folds: list[list[str]], totals: Counter) -> float:
    """The sum of squared shares of each class in each fold, least where all shares are equal."""
    held = [sum((members[group] for group in fold), Counter()) for fold in folds]
    return fsum((fold[label] / totals[label]) ** 2 for fold in held for label in totals)


def _by_image(groups: pd.Series, folds: list[list[str]]) -> pd.Series:
    fold_of = {group: number for number, fold in enumerate(folds) for group in fold}
    return groups.map(fold_of).rename("fold").rename_axis("image_id").sort_index()


def _shuffle(name: str, seed: int | str) -> str:
    """A random sort key of `name`, always the same for a seed."""
    return sha256(f"{seed}\t{name}".encode()).hexdigest()


def digest(folds: pd.Series) -> str:
    """Sixteen characters that identify a split, whatever the order of its rows."""
    return sha256_lines([f"{image_id}\t{fold}" for image_id, fold in folds.items()])[:16]


def holdout_digest(images: list[str]) -> str:
    """The fingerprint a hold-out file carries: of its image ids, in any order."""
    return sha256_lines(images)
