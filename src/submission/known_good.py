"""A submission beside earlier ones: those known to be good, and those that say the same.

Known good is what the user says is, else the file with the best public score of the ledger.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from src.core import submissions_dir
from src.evidence import ALPHA, error_phrase, same_mix
from src.submission import sent
from src.submission.form import Finding, aligned, read_submission
from src.submission.misalignment import misalignment

AGREEMENT = 0.9  # with a known good file; two decent models of this field agree on 95 % and more


def known_good() -> list[Path]:
    """The best of the ledger by public score, of the files that are here and may count.

    `"good": false` in its .json excludes a file, and so does an error of the guard that was
    overridden to send it, without `"good": true`.
    """
    table = sent.read_ledger()
    scores = pd.to_numeric(table.public, errors="coerce").dropna()
    for digest in table.sha256[scores.sort_values(ascending=False, kind="stable").index]:
        path = sent.by_digest(digest)
        record = sent.read_provenance(path) if path else {"good": False}
        if record.get("good", not record.get("forced")):
            return [path]
    return []


def earlier_findings(
    labels: pd.Series, itself: Path, good: Sequence[Path], origin: Mapping[str, Any],
    probs: pd.DataFrame | None,
) -> list[Finding]:
    """The `labels` of the file `itself` beside the known good files and all earlier ones.

    `origin` is their provenance, `probs` are their probabilities.
    """
    findings = []
    earlier = [*sent.copies(), *sorted(submissions_dir().glob("[!.]*.csv"))]
    others = {itself.resolve(), sent.ledger_path().resolve()}
    for path in dict.fromkeys([*good, *(path.resolve() for path in earlier if path.is_file())]):
        if path in others:
            continue
        known = aligned(read_submission(path)[0], labels.index)
        if known is not None and (known == labels).all():
            findings += [Finding("remark", f"identical to {path}; it would score the same")]
        elif known is not None and path in good:
            findings += [_beside(labels, known, path, origin, probs)]
        if path in good:
            there = ("not compared", ", which has other images or no table")
            kind, what = there if known is None else ("compared", ", known to be good")
            findings += [Finding(kind, f"with {path}{what}")]
    nothing = "with a known good file (none is known; --good FILE names one)"
    return findings if good else [*findings, Finding("not compared", nothing)]


def _beside(
    labels: pd.Series, known: pd.Series, path: Path, origin: Mapping[str, Any],
    probs: pd.DataFrame | None,
) -> Finding:
    """`labels` against the labels `known` of the good file at `path`.

    A reason to differ excuses little agreement, but never right labels in wrong rows.
    """
    if what := misalignment(labels, known):
        remedy = "sort the test images by name and join labels by image_id"
        return Finding("error", f"{what}, against {path}; {remedy}")
    rows, share = changed_rows(labels, known, probs), (labels == known).mean()
    text = f"{len(rows):,} of {len(labels):,} rows differ from {path} ({share:.2%} agree)"
    if share >= AGREEMENT:
        return Finding("remark", text)
    if reason := reason_to_differ(origin, sent.own_provenance(path)):
        return Finding("remark", f"{text}; there is a reason to differ: {reason}")
    rule = f"at least {AGREEMENT:.0%} must, without more models or a clearly smaller hold-out error"
    remedy = f'if that file is the bad one, put "good": false into {path.with_suffix(".json").name}'
    return Finding("error", f"{text}; {rule}; {remedy}", rows)


def reason_to_differ(new: Mapping[str, Any], old: Mapping[str, Any]) -> str:
    """Why a file made as in `new` may differ from one made as in `old`; empty without a reason.

    Reasons are a clearly smaller hold-out error, or more models if it is not clearly larger.
    """
    (wrong, images, models), (before, of, fewer) = map(_facts, (new, old))
    counts = pd.Series([wrong, images - wrong]), pd.Series([before, of - before])
    clear = bool(images and of) and same_mix(*counts) < ALPHA
    if clear and wrong / images < before / of:
        return f"hold-out {error_phrase(wrong, images)}, not {error_phrase(before, of)}"
    return f"{models} models instead of {fewer}" if models > fewer > 0 and not clear else ""


def _facts(origin: Mapping[str, Any]) -> tuple[int, int, int]:
    """Hold-out images that are wrong, of how many, and how many models voted, each fold one."""
    held, members = origin.get("holdout") or {}, origin.get("members") or []
    models = sum(len(member.get("models", [member])) for member in members)
    return held.get("wrong") or 0, held.get("images") or 0, models


def changed_rows(labels: pd.Series, known: pd.Series, probs: pd.DataFrame | None) -> list[str]:
    """`<image>  <known label> → <new label>` of each changed row.

    With `probs` also the margin, the probability of the new label less that of the known one; the
    largest come first.
    """
    changed = pd.DataFrame({"old": known, "new": labels})[labels != known]
    if probs is None:
        return [f"{image}  {old} → {new}" for image, old, new in changed.itertuples()]
    table = probs.stack()
    changed["margin"] = [table.get((image, new), 0.0) - table.get((image, old), 0.0)
                         for image, old, new in changed.itertuples()]
    changed = changed.sort_values("margin", ascending=False, kind="stable")
    return [f"{i}  {old} → {new}  margin {m:+.3f}" for i, old, new, m in changed.itertuples()]
