"""Download, submit, scores and training on Kaggle's GPUs, by Kaggle's official client.

    python -m src.kaggle_api download                  or with --zip, from the browser
    python -m src.kaggle_api submit paddy_train        guard, upload, wait for the score
    python -m src.kaggle_api scores                    the ledger and the board, in images
    python -m src.kaggle_api push vit_small_squish_224 train on Kaggle's GPU
"""

import argparse

from src.core import command
from src.kaggle_api.download import download
from src.kaggle_api.push import push
from src.kaggle_api.submit import scores, submit


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m src.kaggle_api", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)

    sub = commands.add_parser("download", help="the competition's data, checked and unpacked")
    sub.add_argument("--data", default="", help="folder to fill; default PADDY_DATA, else data/")
    sub.add_argument("--zip", default="", dest="zip_file", help="a zip downloaded in the browser")
    sub.set_defaults(run=download)

    sub = commands.add_parser("submit", help="guard, upload, wait for the score")
    sub.add_argument("name", help="a submission of submissions/, without .csv")
    sub.add_argument("-m", "--message", default="", help="default: notebook, models, error")
    sub.add_argument("--no-wait", dest="wait", action="store_false", help="not for the score")
    sub.add_argument("--every", type=float, default=10, help="seconds between two polls (10)")
    sub.add_argument("--patience", type=float, default=600, help="seconds to wait at most (600)")
    sub.add_argument("--force", action="store_true", help="send what the guard refuses; recorded")
    sub.add_argument("--again", action="store_true", help="send bytes that were sent before")
    sub.set_defaults(run=submit)

    sub = commands.add_parser("scores", help="fill submissions/ledger.csv, print the board")
    sub.set_defaults(run=scores)

    sub = commands.add_parser("push", help="train on Kaggle's GPU, bring the models back")
    sub.add_argument("names", nargs="+", metavar="VARIANT", help="rows of params.yaml")
    sub.add_argument("--dataset", action="append", default=[], metavar="OWNER/NAME",
                     dest="datasets", help="attach this data set, for weights without internet")
    sub.add_argument("--internet", action=argparse.BooleanOptionalAction,
                     help="default: only where weights must be fetched")
    sub.add_argument("--every", type=float, default=60, help="seconds between two polls (60)")
    sub.set_defaults(run=push)

    args = vars(parser.parse_args())
    args.pop("command")
    args.pop("run")(**args)


if __name__ == "__main__":
    command(main)
