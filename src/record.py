"""record.sqlite, made anew from what is on disk, and what it answers to a question in SQL.

    python -m src.record
    python -m src.record --sql "select * from best limit 10"
    python -m src.record --sql "select name, reason, epoch from attempts"

Its tables are runs (a card in a row), epochs, attempts (that failed) and submissions; the view best
has a row of params.yaml in each line, its repeats averaged, fewest errors first.
"""

import argparse

from src.core import command
from src.evidence import as_text
from src.sweep import query, rebuild


def main() -> None:
    """The command: see the module's first lines."""
    parser = argparse.ArgumentParser(prog="python -m src.record", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sql", default="", metavar="SELECT", help="print what this selects")
    args = parser.parse_args()
    made = rebuild()
    print(as_text(query(args.sql).fillna("-")) if args.sql else made)


if __name__ == "__main__":
    command(main)
