"""What is suspicious about a submission, before it is written or sent.

An error refuses the file, a remark is only said; each is one line that names the remedy.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from src.competition import sample, train_table
from src.submission.agreement import member_findings, predicted_mix
from src.submission.finding import Finding, in_order
from src.submission.form import aligned, read_submission, row_findings
from src.submission.good import earlier_findings
from src.submission.mix import label_findings
from src.submission.predicted import Members


def guard(
    submission: Path | pd.DataFrame,
    folder: Path,
    good: Sequence[str | Path] = (),
    origin: Mapping[str, Any] | None = None,
    members: Members | None = None,
    probs: pd.DataFrame | None = None,
    itself: Path | None = None,
) -> list[Finding]:
    """All findings about a CSV, or the table to be written to `itself`, errors first.

    It is compared with the files `good`, known to be so, and with what its `members` predicted,
    as far as its provenance `origin` knows; `probs`, from which its labels come, give margins.
    """
    findings: list[Finding] = []
    origin, members = origin or {}, members or Members()
    if not isinstance(submission, pd.DataFrame):
        itself = Path(submission)
        submission, findings = read_submission(itself)
    if submission is None:
        return in_order(findings)
    ids, truth = sample(folder).image_id.tolist(), train_table(folder).label
    findings += row_findings(submission, ids)
    findings += label_findings(submission.label, truth, predicted_mix(members, origin))
    labels = aligned(submission, ids)
    if labels is not None:
        good = [Path(path).resolve() for path in good]
        findings += earlier_findings(labels, good, origin, probs, itself)
        findings += member_findings(labels, members, origin, truth)
    return in_order(findings)
