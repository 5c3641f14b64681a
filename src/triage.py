"""Which test images go to a person, so that those that stay are right as often as promised.

    python -m src.triage --right 0.995
    python -m src.triage --right 0.99 --submission paddy_train     where there are several
"""

import argparse

from src.core import command
from src.looking import triage


def main() -> None:
    """The command: see the module's first lines."""
    parser = argparse.ArgumentParser(prog="python -m src.triage", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--right", type=float, required=True, metavar="SHARE",
                        help="of the images that stay, how many are to be right: 0.995")
    parser.add_argument("--submission", default="", metavar="NAME",
                        help="the submission's name, of submissions/NAME.csv")
    args = parser.parse_args()
    print(triage(args.right, args.submission))


if __name__ == "__main__":
    command(main)
