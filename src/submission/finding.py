"""Findings about a submission, one line each, and how they are printed."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

KINDS = ("error", "remark", "compared", "not compared")  # in the order they are printed
LISTED = 20  # changed rows shown below a remark


class Finding(NamedTuple):
    """One line about a submission; `changes` are the rows that differ from a known good file."""

    severity: str  # a word of KINDS; an error refuses the file, the others do not
    text: str
    changes: pd.DataFrame | None = None  # image_id: before, after, margin


def in_order(findings: Sequence[Finding]) -> list[Finding]:
    """Errors first; what was compared, and what was not, in one line each at the end."""
    ordered = [f for kind in KINDS[:2] for f in findings if f.severity == kind]
    for kind in KINDS[2:]:
        texts = [finding.text for finding in findings if finding.severity == kind]
        ordered += [Finding(kind, "; ".join(texts))] if texts else []
    return ordered


def show(findings: Sequence[Finding]) -> None:
    """Print each finding on its line, and below it the rows that changed, of a remark the first."""
    for finding in findings:
        print(f"{finding.severity}: {finding.text}")
        rows = [] if finding.changes is None else list(finding.changes.itertuples())
        shown = len(rows) if finding.severity == "error" else LISTED
        for image, before, after, margin in rows[:shown]:
            known = "" if math.isnan(margin) else f"  margin {margin:+.3f}"
            print(f"  {image}  {before} → {after}{known}")
        if len(rows) > shown:
            print(f"  … and {len(rows) - shown:,} more")
