"""Draw the demo competition into a folder: python -m src.demo demo/data --images 600 --seed 0."""

import argparse
from pathlib import Path

from src.core import command
from src.demo.draw import draw


def main() -> None:
    """Draw the demo competition into a folder."""
    parser = argparse.ArgumentParser(
        prog="python -m src.demo",
        description="Draw a small competition of paddy leaves, in Kaggle's layout and offline.",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="a new folder")
    parser.add_argument("--images", type=int, default=600, help="of the training set (600)")
    parser.add_argument("--seed", type=int, default=0, help="other seeds draw other images (0)")
    parser.add_argument("--shift", action="store_true",
                        help="photograph the same test leaves with a second camera: other ground, "
                             "distance, white balance, exposure, focus and JPEG quality")
    args = parser.parse_args()
    what = "drew" if draw(args.folder, args.images, args.seed, args.shift) else "already there:"
    count = f"{args.images} training and {args.images // 3} test photographs"
    camera = " of a second camera" if args.shift else ""
    print(f"{what} {count}{camera} in {args.folder}")


if __name__ == "__main__":
    command(main)
