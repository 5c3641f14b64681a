"""Findings about a submission, one line each, and how they are printed."""

from collections.abc import Sequence
from typing import NamedTuple

KINDS = ("error", "remark", "compared", "not compared")  # in the order they are printed
LISTED = 20  # changed rows printed below a remark


class Finding(NamedTuple):
    """One line about a submission."""

    kind: str  # one of KINDS; only an error refuses the file
    text: str
    rows: Sequence[str] = ()  # what changed against a known good file, one line per image


def in_order(findings: Sequence[Finding]) -> list[Finding]:
    """Errors first, at the end what was compared and what was not."""
    return sorted(findings, key=lambda finding: KINDS.index(finding.kind))


def show(findings: Sequence[Finding]) -> None:
    """Print each finding with its changed rows: of an error all, of a remark the first."""
    for finding in findings:
        shown = finding.rows if finding.kind == "error" else finding.rows[:LISTED]
        print(f"{finding.kind}: {finding.text}", *shown, sep="\n  ")
        if hidden := len(finding.rows) - len(shown):
            print(f"  … and {hidden:,} more")
