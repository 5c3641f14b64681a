"""A public score, and its private one, in images.

    python -m src.evidence 0.98846 0.98732
"""

import argparse

from src.core import command, load_facts
from src.evidence.phrases import score_in_images


def main() -> None:
    """The command: see the module's first lines."""
    parser = argparse.ArgumentParser(prog="python -m src.evidence", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("public", help="a public score, all five digits")
    parser.add_argument("private", nargs="?", help="a private one")
    args = parser.parse_args()
    public = f"public: {score_in_images(args.public)}"  # nothing is printed if the other is wrong
    second = args.private and score_in_images(args.private, load_facts().private)
    print(public + (f"\nprivate: {second}" if second else ""))


if __name__ == "__main__":
    command(main)
