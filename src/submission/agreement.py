"""The labels of a submission beside what each member predicts by itself, image by image.

The members' predictions are joined by image id, so they do not share what went wrong with the
rows of a CSV. How often they should agree is known from the hold-out.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from src.competition import some
from src.evidence import average, too_few, wilson, wrong_of
from src.submission.finding import Finding
from src.submission.mishaps import exchanged, mishap, shifted
from src.submission.predicted import Members, Predicted, labels_of

LOST = 0.2  # of the agreement beyond chance; fewer rows in wrong places cannot be told from drift
LOST_UNKNOWN = 0.5  # where the CSV says nothing of its members: it may be a much weaker file


class Agreement(NamedTuple):
    """The share of the test images on which the labels and a member agree."""

    name: str
    share: float
    chance: float  # of labels in any other order
    least: float  # what is refused below
    refused: bool
    agrees: bool  # beyond doubt
    telling: bool  # whether labels in another order would be refused


def predicted_mix(members: Members, origin: Mapping[str, Any]) -> pd.Series | None:
    """How often each label was predicted on the hold-out; None where too little was held out.

    By the ensemble itself, where its provenance `origin` knows, else on average by its members.
    """
    counts = origin.get("expected", {}).get("labels")
    if counts is None and members.tables:
        held = [labels_of(member.holdout).value_counts() for member in members.tables]
        counts = pd.concat(held).groupby(level=0).sum() / len(held)
    counts = pd.Series(counts, dtype=float)
    return None if too_few(int(counts.sum())) else counts


def member_findings(
    labels: pd.Series, members: Members, origin: Mapping[str, Any], truth: pd.Series
) -> list[Finding]:
    """Mishaps of `labels` beside all members together, and who of them agrees too little.

    `truth` are the labels of the training images.
    """
    if not members.tables:
        return _unread(members.unread)
    together = labels_of(average([m.test.loc[labels.index] for m in members.tables]))
    found = [_agreement(labels, member, origin, truth) for member in members.tables]
    what = _mishap(labels, together, members, truth)
    refused = [Finding("error", what)] if what else _refused(found, members.voted)
    # A comparison counts only if it would find the commonest mishap in these very labels.
    finds = what or shifted(pd.Series(np.roll(labels, 1), labels.index), together)
    return [*refused, *_scope(found, members, bool(finds))]


def _mishap(labels: pd.Series, together: pd.Series, members: Members, truth: pd.Series) -> str:
    """What happened to the labels beside all members' predictions `together`, and the remedy."""
    what = mishap(labels, together)
    held = pd.concat([labels_of(member.holdout) for member in members.tables])
    by_nature = exchanged(truth.loc[held.index], held) if len(held) else ""
    if what in ("", by_nature):  # what the members mix up themselves is no mishap
        return ""
    remedy = "join labels by image_id and name them by the model's own classes"
    return f"{what}, beside what {_whom(members)} {_predict(members)} by image; {remedy}"


def _agreement(
    labels: pd.Series, member: Predicted, origin: Mapping[str, Any], truth: pd.Series
) -> Agreement:
    """How often `labels` and `member` agree, and how often they must.

    Of the way from chance to what the hold-out lets expect, all but `LOST` must be reached: as
    many rows may be in the wrong place. The upper end of the agreement's 95 % interval counts, so
    that few images refuse nothing; where even chance would pass, the member cannot tell.
    """
    picks, images = labels_of(member.test.loc[labels.index]), len(labels)
    same = int((picks == labels).sum())
    mixes = (column.value_counts(normalize=True) for column in (labels, picks))
    chance = float(np.prod(pd.concat(mixes, axis=1).fillna(0), axis=1).sum())
    expected, known = _expected(member, origin, truth)
    least = expected - (expected - chance) * (LOST if known else LOST_UNKNOWN)
    low, high = wilson(same, images)
    telling = not too_few(images) and wilson(round(chance * images), images)[1] < least
    return Agreement(member.name, same / images, chance, least, high < least, low >= least, telling)


def _expected(
    member: Predicted, origin: Mapping[str, Any], truth: pd.Series
) -> tuple[float, bool]:
    """The least share of images on which a right submission and `member` should agree; 0: unknown.

    It is the ensemble's own agreement on the hold-out, if its provenance knows that, as the second
    value says. An unknown file may be always right, or confuse classes like the member but in other
    images: the lesser.
    """
    known = origin.get("expected", {})
    if member.name in known.get("agree", {}):
        same, images = known["agree"][member.name], known["images"]
        return (0.0 if too_few(images) else wilson(same, images)[0]), True
    if too_few(len(member.holdout)):
        return 0.0, False
    wrong, images = wrong_of(member.holdout, truth)
    return min(1 - wrong / images, _same_by_class(labels_of(member.holdout), truth)), False


def _same_by_class(picks: pd.Series, truth: pd.Series) -> float:
    """How often two images of one class are given the same label, over all images of `picks`."""
    table = pd.crosstab(truth.loc[picks.index], picks).to_numpy()  # class x label
    images = table.sum(axis=1)
    table, images = table[images > 1], images[images > 1]
    same = (table * (table - 1)).sum(axis=1) / (images - 1)  # of the other images, for each one
    return float(same.sum() / images.sum())


def _refused(found: Sequence[Agreement], voted: bool) -> list[Finding]:
    """An error where members refuse the labels; if others agree with them, the first are named."""
    telling = [agreement for agreement in found if agreement.telling]
    low = [agreement for agreement in telling if agreement.refused]
    if not low:
        return []
    worst = min(low, key=lambda agreement: agreement.share - agreement.least)
    text = (
        f"only {worst.share:.0%} of the rows agree with what {worst.name} predicts, at least "
        f"{worst.least:.0%} must by its hold-out, and {worst.chance:.0%} do by chance: "
    )
    if not any(agreement.agrees for agreement in telling):
        text += "rows are in another order than the images; join labels by image_id"
        return [Finding("error", text)]
    text += f"other members agree; predict {some((a.name for a in low), 3)} again"
    return [Finding("error" if voted else "remark", text)]


def _scope(found: Sequence[Agreement], members: Members, finds: bool) -> list[Finding]:
    """What was compared, and what could not be."""
    telling = [agreement for agreement in found if agreement.telling]
    blind = some((agreement.name for agreement in found if not agreement.telling), 3)
    who, findings = _whom(members), []
    if telling:
        shares, least = (_span(getattr(a, key) for a in telling) for key in ("share", "least"))
        text = f"with {who}, image by image: {shares} of the rows agree (refused below {least})"
        findings += [Finding("compared", text)]
    elif finds:
        findings += [Finding("compared", f"with {who}: the order of the rows and the class names")]
    else:
        text = f"with {who}, whose predictions fit these labels no better than in another order"
        findings += [Finding("not compared", text)]
    if blind and (telling or finds):
        text = f"with {blind} alone (too weak, or too few images, to tell from chance)"
        findings += [Finding("not compared", text)]
    return findings + _unread(members.unread)


def _unread(reasons: Sequence[str]) -> list[Finding]:
    more = f" (and {len(reasons) - 1} more)" if reasons[1:] else ""
    return [Finding("not compared", f"with members: {reasons[0]}{more}")] if reasons else []


def _whom(members: Members) -> str:
    """`3 members`, and where they come from, if the CSV does not name them."""
    count = len(members.tables)
    who = members.tables[0].name if count == 1 else f"{count} members"
    return who if members.voted else f"{who} of models/ (the CSV names none)"


def _predict(members: Members) -> str:
    return "predicts" if len(members.tables) == 1 else "predict"


def _span(shares: Iterable[float]) -> str:
    """`61 … 70 %`; a single value alone."""
    low, *_, high = [f"{100 * share:.0f}" for share in sorted([*shares] * 2)]
    return f"{low} %" if low == high else f"{low} … {high} %"
