"""How many wrong labels the candidates of `python -m src.review labels` hold.

    python benchmarks/bench_labels.py                     simulated tables of real size
    python benchmarks/bench_labels.py DATA                photographs, a quick model
    python benchmarks/bench_labels.py DATA --work WORK    and what bench_recipes.py finished there

Labels are made wrong at random, one in twenty and 26 of 10,407; what cannot be helped is that the
labels of real photographs were partly wrong before. The quick model is a logistic regression on
the features of a pretrained backbone, out of fold and trained on the wrong labels; those of
bench_recipes.py were trained on the labels as they are, so theirs is an upper bound.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import numpy as np
import pandas as pd
from bench_members import finished_members
from bench_recipes import WAYS
from simulated import simulate

from src import competition
from src.core import command, make_variant
from src.ensemble import fit_temperature, with_temperature
from src.evidence import columns_of
from src.looking import labels as review

SHARE, FEW = 0.05, 26
FAMILIES = {family: (1, 0, 0.35, 0.4) for family in ("convnext", "swin", "swinv2", "vit")}
ARCHS = "tf_efficientnet_lite0", "tf_efficientnet_lite1"  # their weights are installed packages


def main() -> None:
    """The command: see the module's first lines."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", help="a competition's folder with photographs")
    parser.add_argument("--work", type=Path, help="what bench_recipes.py finished")
    parser.add_argument("--draws", type=int, default=5, help="of wrong labels (5)")
    parser.add_argument("--size", default="96", help="of what bench_recipes.py finished")
    args = parser.parse_args()
    print("| models | images | labels made wrong | looked at | found, mean and range of "
          f"{args.draws} draws |\n|---|---:|---:|---:|---|")
    if not args.data:
        return simulated(args.draws)
    folder = competition.find(args.data)
    labels = competition.train_table(folder).label
    wrong = [planted(labels, round(SHARE * len(labels)), draw) for draw in range(args.draws)]
    quick = {arch: [probe(features(folder, arch), new) for new in wrong] for arch in ARCHS}
    for arch, tables in quick.items():
        row(f"logistic regression on {arch}", labels, [(new, [t]) for new, t in
                                                      zip(wrong, tables, strict=True)])
    row("mean of these", labels, [(new, [tables[draw] for tables in quick.values()])
                                  for draw, new in enumerate(wrong)])
    if args.work:
        args.recipes = ["default"]
        tables = [table[WAYS[0]] for table in finished_members(args).values()]
        row("one trained on the labels as they are", labels, [(n, tables[:1]) for n in wrong])
        row(f"mean of {len(tables)} trained so", labels, [(n, tables) for n in wrong])


def simulated(draws: int) -> None:
    """Four models of four families at real size: the mean of them, and the first."""
    for few in (False, True):
        for models in (4, 1):
            cases = []
            for draw in range(draws):
                tables, _, labels = simulate(draw, FAMILIES)
                cases.append((planted(labels, FEW if few else round(SHARE * len(labels)), draw),
                              list(tables.values())[:models], labels))
            found = [hits(*case, looked=100 if few else None) for case in cases]
            line(f"{models} simulated", len(cases[0][2]), found)


def planted(labels: pd.Series, count: int, draw: int) -> pd.Series:
    """`labels` with so many replaced by another class, at random."""
    random, classes = np.random.default_rng(draw), sorted(labels.unique())
    new = labels.copy()
    for image in random.choice(labels.index, count, replace=False):
        new[image] = random.choice([label for label in classes if label != labels[image]])
    return new


def hits(
    new: pd.Series, tables: list[pd.DataFrame], labels: pd.Series, looked: int | None = None
) -> tuple[int, int, int]:
    """How many of the wrong labels are among the first ones, how many there are, how many first."""
    scaled = []
    for table in tables:
        table = table.astype(float)
        temperature = fit_temperature(table.to_numpy(), columns_of(table, new))
        scaled.append(pd.DataFrame(with_temperature(table.to_numpy(), temperature), table.index,
                                   table.columns))
    _, ranked = review.rank(scaled, new)
    wrong = new.index[new != labels]
    looked = looked or len(wrong)
    return int(ranked.index[:looked].isin(wrong).sum()), len(wrong), looked


def row(name: str, labels: pd.Series, cases: list[tuple[pd.Series, list[pd.DataFrame]]]) -> None:
    """The line of these models on the photographs."""
    looked = round(60 / 587 * len(labels))
    line(name, len(labels), [hits(new, tables, labels, looked) for new, tables in cases])


def line(name: str, images: int, found: list[tuple[int, int, int]]) -> None:
    """A row of the table."""
    hit, wrong, looked = np.array(found).T
    share = hit / wrong
    print(f"| {name} | {images:,} | {wrong[0]} | {looked[0]} | {hit.mean():.1f}: "
          f"{share.mean():.2f} ({share.min():.2f} to {share.max():.2f}) |", flush=True)


def features(folder: Path, arch: str) -> pd.DataFrame:
    """What the pretrained backbone `arch` makes of the training photographs, squished to 192."""
    import timm
    import torch

    from src import vision

    variant = make_variant(arch=arch)
    model = timm.create_model(vision.timm_name(arch), pretrained=True, num_classes=0,
                              **vision.load_kwargs(variant, vision.fetch(variant))).eval()
    mean, std = (torch.tensor(values)[:, None, None] for values in vision.stats(arch))
    rows, paths = [], competition.train_paths(folder)
    with torch.inference_mode():
        for path in paths:
            pixels = np.asarray(vision.open_image(path).resize((192, 192)), np.float32) / 255
            rows.append(model(((torch.tensor(pixels).permute(2, 0, 1) - mean) / std)[None])[0])
    return pd.DataFrame(torch.stack(rows).numpy(), paths.index)


def probe(table: pd.DataFrame, labels: pd.Series) -> pd.DataFrame:
    """Probabilities out of five folds by a logistic regression trained on these `labels`."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=200))
    values = cross_val_predict(model, table, labels[table.index], cv=5, method="predict_proba")
    return pd.DataFrame(values, table.index, sorted(labels.unique()))


if __name__ == "__main__":
    command(main)
