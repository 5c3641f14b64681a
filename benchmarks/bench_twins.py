"""How many planted twins are found among real photographs, how fast, and how many others are.

    python benchmarks/bench_twins.py DATA [--each 20] [--seed 0]
    python benchmarks/bench_twins.py DATA --images 10407

Of `each` photographs of the training set of DATA, others for every kind of change, a changed copy
is added; the table has the share of these pairs that is found, and under which name. Pairs that
nobody planted are listed: a person has to look at them. With `images` the photographs are enlarged
to 640 x 480 and multiplied by random views to so many, and only time and memory are measured.
"""

import argparse
import resource
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import pandas as pd
from PIL import Image, ImageOps

from src import competition, evidence
from src.core import UserError, command
from src.looking.twins import find_pairs


def cropped(image: Image.Image, share: float) -> Image.Image:
    """The middle `share` of each side, at the size of the whole."""
    width, height = image.size
    edges = width * (1 - share) / 2, height * (1 - share) / 2
    box = *edges, width - edges[0], height - edges[1]
    return image.resize(image.size, Image.Resampling.BICUBIC, box)


def turned(image: Image.Image, degrees: float) -> Image.Image:
    """Turned about the middle, without the corners that this leaves empty."""
    return cropped(image.rotate(degrees, Image.Resampling.BICUBIC), 0.94)


CHANGES = {
    "the same bytes": None,
    "re-encoded, quality 60": lambda image: image,
    "resized to two thirds": lambda image: ImageOps.scale(image, 2 / 3),
    "mirrored": ImageOps.mirror,
    "turned by 90°": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "turned by 2°": lambda image: turned(image, 2),
    "cropped to 95 %": lambda image: cropped(image, 0.95),
    "cropped to 90 %": lambda image: cropped(image, 0.9),
}


def main() -> None:
    """The command: see the module's first lines."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="a competition's folder, of real photographs")
    parser.add_argument("--each", type=int, default=20, help="copies of each kind (20)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--images", type=int, default=0, help="measure the time of so many")
    args = parser.parse_args()
    folder = competition.find(args.data)
    train = competition.train_paths(folder)
    with TemporaryDirectory() as place:
        if args.images:
            return measure(multiplied(train, args.images, Path(place), args.seed))
        if len(train) < args.each * len(CHANGES):
            raise UserError(f"{len(train)} photographs are too few", "give --each a smaller number")
        everything = pd.concat([train, pd.Series(competition.test_paths(folder), dtype=object)])
        copies, kinds = planted(train, args.each, Path(place), args.seed)
        pairs = measure(pd.concat([everything, copies]))
    print_found(pairs, kinds)


def planted(
    paths: pd.Series, each: int, place: Path, seed: int
) -> tuple[pd.Series, dict[tuple[str, str], str]]:
    """The copies, and (image, its copy) → how it was changed."""
    order, copies, kinds = np.random.default_rng(seed).permutation(paths.index), {}, {}
    for number, (kind, change) in enumerate(CHANGES.items()):
        for name in order[number * each : (number + 1) * each]:
            path = place / f"copy{number}_{name}"
            if change is None:
                path.write_bytes(paths[name].read_bytes())
            else:
                change(Image.open(paths[name]).convert("RGB")).save(path, "JPEG", quality=60)
            copies[path.name], kinds[name, path.name] = path, kind
    return pd.Series(copies), kinds


def multiplied(paths: pd.Series, images: int, place: Path, seed: int) -> pd.Series:
    """So many random views of the photographs, 640 x 480."""
    random, made = np.random.default_rng(seed), {}
    for number in range(images):
        image = Image.open(paths.iloc[number % len(paths)]).convert("RGB")
        share = random.uniform(0.4, 0.8)
        left, top = random.uniform(0, 1 - share, 2) * image.size
        box = left, top, left + share * image.width, top + share * image.height
        path = place / f"{number}.jpg"
        image.resize((480, 640), Image.Resampling.BICUBIC, box).save(path, "JPEG", quality=90)
        made[path.name] = path
    return pd.Series(made)


def measure(paths: pd.Series) -> pd.DataFrame:
    """The pairs among `paths`; prints what it took to find them."""
    clocks = time.perf_counter(), time.process_time()
    pairs = find_pairs(paths)
    clocks = time.perf_counter() - clocks[0], time.process_time() - clocks[1]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{len(paths):,} images: {clocks[0]:.1f} s, {clocks[1]:.1f} s of processor time, "
          f"{peak:,.0f} MB at most; {len(pairs):,} pairs")
    return pairs


def print_found(pairs: pd.DataFrame, kinds: dict[tuple[str, str], str]) -> None:
    """Of each change the pairs that are found; then all that were not planted."""
    named = {frozenset(pair): kind for *pair, kind in pairs[["a", "b", "kind"]].to_numpy()}
    names, counts = pd.Series(kinds), {}
    for kind, planted_pairs in names.groupby(names, sort=False):
        found = [named[frozenset(pair)] for pair in planted_pairs.index if frozenset(pair) in named]
        low, high = evidence.wilson(len(found), len(planted_pairs))
        counts[kind] = [f"{len(found)} of {len(planted_pairs)}", f"{low:.2f} to {high:.2f}",
                        pd.Series(found, dtype=object).value_counts().to_dict()]
    print(pd.DataFrame(counts, ["found", evidence.INTERVAL, "as"]).T.to_string())
    source = {copy: name for name, copy in kinds}
    other = {tuple(sorted(source.get(name, name) for name in pair)): kind
             for pair, kind in named.items()}
    unplanted = [(*pair, kind) for pair, kind in other.items() if pair[0] != pair[1]]
    print(f"\nnot planted: {len(unplanted)} pairs, to be looked at")
    for one, two, kind in sorted(unplanted):
        print(f"{one} {two} {kind}")


if __name__ == "__main__":
    command(main)
