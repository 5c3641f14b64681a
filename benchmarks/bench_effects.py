"""Which candidate changes the default recipe for the better: thirteen at once, in fourteen runs.

    python benchmarks/bench_effects.py DATA WORK --arch mobilenetv2_100 --size 96 [--folds 3]

One seed is noise for a single candidate. So each run has four of the thirteen, each candidate is in
four runs, and each pair of them in one (the lines of a projective plane, {0, 1, 3, 9} modulo 13);
the default is the fourteenth. Least squares give the effect of each, from all runs. There are as
many effects as runs, so the margin is that of Lenth (1989), from the effects themselves: it takes
most of them for noise. Effects are taken to add up; what two candidates do only together is not
seen, or taken for the effect of others.
"""

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import pandas as pd
import torch
from bench_recipes import WAYS, finished, is_finished, parser, run_all, train
from fastai.callback.training import BnFreeze
from fastai.vision.all import Callback, Learner, TensorImage, Transform, create_head
from scipy.stats import t
from torchvision.transforms import v2

from src import competition, core, evidence


class Images(Transform):
    """`augment` for each image of a training batch, before or after fastai's normalization."""

    split_idx = 0

    def __init__(self, augment: Callable, order: int) -> None:
        super().__init__()
        self.augment, self.order = augment, order

    def encodes(self, x: TensorImage) -> TensorImage:
        """The batch, image by image."""
        return TensorImage(torch.stack([self.augment(image.as_subclass(torch.Tensor))
                                        for image in x]))


class Augmented(Callback):
    """Adds a transform to the training batches of every image size."""

    order = 61  # after the Schedule, which sets the loaders

    def __init__(self, tfm: Transform) -> None:
        self.tfm = tfm

    def before_epoch(self) -> None:
        """Add it to these loaders, once."""
        if self.tfm not in self.dls.train.after_batch.fs:
            self.dls.train.after_batch.add(self.tfm)


def augmented(make: Callable[[], Callable], order: int, learn: Learner) -> None:
    """Another augmentation of the training batches; Normalize has order 99."""
    learn.add_cb(Augmented(Images(make(), order)))


def average_pool(learn: Learner) -> None:
    """fastai's head on the average alone, not on average and maximum."""
    features = next(layer for layer in learn.model[1] if hasattr(layer, "num_features"))
    dropout = [layer.p for layer in learn.model[1] if isinstance(layer, torch.nn.Dropout)]
    learn.model[1] = create_head(features.num_features // 2, learn.dls.c, concat_pool=False,
                                 ps=dropout[-1])


def fixed_norms(learn: Learner) -> None:
    """Batch norms of a frozen backbone keep the statistics and weights of ImageNet."""
    learn.train_bn = False
    learn.add_cb(BnFreeze())


def weight_decay(learn: Learner) -> None:
    """Ten times fastai's."""
    learn.wd = 0.1


# Fields of a Variant, or a function that changes the Learner: what is not adopted needs no field.
CANDIDATES: dict[str, dict | Callable[[Learner], None]] = {
    "`schedule: one_cycle`": {"schedule": "one_cycle"},
    "`lr_mult: 10`": {"lr_mult": 10},
    "`min_scale: 0.75`": {"min_scale": 0.75},
    "`flip_vert: false`": {"flip_vert": False},
    "TrivialAugment": partial(augmented, v2.TrivialAugmentWide, 1),  # of uint8 images
    "`label_smoothing: 0.1`": {"label_smoothing": 0.1},
    "`ema: 0.99`": {"ema": 0.99},
    "random erasing": partial(augmented, partial(v2.RandomErasing, 0.5, (0.02, 0.2)), 100),
    "weight decay 0.1": weight_decay,
    "average pooling": average_pool,
    "`sizes: 64,80,96`": {"sizes": "64,80,96"},
    "`mixup: 0.2`": {"mixup": 0.2},
    "fixed norms while frozen": fixed_norms,
}
LINE = 0, 1, 3, 9  # their differences are 1 … 12, each once: any two lines meet in one point
SEED = 42


def main() -> None:
    """The command: see the module's first lines."""
    args = parser(__doc__).parse_args()
    if args.job:
        one = json.loads(args.job)
        return train(args, one, partial(change, one["number"]))
    jobs = [job(number) for number in range(-1, len(CANDIDATES))]
    run_all([job for job in jobs if not is_finished(args, job)])
    print_effects(args, jobs)


def chosen(number: int) -> list[str]:
    """The candidates of a run; of number −1, the default, none."""
    names = list(CANDIDATES)
    return [names[(number + step) % len(names)] for step in LINE] if number >= 0 else []


def job(number: int) -> dict:
    """A run as bench_recipes has it: name, fields and seed."""
    fields = [CANDIDATES[name] for name in chosen(number) if isinstance(CANDIDATES[name], dict)]
    merged = {key: value for each in fields for key, value in each.items()}
    name = f"effects_{number}" if number >= 0 else "default"
    return {"name": name, "number": number, "fields": merged, "seed": SEED}


def change(number: int, learn: Learner) -> None:
    """Do to `learn` what the candidates of a run do that are no field."""
    for name in chosen(number):
        if callable(CANDIDATES[name]):
            CANDIDATES[name](learn)


def effects(values: np.ndarray) -> np.ndarray:
    """What each candidate adds to the value of the first run, the default, by least squares."""
    runs = range(-1, len(CANDIDATES))
    design = [[1, *(name in chosen(number) for name in CANDIDATES)] for number in runs]
    return np.linalg.lstsq(np.array(design, float), values, rcond=None)[0][1:]


def margin(values: np.ndarray) -> float:
    """Lenth's margin of error: 95 % of effects that are nothing but noise are within it."""
    first = 1.5 * np.median(np.abs(values))
    error = 1.5 * np.median(np.abs(values[np.abs(values) < 2.5 * first]))
    return float(t.ppf(0.975, len(values) / 3) * error)


def print_effects(args: argparse.Namespace, jobs: list[dict]) -> None:
    """More (+) or fewer (−) images wrong by each candidate, and its time, the best first."""
    labels = competition.train_table(competition.find(str(args.data))).label
    runs = [pd.read_pickle(finished(args, job)) for job in jobs]
    held_out = runs[-1].index  # of the default all folds may be there
    wrong = [[evidence.wrong_of(run[way].loc[held_out], labels)[0] for way in WAYS] for run in runs]
    seconds = np.array([run.attrs["seconds"] / len(run) for run in runs])
    columns = [*np.array(wrong).T, 100 * seconds / seconds[0]]
    found = [effects(column) for column in columns]
    print(f"{args.arch} at {args.size} px, {len(held_out):,} predictions of each run; wrong by the "
          f"default {', '.join(f'{n} {way}' for n, way in zip(wrong[0], WAYS, strict=True))}\n")
    heads = [f"wrong, {way}, ± {margin(of):.0f}" for way, of in zip(WAYS, found, strict=False)]
    print(f"| candidate | {' | '.join(heads)} | time, % |\n|---|{'---:|' * len(columns)}")
    for number in np.argsort(found[0]):
        cells = [evidence.signed(round(column[number])) for column in found]
        print(f"| {list(CANDIDATES)[number]} | {' | '.join(cells)} |")


if __name__ == "__main__":
    core.command(main)
