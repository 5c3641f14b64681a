"""The guard: all that is wrong or suspicious about a submission, before it is written or sent.

Each finding is one line that names the remedy; only an error refuses the file.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from src.competition import sample, train_table
from src.core import UserError, sha256, submissions_dir
from src.evidence import ALPHA, error_phrase, is_fresh, read_probs, same_mix
from src.submission import form, sent
from src.submission.form import Finding
from src.submission.members import Predicted, member_findings, predicted_mix, read_members
from src.submission.misalignment import misalignment

AGREEMENT = 0.9  # with a known good file; two decent models of this field agree on 95 % and more


def guard(
    table: pd.DataFrame, path: Path, folder: Path, good: Sequence[str | Path] | None,
    origin: Mapping[str, Any], members: Sequence[Predicted], probs: pd.DataFrame | None,
) -> list[Finding]:
    """All findings about the `table` of the CSV at `path`, whose provenance is `origin`.

    It is compared with the files `good` (None: those known) and with what its `members` predicted;
    where its labels come from `probs`, changed rows have a margin.
    """
    truth, ids = train_table(folder).label, sample(folder).image_id.tolist()
    findings = form.row_findings(table, ids)
    findings += form.label_findings(table.label, truth, predicted_mix(members, origin))
    labels = form.aligned(table, ids)
    if labels is not None:
        good = [Path(file).resolve() for file in (known_good() if good is None else good)]
        findings += _beside_earlier(labels, path, good, origin, probs)
        findings += member_findings(labels, members, origin, truth)
    return findings


def check(path: Path, folder: Path, good: Sequence[str | Path] | None = None) -> list[Finding]:
    """Compare a CSV with the competition, with known good files and with its members' predictions.

    The members are those its .json names, else what models/ holds for this test set.
    """
    table, findings = form.read_submission(path)
    record, digest = sent.read_provenance(path), sha256(path)
    if record and record.get("sha256") != digest:
        text = f"{path.name} is not the CSV that {path.with_suffix('.json').name} describes"
        remedy = "it was edited, or a run was killed; run python -m src.ensemble again"
        findings.append(Finding("error", f"{text}: {remedy}"))
    if table is None:
        return findings
    fresh = is_fresh(path.with_suffix(".parquet"), {"sha256": digest})
    probs = read_probs(path.with_suffix(".parquet"))[0]["plain"] if fresh else None
    members, unread = read_members(record, folder)
    return findings + guard(table, path, folder, good, record, members, probs) + unread


def refuse(findings: Sequence[Finding], path: Path, force: bool, done: str) -> list[str]:
    """Print the findings, and return the errors that `force` overrides; else any error stops."""
    show(findings)
    errors = [finding.text for finding in findings if finding.kind == "error"]
    if errors and not force:
        more = f" (and {len(errors) - 1} more)" if errors[1:] else ""
        raise UserError(f"{path} is not {done}: {errors[0]}{more}; --force does it all the same")
    return errors


def show(findings: Sequence[Finding]) -> None:
    """Print each finding with its changed rows, errors first."""
    for finding in sorted(findings, key=lambda finding: form.KINDS.index(finding.kind)):
        print(f"{finding.kind}: {finding.text}", *finding.rows, sep="\n  ")


# Beside earlier files


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


def _beside_earlier(
    labels: pd.Series, itself: Path, good: Sequence[Path], origin: Mapping[str, Any],
    probs: pd.DataFrame | None,
) -> list[Finding]:
    findings = []
    earlier = [*sent.copies(), *sorted(submissions_dir().glob("[!.]*.csv"))]
    paths = dict.fromkeys([*good, *(path.resolve() for path in earlier if path.is_file())])
    for path in paths:
        if path in (itself.resolve(), sent.ledger_path().resolve()):
            continue
        known = form.aligned(form.read_submission(path)[0], labels.index)
        if known is not None and (known == labels).all():
            findings.append(Finding("remark", f"identical to {path}; it would score the same"))
        elif known is not None and path in good:
            findings.append(_beside_good(labels, known, path, origin, probs))
        if path in good and known is None:
            text = f"with {path}, which has other images or no table"
            findings.append(Finding("not compared", text))
        elif path in good:
            findings.append(Finding("compared", f"with {path}, known to be good"))
    if not good:
        nothing = "with a known good file (none is known; --good FILE names one)"
        findings.append(Finding("not compared", nothing))
    return findings


def _beside_good(
    labels: pd.Series, known: pd.Series, path: Path, origin: Mapping[str, Any],
    probs: pd.DataFrame | None,
) -> Finding:
    """A reason to differ excuses little agreement, but never right labels in wrong rows."""
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
    """Hold-out images that are wrong, of how many, and how many models the members are."""
    held, members = origin.get("holdout") or {}, origin.get("members") or []
    # Each fold is a model; a member that is only a name is one.
    models = sum(len(m.get("models", [m])) if isinstance(m, dict) else 1 for m in members)
    return held.get("wrong") or 0, held.get("images") or 0, models


def changed_rows(labels: pd.Series, known: pd.Series, probs: pd.DataFrame | None) -> list[str]:
    """`<image>  <known label> → <new label>` of each changed row.

    With `probs` also the margin, the probability of the new label less that of the known one; the
    largest come first.
    """
    changed = pd.DataFrame({"old": known, "new": labels})[labels != known]
    rows = [f"{image}  {old} → {new}" for image, old, new in changed.itertuples()]
    if probs is None:
        return rows
    table = probs.stack()
    margins = [table.get((image, new), 0.0) - table.get((image, old), 0.0)
               for image, old, new in changed.itertuples()]
    order = sorted(range(len(rows)), key=lambda row: -margins[row])
    return [f"{rows[row]}  margin {margins[row]:+.3f}" for row in order]
