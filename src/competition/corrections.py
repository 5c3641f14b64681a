"""Corrections of the training images, from two small CSV: some left out, some labelled anew.

Only what is trained on changes. The hold-out keeps every image and the labels of train.csv, so
that the errors of all variants are of the same images.
"""

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from src.competition.dataset import classes, train_table
from src.competition.images import read_csv, some
from src.core import ROOT, UserError, Variant, sha256_lines

COLUMNS = {"exclude": ["image_id"], "relabel": ["image_id", "label"]}


class Corrections(NamedTuple):
    """Images not to be trained on, and images with their right labels."""

    exclude: set[str]
    relabel: dict[str, str]


def read_corrections(variant: Variant, folder: Path) -> Corrections:
    """What the files of `variant` say, refused unless it is of images and classes of `folder`."""
    known = train_table(folder).index
    exclude, relabel = (_read(variant, field) for field in COLUMNS)
    for field, ids in (("exclude", exclude.image_id), ("relabel", relabel.image_id)):
        _refuse(variant, field, ids[~ids.isin(known)], "no image of train.csv")
        _refuse(variant, field, ids[ids.duplicated()], "named twice")
    both = relabel.image_id[relabel.image_id.isin(exclude.image_id)]
    _refuse(variant, "relabel", both, f"left out by {variant.exclude}")
    strange = relabel.label[~relabel.label.isin(classes(folder))]
    _refuse(variant, "relabel", strange, f"no class; those are {', '.join(classes(folder))}")
    return Corrections(set(exclude.image_id), relabel.set_index("image_id").label.to_dict())


def digests(variant: Variant) -> dict[str, str]:
    """Field → sixteen characters that name what its file says, whatever the order of its rows."""
    tables = {field: _read(variant, field) for field in COLUMNS if getattr(variant, field)}
    rows = {field: table.agg("\t".join, axis=1).tolist() for field, table in tables.items()}
    return {field: sha256_lines(lines)[:16] for field, lines in rows.items()}


def _read(variant: Variant, field: str) -> pd.DataFrame:
    """The table that `field` names, without rows if it names none."""
    columns, path = COLUMNS[field], getattr(variant, field)
    if not path:
        return pd.DataFrame(columns=columns, dtype=str)
    remedy = f"mend {field} or leave it out"
    return read_csv(file_of(path), columns, remedy)


def file_of(path: str) -> Path:
    """The file of a recipe: relative to the repository, from wherever the training is started."""
    return (ROOT / Path(path).expanduser()).resolve()


def _refuse(variant: Variant, field: str, names: pd.Series, reason: str) -> None:
    if len(names):
        path = getattr(variant, field)
        raise UserError(f"{field}={path}: {some(names.unique())}: {reason}; mend the file")
