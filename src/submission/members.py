"""The members of a submission: what each predicts by itself, and how well the labels agree.

Their predictions are joined by image id, so they do not share what went wrong with the rows of a
CSV. How often they should agree is known from the hold-out.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from src.competition import sample, some, test_fingerprint, train_table
from src.core import UserError
from src.evidence import average, read_probs, too_few, wilson, wrong_of
from src.submission.finding import Finding
from src.submission.misalignment import exchanged, misalignment, shifted

TEST = ".test.parquet"
LOST = 0.2  # of the agreement beyond chance; fewer rows in wrong places look like drift
LOST_UNKNOWN = 0.5  # where the CSV says nothing of its members: it may be a much weaker file


class Predicted(NamedTuple):
    """The plain probabilities, without TTA, of one member."""

    name: str
    holdout: pd.DataFrame  # no rows when nothing was held out
    test: pd.DataFrame


class Members(NamedTuple):
    """The members a submission can be compared with."""

    tables: Sequence[Predicted] = ()
    unread: Sequence[str] = ()  # why others are missing
    voted: bool = True  # the provenance names them; else they are all that models/ has


class Agreement(NamedTuple):
    """The share of the test images on which the labels and one member agree."""

    name: str
    share: float
    low: float  # 95 % interval of the share
    high: float
    least: float  # it must reach


def labels_of(probs: pd.DataFrame) -> pd.Series:
    """image_id → most probable label."""
    names = probs.columns.to_numpy(object)[probs.to_numpy().argmax(axis=1)]
    return pd.Series(names, probs.index, dtype=object)


def read_members(origin: Mapping[str, Any], folder: Path, models: Path) -> Members:
    """The members that the provenance `origin` names, else all of `models` for this test set.

    `unread` says why a missing, damaged or stale file is not used.
    """
    named = {m["name"]: m["models"] for m in origin.get("members") or [] if "models" in m}
    there = sorted(path.name.removesuffix(TEST) for path in models.glob(f"[!.]*{TEST}"))
    wanted = named or {name: {name: {}} for name in there}
    if not wanted:
        text = f"the CSV names none and {models} has no predictions of test images"
        return Members(unread=[text], voted=False)
    try:
        images = test_fingerprint(folder)
    except UserError as error:  # the test images are not whole
        return Members(unread=[str(error)], voted=bool(named))
    labels, ids = train_table(folder).label, sample(folder).image_id
    tables, unread = [], []
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
        wanted = {"model": model} | {key: facts[key] for key in facts if key == "sha256"}
        test = {**wanted, "split": "test", "images": images}
        tables, meta = read_probs(models / f"{model}{TEST}", test)
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


def predicted_mix(members: Members, origin: Mapping[str, Any]) -> pd.Series | None:
    """How often each label was predicted on the hold-out; None where too little was held out.

    By the ensemble itself, where its provenance `origin` knows, else on average by its members.
    """
    counts = origin.get("expected", {}).get("labels")
    if counts is None and members.tables:
        held = pd.concat([labels_of(member.holdout) for member in members.tables])
        counts = held.value_counts() / len(members.tables)
    counts = pd.Series(counts, dtype=float)
    return None if too_few(int(counts.sum())) else counts


def member_findings(
    labels: pd.Series, members: Members, origin: Mapping[str, Any], truth: pd.Series
) -> list[Finding]:
    """Whether `labels` are misaligned with all members together, and who agrees too little.

    `truth` are the labels of the training images.
    """
    unread = [f"with members: {some(members.unread, 1)}"] if members.unread else []
    unread = [Finding("not compared", text) for text in unread]
    if not members.tables:
        return unread
    names = [member.name for member in members.tables]
    who = names[0] if len(names) == 1 else f"{len(names)} members"
    who += "" if members.voted else " of models/ (the CSV names none)"
    together = labels_of(average([m.test.loc[labels.index] for m in members.tables]))
    found = [_agreement(labels, member, origin, truth) for member in members.tables]
    found = sorted((a for a in found if a), key=lambda a: a.share - a.least)
    if what := _misaligned(labels, together, members, truth):
        remedy = "join labels by image_id and name them by the model's own classes"
        errors = [Finding("error", f"{what}, beside the predictions of {who}; {remedy}")]
    else:
        errors = _refused(found, members.voted)
    # The order counts as compared only if a shift of these very labels would be found.
    order = bool(what or shifted(pd.Series(np.roll(labels, 1), labels.index), together))
    return [*errors, *_compared(found, names, who, order), *unread]


def _misaligned(labels: pd.Series, together: pd.Series, members: Members, truth: pd.Series) -> str:
    """How `labels` are misaligned with the predictions of all members `together`.

    Classes that the members confuse on the hold-out, too, do not count.
    """
    what = misalignment(labels, together)
    held = pd.concat([labels_of(member.holdout) for member in members.tables])
    return what if held.empty or what != exchanged(truth.loc[held.index], held) else ""


def _agreement(
    labels: pd.Series, member: Predicted, origin: Mapping[str, Any], truth: pd.Series
) -> Agreement | None:
    """How often `labels` and `member` agree, and how often they must.

    Of the way from chance to what the hold-out lets expect, all but `LOST` must be reached: as many
    rows may be in the wrong place. None where it would not refuse the same labels in another order:
    the member is too weak, or the images are too few.
    """
    picks, images = labels_of(member.test.loc[labels.index]), len(labels)
    mixes = [column.value_counts(normalize=True) for column in (labels, picks)]
    chance = float(mixes[0].mul(mixes[1], fill_value=0).sum())
    lost = LOST if member.name in origin.get("expected", {}).get("agree", {}) else LOST_UNKNOWN
    least = (1 - lost) * _expected(member, origin, truth, chance) + lost * chance
    if too_few(images) or wilson(round(chance * images), images)[1] >= least:
        return None
    same = int((picks == labels).sum())
    return Agreement(member.name, same / images, *wilson(same, images), least)


def _expected(
    member: Predicted, origin: Mapping[str, Any], truth: pd.Series, chance: float
) -> float:
    """The least share of images on which a right submission and `member` agree; 0 if unknown.

    It is the ensemble's own agreement on the hold-out, if its provenance knows that; else that of
    a model which is right as often as the member, with mistakes that are alike by `chance`.
    """
    known = origin.get("expected", {})
    if member.name in known.get("agree", {}):
        same, images = known["agree"][member.name], known["images"]
        return 0.0 if too_few(images) else wilson(same, images)[0]
    if too_few(len(member.holdout)):
        return 0.0
    wrong, images = wrong_of(member.holdout, truth)
    return (1 - wrong / images) ** 2 + (wrong / images) ** 2 * chance


def _refused(found: Sequence[Agreement], voted: bool) -> list[Finding]:
    """An error where members refuse the labels; if others agree with them, the first are named."""
    low = [agreement for agreement in found if agreement.high < agreement.least]
    if not low:
        return []
    text = (
        f"only {low[0].share:.0%} of the rows agree with what {low[0].name} predicts, at least "
        f"{low[0].least:.0%} must by its hold-out: "
    )
    if all(agreement.low < agreement.least for agreement in found):
        text += "rows are in another order than the images; join labels by image_id"
        return [Finding("error", text)]
    text += f"other members agree; predict {some((a.name for a in low), 3)} again"
    return [Finding("error" if voted else "remark", text)]


def _compared(
    found: Sequence[Agreement], names: Sequence[str], who: str, order: bool
) -> list[Finding]:
    """What was compared with the members `names`, called `who`, and what could not be."""
    if not found and not order:
        text = f"with {who}, whose predictions fit these labels no better than in another order"
        return [Finding("not compared", text)]
    shares = (f"{a.share:.0%} agree with {a.name} (refused below {a.least:.0%})" for a in found)
    what = f"image by image: {some(shares, 3)}" if found else "order of rows and class names alone"
    findings = [Finding("compared", f"with {who}, {what}")]
    if blind := [name for name in names if name not in {agreement.name for agreement in found}]:
        text = f"with {some(blind, 3)} alone (too weak, or too few images, to tell from chance)"
        findings += [Finding("not compared", text)]
    return findings
