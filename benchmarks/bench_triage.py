"""Whether the promise of `python -m src.triage` holds, and whether it notices other pictures.

    python benchmarks/bench_triage.py promise [--draws 300]
    python benchmarks/bench_triage.py unseen MODELS DATA [--other FOLDER]

promise: simulated competitions (tests/simulated.py); in each draw a threshold is fitted to the
hold-out and judged on the 200,000 images it was drawn from. It is broken if more than 1 − p of what
stays is wrong there. unseen: the AUC of several scores that tell the test images of DATA from
pictures of nothing the MODELS know: photographs in FOLDER, noise, drawn plants of other kinds.
"""

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import pandas as pd
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from simulated import simulate  # noqa: E402
from sklearn.metrics import roc_auc_score  # noqa: E402

from src import bundle, competition  # noqa: E402
from src.core import UserError, command, make_variant  # noqa: E402
from src.evidence import average, right, wilson  # noqa: E402
from src.looking.triage import disagreement, threshold  # noqa: E402

IMAGES = 200_000
# What is simulated: families as tests/simulated.py takes them.
CASES = {
    "four good models": {"vit": (2, 0, 0.35, 0.4), "swin": (2, 0, 0.35, 0.4)},
    "two weaker models": {"vit": (2, 0, 0.9, 0.6)},
    "one weak model": {"vit": (1, 0, 1.2, 0.9)},
}
HELD_OUT, RIGHT = (2_081, 10_407), (0.99, 0.995)
OTHERS = 100  # pictures of each kind of noise or plant


def promise(draws: int) -> None:
    """How often the promise is broken, with the bound and without, and what it costs."""
    print("| models (wrong) | held out | promised | refused | broken, with the bound | broken, "
          "without | to a person, mean | without the bound |\n"
          "|---|---:|---:|---:|---|---:|---:|---:|")
    for name, families in CASES.items():
        tables, _, labels = simulate(1, families, IMAGES)
        mean = average(tables.values())
        sure, wrong = mean.to_numpy().max(axis=1), ~right(mean, labels)
        order = np.argsort(-sure)
        sure, wrong = sure[order], wrong[order]
        for images in HELD_OUT:
            for wish in RIGHT:
                rows = [draw(sure, wrong, images, wish, seed) for seed in range(draws)]
                print(line(f"{name} ({wrong.mean():.1%})", images, wish, pd.DataFrame(rows)),
                      flush=True)


def draw(
    sure: np.ndarray, wrong: np.ndarray, images: int, wish: float, seed: int
) -> dict[str, float]:
    """One hold-out: whether each way breaks the promise, and the share it sends to a person."""
    held = np.sort(np.random.default_rng(seed).choice(len(sure), images, replace=False))
    shares = wrong[held].cumsum() / np.arange(1, images + 1)
    naive = np.flatnonzero(shares <= 1 - wish)
    least = {"without": sure[held[naive[-1]]] if naive.size else np.inf}
    try:
        least["bound"] = threshold(sure[held], ~wrong[held], wish)
    except UserError:
        least["bound"] = np.inf
    row = {"refused": np.isinf(least["bound"])}
    for way, number in least.items():
        stay = sure >= number
        row[way] = bool(stay.any() and wrong[stay].mean() > 1 - wish)
        row[f"{way} person"] = 1 - stay.mean() if stay.any() else np.nan
    return row


def line(name: str, images: int, wish: float, rows: pd.DataFrame) -> str:
    """A row of the table."""
    broken = int(rows.bound.sum())
    low, high = wilson(broken, len(rows))
    return (f"| {name} | {images:,} | {wish} | {rows.refused.sum()} of {len(rows)} | {broken} of "
            f"{len(rows)}: {broken / len(rows):.1%} ({low:.1%} to {high:.1%}) | "
            f"{rows.without.mean():.1%} | {rows['bound person'].mean():.1%} | "
            f"{rows['without person'].mean():.1%} |")


def unseen(models: Path, data: str, others: list[Path]) -> None:
    """The AUC of each score between test images and pictures of something else."""
    folder = competition.find(data)
    cards = bundle.read_cards(models)[0]
    learners = {name: bundle.load(models, name) for name in cards}
    variants = {name: make_variant(**card["variant"] | {"tta": "none"})
                for name, card in cards.items()}
    with TemporaryDirectory() as place:
        sets = {"": competition.test_paths(folder)} | draw_others(Path(place))
        for other in others:
            files = sorted(p for p in other.rglob("*") if p.suffix.lower() in (".jpg", ".png"))
            sets[f"photographs in {other.name}"] = {f"{n}": p for n, p in enumerate(files)}
        found = {name: scores(learners, variants, paths) for name, paths in sets.items()}
    known, columns = found.pop(""), list(next(iter(found.values())))
    print(f"{len(known)} test images of {folder}, {len(cards)} models\n")
    print("AUC, and in brackets the share above what 1 % of the test images exceed\n")
    print("| other pictures | number | " + " | ".join(columns) + " |\n|---|---:|"
          + "---:|" * len(columns))
    limit = known.quantile(0.99)
    for name, table in found.items():
        truth = np.repeat([0, 1], [len(known), len(table)])
        aucs = [roc_auc_score(truth, np.concatenate([known[c], table[c]])) for c in columns]
        caught = (table > limit).mean()
        cells = " | ".join(f"{auc:.2f} ({caught[c]:.0%})"
                           for c, auc in zip(columns, aucs, strict=True))
        print(f"| {name} | {len(table)} | {cells} |")


def scores(learners: dict, variants: dict, paths: dict[str, Path]) -> pd.DataFrame:
    """By picture, scores that should be high where it is none of the classes."""
    from src.predict import predict

    tables = [views["plain"].astype(float) for views in predict(learners, variants, paths).values()]
    mean, first = average(tables).to_numpy(), tables[0].to_numpy()
    return pd.DataFrame({"disagreement": disagreement(tables), "1 − probability": 1 - mean.max(1),
                         "entropy": -(mean * np.log(mean.clip(1e-7))).sum(1),
                         "1 − probability, one model": 1 - first.max(1)})


def draw_others(place: Path) -> dict[str, dict[str, Path]]:
    """Noise, plain colours and drawn plants that are no grass: broad leaves, flowers."""
    kinds = {"noise": noise, "blurred noise": blurred, "broad leaves, drawn": broad_leaf,
             "flowers, drawn": flower}
    sets: dict[str, dict[str, Path]] = {}
    for kind, picture in kinds.items():
        sets[kind] = {}
        for number in range(OTHERS):
            path = place / f"{kind}_{number}.png"
            Image.fromarray(picture(np.random.default_rng([number, len(kind)]))).save(path)
            sets[kind][path.name] = path
    return sets


def noise(random: np.random.Generator) -> np.ndarray:
    """Pixels that do not know each other."""
    return random.integers(0, 256, (640, 480, 3), dtype=np.uint8)


def blurred(random: np.random.Generator) -> np.ndarray:
    """Soft patches of colour."""
    return cv2.resize(random.integers(0, 256, (8, 6, 3), dtype=np.uint8), (480, 640))


def ground(random: np.random.Generator) -> np.ndarray:
    """A field, green or brown, out of focus."""
    tint = np.array([random.integers(60, 140), random.integers(90, 150), random.integers(40, 90)])
    spots = random.normal(0, 25, (16, 12, 3)) + tint
    return np.ascontiguousarray(cv2.resize(spots.clip(0, 255).astype(np.uint8), (480, 640)))


def broad_leaf(random: np.random.Generator) -> np.ndarray:
    """A few oval leaves with a midrib and veins."""
    picture = ground(random)
    for _ in range(int(random.integers(2, 6))):
        at = random.integers([80, 100], [400, 540])
        size, turn = random.integers([90, 50], [200, 110]), float(random.uniform(0, 180))
        green = [int(v) for v in random.integers([30, 110, 20], [90, 190, 70])]
        cv2.ellipse(picture, at.tolist(), size.tolist(), turn, 0, 360, green, -1, cv2.LINE_AA)
        along = size[0] * np.array([np.cos(np.radians(turn)), np.sin(np.radians(turn))])
        across = along[::-1] * (-1, 1) * size[1] / size[0] * 0.7
        pale = [min(255, v + 40) for v in green]
        lines = [(at - along, at + along)]
        lines += [(at + s * along, at + (s + 0.2) * along + side * across * (1 - abs(s)))
                  for s in np.linspace(-0.8, 0.6, 6) for side in (-1, 1)]
        for start, end in lines:
            ends = [tuple(int(v) for v in point) for point in (start, end)]
            cv2.line(picture, *ends, pale, 2, cv2.LINE_AA)
    return picture


def flower(random: np.random.Generator) -> np.ndarray:
    """A few flowers of five to nine petals."""
    picture = ground(random)
    for _ in range(int(random.integers(1, 5))):
        at, size = random.integers([80, 100], [400, 540]), int(random.integers(40, 120))
        colour, petals = [int(v) for v in random.integers(120, 256, 3)], int(random.integers(5, 10))
        for turn in np.arange(petals) * 360 / petals:
            out = at + size * 0.6 * np.array([np.cos(np.radians(turn)), np.sin(np.radians(turn))])
            cv2.ellipse(picture, out.astype(int).tolist(), (size // 2, size // 5), turn, 0, 360,
                        colour, -1, cv2.LINE_AA)
        cv2.circle(picture, at.tolist(), size // 4, (230, 190, 40), -1, cv2.LINE_AA)
    return picture


def main() -> None:
    """The command: see the module's first lines."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    parts.add_parser("promise").add_argument("--draws", type=int, default=300)
    part = parts.add_parser("unseen")
    part.add_argument("models", type=Path)
    part.add_argument("data", help="the competition that the models were trained for")
    part.add_argument("--other", type=Path, action="append", default=[], metavar="FOLDER")
    args = parser.parse_args()
    if args.part == "promise":
        promise(args.draws)
    else:
        unseen(args.models, args.data, args.other)


if __name__ == "__main__":
    command(main)
