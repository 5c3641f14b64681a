"""What the members of a submission predicted by themselves, read by the contract of probs.py."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from src.competition import sample, test_fingerprint, train_table
from src.core import UserError
from src.evidence import average, read_probs

TEST = ".test.parquet"


class Predicted(NamedTuple):
    """The plain probabilities, without TTA, of one member."""

    name: str
    holdout: pd.DataFrame  # no rows when nothing was held out
    test: pd.DataFrame


class Members(NamedTuple):
    """The members a submission can be compared with."""

    tables: Sequence[Predicted] = ()
    unread: Sequence[str] = ()  # why others are missing
    voted: bool = True  # the provenance names them; else they are what lies in models/


def labels_of(probs: pd.DataFrame) -> pd.Series:
    """image_id → most probable label."""
    names = probs.columns.to_numpy(object)[probs.to_numpy().argmax(axis=1)]
    return pd.Series(names, probs.index, dtype=object)


def read_members(origin: Mapping[str, Any], folder: Path, models: Path) -> Members:
    """The members that the provenance `origin` names, else all of `models` for this test set.

    A file that is missing, damaged or stale is not used; `unread` says so.
    """
    listed = [member for member in origin.get("members") or [] if "models" in member]
    named = {member["name"]: member["models"] for member in listed}
    there = {path.name.removesuffix(TEST) for path in models.glob(f"[!.]*{TEST}")}
    wanted = named or {name: {name: {}} for name in sorted(there)}
    if not wanted:
        text = f"the CSV names none and {models} has no predictions of test images"
        return Members(unread=[text], voted=False)
    tables, unread = [], []
    try:
        images = test_fingerprint(folder)
        labels, ids = train_table(folder).label, sample(folder).image_id
    except UserError as error:  # the test images are not whole
        return Members(unread=[str(error)], voted=bool(named))
    for name, parts in wanted.items():
        try:
            member = _read(name, parts, models, images)
            _require_same(member, labels, ids)
        except UserError as error:
            unread.append(str(error))
        else:
            tables.append(member)
    return Members(tables, unread, bool(named))


def _read(name: str, parts: Mapping[str, Mapping], models: Path, images: str) -> Predicted:
    """A member from the files of its models; `parts` has, where it is known, their sha256."""
    tests, holdouts = [], []
    for model, facts in parts.items():
        expect = {"model": model} | {key: facts[key] for key in facts if key == "sha256"}
        wanted = {**expect, "split": "test", "images": images}
        tables, meta = read_probs(models / f"{model}{TEST}", wanted)
        tests.append(tables["plain"])
        valid = models / f"{model}.valid.parquet"
        if valid.exists():  # else it held nothing out
            wanted = {"model": model, "split": "valid", "sha256": meta["sha256"]}
            holdouts.append(read_probs(valid, wanted)[0]["plain"])
    test = average(tests)
    return Predicted(name, pd.concat(holdouts) if holdouts else test.iloc[:0], test)


def _require_same(member: Predicted, labels: pd.Series, ids: pd.Series) -> None:
    """Refuse a member of other classes or images than the competition's."""
    if set(member.test.columns) != set(labels) or not member.holdout.index.isin(labels.index).all():
        raise UserError(f"{member.name} knows other classes or images than train.csv")
    if set(member.test.index) != set(ids):
        raise UserError(f"{member.name} predicted other images than the sample's")
