"""The members of a submission: what each predicts by itself, and how well the labels agree.

Their predictions are joined by image id; how often they should agree, the hold-out shows.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from src.competition import some, test_fingerprint, train_table
from src.core import UserError, models_dir
from src.evidence import average, read_probs, too_few, wilson, wrong_of
from src.submission.form import Finding
from src.submission.misalignment import misalignment

TEST = ".test.parquet"
LOST = 0.2  # of the agreement beyond chance; fewer rows in wrong places look like drift
LOST_UNKNOWN = 0.5  # where the CSV says nothing of its members: it may be a much weaker file


class Predicted(NamedTuple):
    """The plain probabilities, without TTA, of one member."""

    name: str
    holdout: pd.DataFrame  # no rows when nothing was held out
    test: pd.DataFrame


def labels_of(probs: pd.DataFrame) -> pd.Series:
    """image_id → most probable label."""
    names = probs.columns.to_numpy(object)[probs.to_numpy().argmax(axis=1)]
    return pd.Series(names, probs.index, dtype=object)


def read_members(origin: Mapping[str, Any], folder: Path) -> tuple[list[Predicted], list[Finding]]:
    """The members that the provenance `origin` names, else all of models/ for this test set.

    The findings say why a missing, damaged or stale file is not used.
    """
    models, labels, images = models_dir(), train_table(folder).label, ""
    tables, unread = [], []
    named = [m for m in origin.get("members") or [] if isinstance(m, dict) and "models" in m]
    wanted = {m["name"]: m["models"] for m in named}
    if not wanted:
        there = sorted(path.name.removesuffix(TEST) for path in models.glob(f"[!.]*{TEST}"))
        wanted, instead = {name: {name: {}} for name in there}, some(there, 3) or "nothing"
        unread = [f"with its own members (its .json names none); {models} has {instead}"]
    for name, parts in wanted.items():
        try:
            images = images or test_fingerprint(folder)  # once for all: it lists every image
            tables.append(_read(name, parts, images, labels))
        except UserError as error:
            unread.append(f"with {name}: {error}")
    return tables, [Finding("not compared", text) for text in unread]


def _read(name: str, parts: Mapping[str, Mapping], images: str, labels: pd.Series) -> Predicted:
    """A member from the files of its models; `parts` has, where it is known, their sha256."""
    tests, holdouts = [], []
    for model, facts in parts.items():
        wanted = {"model": model, "split": "test", "images": images}
        if "sha256" in facts:
            wanted["sha256"] = facts["sha256"]
        tables, meta = read_probs(models_dir() / f"{model}{TEST}", wanted)
        tests.append(tables["plain"])
        valid = models_dir() / f"{model}.valid.parquet"
        if valid.exists():  # else it held nothing out
            wanted = {"model": model, "split": "valid", "sha256": meta["sha256"]}
            holdouts.append(read_probs(valid, wanted)[0]["plain"])
    test = average(tests)
    holdout = pd.concat(holdouts) if holdouts else test.iloc[:0]
    if set(test) != set(labels) or not holdout.index.isin(labels.index).all():
        raise UserError(f"{name} knows other classes or images than train.csv")
    return Predicted(name, holdout, test)


def predicted_mix(members: Sequence[Predicted], origin: Mapping[str, Any]) -> pd.Series | None:
    """How often each label was predicted on the hold-out; None where too little was held out.

    By the ensemble itself, where its provenance `origin` knows, else on average by its members.
    """
    counts = origin.get("expected", {}).get("labels")
    if counts is None and members:
        held = pd.concat([labels_of(member.holdout) for member in members])
        counts = held.value_counts() / len(members)
    counts = pd.Series(counts, dtype=float)
    return None if too_few(int(counts.sum())) else counts


def member_findings(
    labels: pd.Series, members: Sequence[Predicted], origin: Mapping[str, Any], truth: pd.Series
) -> list[Finding]:
    """Whether `labels` are misaligned with all `members` together, or agree too little with one.

    `truth` are the labels of the training images.
    """
    if not members:
        return []
    together = labels_of(average([member.test.loc[labels.index] for member in members]))
    if what := misalignment(labels, together):
        text = f"{what}, beside what {some((m.name for m in members), 3)} predicts"
        return [Finding("error", f"{text}; join by image_id, name them by the model's classes")]
    agree, low, blind = [], [], []
    for member in members:
        same, chance, least = _agreement(labels, member, origin, truth)
        line = (f"{same / len(labels):.0%} agree with {member.name} "
                f"(refused if surely below {least:.0%})")
        # Too weak a member, or too few images, would not refuse these labels in another order.
        if too_few(len(labels)) or wilson(round(chance), len(labels))[1] >= least:
            blind.append(member.name)
        elif wilson(same, len(labels))[1] < least:
            low.append(line)
        else:
            agree.append(line)
    findings = []
    if low:
        remedy = "rows are in another order than the images: join labels by image_id, or predict"
        findings.append(Finding("error", f"only {some(low, 3)}: {remedy} this member again"))
    if agree:
        text = f"with {len(agree)} members, image by image: {some(agree, 3)}"
        findings.append(Finding("compared", text))
    if blind:
        text = f"with {some(blind, 3)}, too weak or on too few images to tell from chance"
        # The order counts as compared only if a shift of these very labels would be found.
        if misalignment(pd.Series(np.roll(labels, 1), labels.index), together):
            text += "; order of rows and class names alone were compared"
        findings.append(Finding("not compared", text))
    return findings


def _agreement(
    labels: pd.Series, member: Predicted, origin: Mapping[str, Any], truth: pd.Series
) -> tuple[int, float, float]:
    """On how many images `labels` and `member` agree, would by chance, and the share they must.

    What can be expected is the ensemble's own agreement on the hold-out, if its provenance knows
    that; else that of a model which is right as often as the member, whose mistakes
    coincide by chance. Of the way there from chance, all but `LOST` must be reached: as many rows
    may be in the wrong place.
    """
    picks = labels_of(member.test.loc[labels.index])
    mixes = [column.value_counts(normalize=True) for column in (labels, picks)]
    chance = float(mixes[0].mul(mixes[1], fill_value=0).sum())
    known, expected, lost = origin.get("expected", {}), 0.0, LOST_UNKNOWN
    if member.name in known.get("agree", {}) and not too_few(known["images"]):
        expected, lost = wilson(known["agree"][member.name], known["images"])[0], LOST
    elif not too_few(len(member.holdout)):
        error = wrong_of(member.holdout, truth)[0] / len(member.holdout)
        expected = (1 - error) ** 2 + error**2 * chance
    least = (1 - lost) * expected + lost * chance
    return int((picks == labels).sum()), chance * len(labels), least
