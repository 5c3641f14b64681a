"""Corrections of the training images, from two small CSV: some excluded, some relabelled.

The hold-out is unchanged: the errors of all variants are of the same images.
"""

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from src.competition.dataset import classes, train_table
from src.competition.tables import internal_names, read_csv, some
from src.core import ROOT, UserError, Variant, load_facts, sha256_lines

FIELDS = ("exclude", "relabel")


class Corrections(NamedTuple):
    """Images not to be trained on, and images with their right labels."""

    exclude: set[str]
    relabel: dict[str, str]


def read_corrections(variant: Variant, folder: Path) -> Corrections:
    """The corrections of `variant`; UserError unless they name images and classes of `folder`."""
    known, names = train_table(folder).index, classes(folder)
    exclude, relabel = (_read(variant, field) for field in FIELDS)
    for field, ids in (("exclude", exclude.image_id), ("relabel", relabel.image_id)):
        _refuse(variant, field, ids[~ids.isin(known)], f"no image of {load_facts().table}")
        _refuse(variant, field, ids[ids.duplicated()], "named twice")
    both = relabel.image_id[relabel.image_id.isin(exclude.image_id)]
    _refuse(variant, "relabel", both, f"excluded by {variant.exclude}")
    unknown = relabel.label[~relabel.label.isin(names)]
    _refuse(variant, "relabel", unknown, f"no class; those are {', '.join(names)}")
    return Corrections(set(exclude.image_id), relabel.set_index("image_id").label.to_dict())


def digests(variant: Variant) -> dict[str, str]:
    """Field → sixteen characters that identify the rows of its file, in any order."""
    return {field: sha256_lines(_read(variant, field).agg("\t".join, axis=1).tolist())[:16]
            for field in FIELDS if getattr(variant, field)}


def _read(variant: Variant, field: str) -> pd.DataFrame:
    """The table that `field` names; no rows if it names none."""
    facts, path = load_facts(), getattr(variant, field)
    columns = facts.columns if field == "relabel" else [facts.id]
    if not path:
        return internal_names(pd.DataFrame(columns=columns, dtype=str))
    return internal_names(read_csv(file_of(path), columns, f"fix {field} or leave it out"))


def file_of(path: str) -> Path:
    """The file of a recipe: relative to the repository, from wherever the training is started."""
    return (ROOT / Path(path).expanduser()).resolve()


def _refuse(variant: Variant, field: str, names: pd.Series, reason: str) -> None:
    if len(names):
        path = getattr(variant, field)
        raise UserError(f"{field}={path}: {some(names.unique())}: {reason}; fix the file")
