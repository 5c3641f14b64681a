"""The guard: all that is wrong or suspicious about a submission, before it is written or sent.

Each finding is one line that names the remedy; only an error refuses the file.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from src.competition import sample, train_table
from src.core import UserError, sha256
from src.evidence import is_fresh, read_probs
from src.submission import form
from src.submission.form import Finding
from src.submission.known_good import earlier_findings, known_good
from src.submission.members import Predicted, member_findings, predicted_mix, read_members
from src.submission.sent import read_provenance


def guard(
    table: pd.DataFrame, path: Path, folder: Path, good: Sequence[str | Path] | None,
    origin: Mapping[str, Any], members: Sequence[Predicted] | None, probs: pd.DataFrame | None,
) -> list[Finding]:
    """All findings about the `table` of the CSV at `path`, errors first.

    It is compared with the files `good` (None: those known) and with what its `members` predicted
    (None: read from models/), as far as its provenance `origin` knows; its labels come from
    `probs`, which give margins.
    """
    truth, ids, unread = train_table(folder).label, sample(folder).image_id.tolist(), []
    if members is None:
        members, unread = read_members(origin, folder)
    findings = form.row_findings(table, ids)
    findings += form.label_findings(table.label, truth, predicted_mix(members, origin))
    labels = form.aligned(table, ids)
    if labels is not None:
        good = [Path(file).resolve() for file in (known_good() if good is None else good)]
        findings += earlier_findings(labels, path, good, origin, probs)
        findings += [*member_findings(labels, members, origin, truth), *unread]
    return sorted(findings, key=lambda finding: form.KINDS.index(finding.kind))


def check(path: Path, folder: Path, good: Sequence[str | Path] | None = None) -> list[Finding]:
    """Compare a CSV with the competition, with known good files and with its members' predictions.

    The members are those its .json names, else what models/ holds for this test set.
    """
    table, findings = form.read_submission(path)
    record, digest = read_provenance(path), sha256(path)
    if record and record.get("sha256") != digest:
        text = f"is not the CSV that {path.with_suffix('.json').name} describes (edited, or a run "
        findings += [Finding("error", f"{text}was killed); run python -m src.ensemble again")]
    if table is not None:
        fresh = is_fresh(path.with_suffix(".parquet"), {"sha256": digest})
        probs = read_probs(path.with_suffix(".parquet"))[0]["plain"] if fresh else None
        findings += guard(table, path, folder, good, record, None, probs)
    return sorted(findings, key=lambda finding: form.KINDS.index(finding.kind))


def refuse(findings: Sequence[Finding], path: Path, force: bool, done: str) -> list[str]:
    """Print the findings, and return the errors that `force` overrides; else any error stops."""
    show(findings)
    errors = [finding.text for finding in findings if finding.kind == "error"]
    if errors and not force:
        more = f" (and {len(errors) - 1} more)" if errors[1:] else ""
        raise UserError(f"{path} is not {done}: {errors[0]}{more}; --force does it all the same")
    return errors


def show(findings: Sequence[Finding]) -> None:
    """Print each finding with its changed rows."""
    for finding in findings:
        print(f"{finding.kind}: {finding.text}", *finding.rows, sep="\n  ")
