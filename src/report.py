"""Where we stand, on one page that opens from disk: report.html in the work folder.

    python -m src.report                         all finished models of a notebook
    python -m src.report vit_small_squish_224    one of them: report_vit_small_squish_224.html
"""

import argparse

from src.core import command
from src.looking import write_report


def main() -> None:
    """The command: see the module's first lines."""
    parser = argparse.ArgumentParser(prog="python -m src.report", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", default="", help="a model (default: the ensemble)")
    parser.add_argument("--notebook", default="", metavar="NAME", help="whose models, if several")
    args = parser.parse_args()
    print(f"written: {write_report(args.notebook, args.name)}")


if __name__ == "__main__":
    command(main)
