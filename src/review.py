"""Pages on which a person judges photographs and labels, and what their lists are worth.

    python -m src.review labels                     the labels that models doubt most
    python -m src.review twins                      the same leaf twice
    python -m src.review effect --exclude review/exclude.csv --relabel review/relabel.csv
"""

import argparse
import sys
from importlib import import_module

from src.core import command

ROOMS = {"labels": "labels", "twins": "twins", "effect": "labels"}  # loaded when needed


def main() -> None:
    """The command: see the module's first lines."""
    parser = argparse.ArgumentParser(prog="python -m src.review", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=ROOMS)
    what = parser.parse_args(sys.argv[1:2]).what
    getattr(import_module(f"src.looking.{ROOMS[what]}"), f"{what}_command")(sys.argv[2:])


if __name__ == "__main__":
    command(main)
