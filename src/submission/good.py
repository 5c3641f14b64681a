"""A submission beside earlier ones: those known to be good, and those that say the same."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from src.evidence import ALPHA, error_phrase, same_mix, wilson
from src.submission.finding import Finding
from src.submission.form import aligned, read_submission
from src.submission.known_good import own_provenance, submission_files
from src.submission.mishaps import mishap

AGREEMENT = 0.9  # with a known good file; two decent models of this field agree on 95 % and more


def earlier_findings(
    labels: pd.Series,
    good: Sequence[Path],
    origin: Mapping[str, Any],
    probs: pd.DataFrame | None,
    itself: Path | None,
) -> list[Finding]:
    """`labels` beside the known good files, and which earlier file says the same."""
    findings, ids = [], labels.index.tolist()
    near = sorted(itself.parent.glob("[!.]*.csv")) if itself else []
    for path in dict.fromkeys([*good, *(p.resolve() for p in [*submission_files(), *near])]):
        if itself and path == itself.resolve():
            continue
        known = aligned(read_submission(path)[0], ids)
        if known is not None and (known == labels).all():
            findings += [Finding("remark", f"identical to {path}; it would score the same")]
        elif known is not None and path in good:
            findings += [_beside(labels, known, path, origin, probs)]
        if path in good:
            findings += [_compared(path, known)]
    if not good:
        text = "with a known good file (none is known; --good FILE names one)"
        findings += [Finding("not compared", text)]
    return _list_the_closest(findings)


def _compared(path: Path, known: pd.Series | None) -> Finding:
    if known is None:
        return Finding("not compared", f"with {path}, which has other images or no table")
    return Finding("compared", f"with {path}, known to be good")


def _beside(
    labels: pd.Series,
    known: pd.Series,
    path: Path,
    origin: Mapping[str, Any],
    probs: pd.DataFrame | None,
) -> Finding:
    """What the labels `known` of the good file at `path` say about `labels`, made as in `origin`.

    A reason to differ excuses little agreement, but never right labels in wrong rows.
    """
    if what := mishap(labels, known):
        remedy = "sort the test images by name and join labels by image_id"
        return Finding("error", f"{what}, against {path}; {remedy}")
    same = (labels == known).to_numpy()
    text = f"{(~same).sum():,} of {len(same):,} rows differ from {path} ({same.mean():.2%} agree)"
    changes = changed_rows(labels, known, probs)
    if same.mean() >= AGREEMENT:
        return Finding("remark", text, changes)
    before = own_provenance(path)
    reason, most = reason_to_differ(origin, before), most_different(origin, before)
    if reason and wilson((~same).sum(), len(same))[0] <= most:
        return Finding("remark", f"{text}; there is a reason to differ: {reason}", changes)
    rule = f"at least {AGREEMENT:.0%} must, without more models or a clearly smaller hold-out error"
    if reason:
        rule = f"by their hold-out errors at most {most:.0%} can, also with {reason}"
    remedy = f'if that file is the bad one, put "good": false into {path.with_suffix(".json").name}'
    return Finding("error", f"{text}; {rule}; {remedy}", changes)


def reason_to_differ(new: Mapping[str, Any], old: Mapping[str, Any]) -> str:
    """Why a file made as in `new` may differ from one made as in `old`; empty without a reason.

    Reasons are a clearly smaller hold-out error, or more models if it is not clearly larger.
    """
    (wrong, images), (before, of) = map(_holdout, (new, old))
    models, fewer = _models(new), _models(old)
    clear = bool(images and of) and _p_of_errors(wrong, images, before, of) < ALPHA
    if clear and wrong / images < before / of:
        return f"hold-out {error_phrase(wrong, images)}, not {error_phrase(before, of)}"
    return f"{models} models instead of {fewer}" if models > fewer > 0 and not clear else ""


def most_different(new: Mapping[str, Any], old: Mapping[str, Any]) -> float:
    """The largest share of rows in which two files can differ, by their hold-out errors.

    Where they differ, one of them is wrong; the upper ends of the 95 % intervals count.
    """
    errors = [_holdout(new), _holdout(old)]
    return sum(wilson(wrong, images)[1] if images else 1.0 for wrong, images in errors)


def _holdout(origin: Mapping[str, Any]) -> tuple[int, int]:
    held = origin.get("holdout") or {}
    return held.get("wrong") or 0, held.get("images") or 0


def _models(origin: Mapping[str, Any]) -> int:
    """How many models voted, each fold of a member counted."""
    return sum(len(member.get("models", [member])) for member in origin.get("members") or [])


def _p_of_errors(wrong: int, images: int, before: int, of: int) -> float:
    """p-value that both error rates are equal, by chi-square; the images need not be the same."""
    return same_mix(pd.Series([wrong, images - wrong]), pd.Series([before, of - before]))


def changed_rows(
    labels: pd.Series, known: pd.Series, probs: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Per changed image the label `before` and `after`, and by how much `probs` prefer the new.

    The margin is the probability of the new label less that of the old, NaN without `probs`;
    the largest come first.
    """
    rows = labels != known
    table = pd.DataFrame({"before": known[rows], "after": labels[rows], "margin": np.nan})
    if probs is not None:
        chance = probs.reindex(columns=sorted({*probs, *table.before, *table.after}))
        pairs = table[["before", "after"]].itertuples()
        table["margin"] = [chance.at[row, new] - chance.at[row, old] for row, old, new in pairs]
    return table.sort_values("margin", ascending=False, kind="stable")


def _list_the_closest(findings: list[Finding]) -> list[Finding]:
    """`findings` with the changed rows of the closest known good file alone."""
    closest = min((f.changes for f in findings if f.changes is not None), key=len, default=None)
    return [f if f.changes is closest else f._replace(changes=None) for f in findings]
