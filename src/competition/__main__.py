"""python -m src.competition check [DIR]: what is there, and whether training may start."""

import argparse
import sys

from src.competition.check import check
from src.competition.dataset import locate
from src.core import command, load_facts


def main() -> None:
    """The command: `python -m src.competition check [DIR]`."""
    parser = argparse.ArgumentParser(
        prog="python -m src.competition",
        description="Check the competition's files: exit code 0 when training may start.",
        epilog=f"example: python -m src.competition check data/{load_facts().slug}",
    )
    parser.add_argument("action", choices=["check"], help="print what is there and what is wrong")
    parser.add_argument("data", nargs="?", default="", metavar="DIR", help="the folder to check")
    folder = locate(parser.parse_args().data)
    lines, obstacles = check(folder)
    print(f"competition in {folder}", "", *lines, sep="\n")
    sys.exit(1 if obstacles else 0)


if __name__ == "__main__":
    command(main)
