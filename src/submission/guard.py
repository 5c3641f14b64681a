"""The guard: all that is wrong or suspicious about a submission, before it is written or sent.

Each finding is one line that names the remedy; only an error refuses the file.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from src.competition import sample, train_table
from src.core import UserError, models_dir, sha256
from src.evidence import is_fresh, read_probs
from src.submission.finding import Finding, in_order, show
from src.submission.form import aligned, label_findings, read_submission, row_findings
from src.submission.known_good import earlier_findings, known_good
from src.submission.members import Members, member_findings, predicted_mix, read_members
from src.submission.sent import by_digest, read_provenance


def guard(
    submission: Path | pd.DataFrame, folder: Path, good: Sequence[str | Path] | None = None,
    origin: Mapping[str, Any] | None = None, members: Members | None = None,
    probs: pd.DataFrame | None = None, itself: Path | None = None,
) -> list[Finding]:
    """All findings about a CSV, or the table to be written to `itself`, errors first.

    It is compared with the files `good` (None: those known) and with what its `members` predicted
    (None: read from models/), as far as its provenance `origin` knows; its labels come from
    `probs`, which give margins.
    """
    findings: list[Finding] = []
    if not isinstance(submission, pd.DataFrame):
        itself = Path(submission)
        submission, findings = read_submission(itself)
    if submission is None:
        return in_order(findings)
    ids, truth, origin = sample(folder).image_id.tolist(), train_table(folder).label, origin or {}
    members = members or read_members(origin, folder, models_dir())
    findings += row_findings(submission, ids)
    findings += label_findings(submission.label, truth, predicted_mix(members, origin))
    labels = aligned(submission, ids)
    if labels is not None:
        good = [Path(path).resolve() for path in (known_good() if good is None else good)]
        findings += earlier_findings(labels, good, origin, probs, itself)
        findings += member_findings(labels, members, origin, truth)
    return in_order(findings)


def check(path: Path, folder: Path, good: Sequence[str | Path] | None = None) -> list[Finding]:
    """Compare a CSV with the competition, with known good files and with its members' predictions.

    The members are those its .json names, else what models/ holds for this test set. Also found:
    a .json that describes another CSV.
    """
    record, probs = read_provenance(path), None
    table, digest = path.with_suffix(".parquet"), sha256(path) if path.is_file() else ""
    if is_fresh(table, {"sha256": digest}):
        probs = read_probs(table)[0]["plain"]
    findings = guard(path, folder, good, record, None, probs)
    if record.get("submitted") and not by_digest(digest):  # else the guard names the copy
        findings += [Finding("remark", "was submitted already; it would score the same")]
    if record and record.get("sha256") != digest:
        text = f"is not the CSV that {path.with_suffix('.json').name} describes (edited, or a run "
        findings.insert(0, Finding("error", f"{text}was killed); run python -m src.ensemble again"))
    return in_order(findings)


def release(path: Path, folder: Path, force: bool) -> list[str]:
    """Guard the CSV at `path` before it is sent, and return the errors that `force` overrides."""
    return refuse(check(path, folder), path, force, "sent")


def refuse(findings: Sequence[Finding], path: Path, force: bool, done: str) -> list[str]:
    """Print the findings, and return the errors that `force` overrides; else any error stops."""
    show(findings)
    errors = [finding.text for finding in findings if finding.kind == "error"]
    if errors and not force:
        more = f" (and {len(errors) - 1} more)" if errors[1:] else ""
        raise UserError(f"{path} is not {done}: {errors[0]}{more}; --force does it all the same")
    return errors
