"""Many variants, one notebook per process, one process per GPU (else per core).

    python -m src.sweep --all
    python -m src.sweep --grid arch=vit_small,swin_small resize=squish,pad size=224 seed=42,43
    python -m src.sweep plan --all --hours 9
    python -m src.sweep race --all --keep 3
    python -m src.sweep status

What is finished is skipped. After Ctrl-C the same command goes on from the last epochs; a second
Ctrl-C kills. Logs, and why rows failed, are in sweep/ of the work folder.
"""

import argparse
import sys
from importlib import import_module

from src import competition, core
from src.core import command
from src.sweep.plan import planned_before
from src.sweep.rows import add_arguments, checked, rows_for
from src.sweep.table import require_done, train

COMMANDS = {"plan": "plan", "race": "race", "status": "table"}  # first word → room


def sweep(words: list[str]) -> None:
    """Train the rows that `words` name, all checked first."""
    parser = argparse.ArgumentParser(prog="python -m src.sweep", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    args = parser.parse_args(words)
    variants = checked(args)
    rows = rows_for(variants, competition.find(args.data), core.models_dir())
    if finished := len(variants) - len(rows):
        print(f"{finished} of {len(variants)} rows are finished already", flush=True)
    outcomes = train(rows, args)
    if planned := planned_before([row.variant for row in rows]):
        print(planned)
    require_done(outcomes)


def main() -> None:
    """The command: see the module's first lines."""
    first, words = sys.argv[1] if len(sys.argv) > 1 else "", sys.argv[2:]
    if first in COMMANDS:
        getattr(import_module(f"src.sweep.{COMMANDS[first]}"), f"{first}_command")(words)
    else:
        sweep(sys.argv[1:])


if __name__ == "__main__":
    command(main)
