"""python -m src.submission check FILE [--good FILE ...] prints what is wrong or odd with a CSV.

It says what its labels were compared with, and what they could not be compared with.
"""

import argparse
import sys
from pathlib import Path

from src.competition import find, is_drawn
from src.core import command
from src.submission.guard import check, show
from src.submission.sent import read_provenance


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m src.submission", description=__doc__)
    parser.add_argument("command", choices=["check"])
    parser.add_argument("file", type=Path, help="the CSV to be sent")
    parser.add_argument(
        "--good", nargs="+", type=Path, metavar="FILE",
        help="CSVs known to be good (default: the best public score of submissions/ledger.csv)",
    )
    parser.add_argument("--data", default="", metavar="DIR", help="the competition's folder")
    args = parser.parse_args()
    folder = find(args.data)
    findings = check(args.file, folder, args.good)
    show(findings)
    kinds = [finding.kind for finding in findings]
    if errors := kinds.count("error"):
        verdict = f"not fit to submit, {_counted(errors, 'error')}"
    elif is_drawn(folder) or read_provenance(args.file).get("drawn"):
        verdict = "of a drawn competition, not for Kaggle"
    elif "compared" in kinds:
        verdict = "fit to submit"
    else:
        verdict = "the labels were not compared image by image, some in wrong rows would pass"
    print(f"{args.file}: {verdict}, {_counted(kinds.count('remark'), 'remark')}")
    sys.exit(bool(errors))


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


if __name__ == "__main__":
    command(main)
