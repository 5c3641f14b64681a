"""Test probabilities of finished models, in one pass over the images; saved as .test.parquet.

    python -m src.predict vit_small_squish_224 …           missing or stale probabilities
    python -m src.predict vit_small_squish_224 --tta none  the same model with another TTA

TTA settings come from the flags, else from the row of params.yaml, else from the card.
"""

import argparse

from src import bundle
from src.core import CHOICES, command, load_variants, models_dir, require_once
from src.predict.bundles import predict_bundles


def main() -> None:
    """The command: see the module's first lines."""
    parser = argparse.ArgumentParser(prog="python -m src.predict", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", metavar="NAME", help="finished models")
    parser.add_argument("--tta", choices=CHOICES["tta"], help="the kind of augmented views")
    parser.add_argument("--views", type=int, help="augmented views per image")
    parser.add_argument("--beta", type=float, help="share of the plain view in the average")
    parser.add_argument("--data", default="", help="the competition's folder")
    parser.add_argument("--trust", action="store_true", help="load a .pkl of another sha256")
    args = parser.parse_args()
    require_once(args.names)
    flags = {key: value for key in bundle.TTA_FIELDS if (value := getattr(args, key)) is not None}
    rows, tta = load_variants(), {}
    for name in args.names:
        recipe = rows[name].recipe if name in rows else {}
        tta[name] = {key: recipe[key] for key in bundle.TTA_FIELDS if recipe} | flags
    done = predict_bundles(tta, models_dir(), args.data, args.trust)
    for name in args.names:
        print(f"{name}: {'predicted' if name in done else 'up to date'}")


if __name__ == "__main__":
    command(main)
