"""Time until the error of fastai's finished recipe is reached: fastai alone, then this project.

    python benchmarks/bench_time_to_error.py [--data DIR] [--pretrained PATH]

Without --data the demo competition is drawn. Each round has another seed and with it another
hold-out. In it fastai's published recipe and this project's defaults train in turn, each in a
process and a folder of its own, from the same weights, with the same images held out. The defaults
are trained in several lengths, as the error of a schedule falls mostly at its end: what counts is
the shortest whole training that has no more wrong than fastai's. The seconds run from the start of
the work to the end of an epoch, with checks, weights and loaders, without imports.

`reached after` is looked up afterwards: the end of the first epoch that had no more wrong than
fastai's last, which nobody knows while it trains."""

import argparse
import os
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import pandas as pd
import torch
from bench_data import alone
from bench_gpu import CUDA, Busy
from fastai.vision import all as fastai

from src import competition, vision
from src.core import Variant, command, cores, make_variant
from src.demo.draw import draw
from src.evidence import comparison_of, gain_phrase
from src.training import fit, get_learner, start

FASTAI = "fastai"
GOAL = 1 / 2 if CUDA else 1 / 4  # of fastai's time


class Outcome(NamedTuple):
    """One training, epoch by epoch."""

    seconds: list[float]  # from the start of the work to the end of each epoch
    right: list[list[bool]]  # each image of the hold-out, after each epoch
    busy: str  # the GPU

    @property
    def wrong(self) -> list[int]:
        """How many images of the hold-out, after each epoch."""
        return [epoch.count(False) for epoch in self.right]


Round = dict[str, Outcome]  # by side


class Watch(fastai.Callback):
    """Notes when each epoch ends, and which images of the hold-out are right then."""

    order = 100

    def __init__(self, began: float) -> None:
        self.began, self.seconds, self.epochs, self.busy = began, [], [], None

    def before_epoch(self) -> None:
        """Look at the GPU from the first epoch on."""
        if CUDA and not self.busy:
            self.busy = Busy()

    def before_validate(self) -> None:
        """Count anew."""
        self.right = []

    def after_batch(self) -> None:
        """Compare the predictions of the hold-out with its labels, as `error_rate` does."""
        if not self.training:
            self.right += (self.pred.argmax(-1) == self.yb[0]).tolist()

    def after_epoch(self) -> None:
        """Note the epoch, once all else that belongs to it is done."""
        self.seconds.append(time.perf_counter() - self.began)
        self.epochs.append(self.right)


def watched(learn: fastai.Learner, began: float, train: partial) -> Outcome:
    """The outcome of `train(learn)`."""
    learn.add_cb(watch := Watch(began))
    with learn.no_bar(), learn.no_logging():
        train(learn)
    return Outcome(watch.seconds, watch.epochs, watch.busy.stop() if watch.busy else "")


def fastai_alone(folder: Path, table: pd.DataFrame, variant: Variant) -> Outcome:
    """The published recipe; of `variant` only arch, weights, size, epochs and seed count."""
    began = time.perf_counter()
    fastai.set_seed(variant.seed)
    dls = fastai.ImageDataLoaders.from_df(
        table, folder, valid_col="held_out", bs=64,
        item_tfms=fastai.Resize(480, method="squish"),
        batch_tfms=fastai.aug_transforms(size=variant.size, min_scale=0.75),
    )
    learn = fastai.vision_learner(
        dls, vision.timm_name(variant.arch), metrics=fastai.error_rate,
        pretrained=bool(variant.pretrained), **vision.create_kwargs(variant),
        **vision.load_kwargs(variant, vision.fetch(variant)),
    )
    learn = learn.to_fp16() if CUDA else learn
    tune = partial(fastai.Learner.fine_tune, epochs=variant.epochs, base_lr=0.01)
    return watched(learn, began, tune)


def this_project(folder: Path, variant: Variant) -> Outcome:
    """What the training notebook does, up to the export, with nothing in its folder yet."""
    with tempfile.TemporaryDirectory() as place:
        os.environ["PADDY_WORK"] = place
        began = time.perf_counter()
        run = start(variant, str(folder), "", "bench_time_to_error", False)
        learn = get_learner(vision.get_dls(run.folder, run.folds, variant), variant)
        return watched(learn, began, partial(fit, variant=variant, run=run))


def held_out(folder: Path, variant: Variant) -> pd.DataFrame:
    """The competition as fastai reads it: file below `folder`, label, and whether it is held out.

    The index are the image ids.
    """
    paths, labels = competition.train_paths(folder), competition.train_table(folder).label
    with tempfile.TemporaryDirectory() as place:
        folds = competition.get_folds(folder, variant.seed, Path(place), variant.split)
    files = paths.map(lambda path: os.path.relpath(path, folder))
    held = folds[paths.index] == variant.fold
    return pd.DataFrame({"file": files, "label": labels[paths.index], "held_out": held})


def train_all(folder: Path, plain: Variant, planned: list[Variant]) -> tuple[Round, pd.Index]:
    """One round: fastai by `plain`, then each that is `planned`; and the ids of the hold-out."""
    table, found = held_out(folder, plain), {}
    jobs = {FASTAI: (fastai_alone, folder, table, plain)}
    jobs |= {f"this project, {v.epochs}": (this_project, folder, v) for v in planned}
    for side, job in jobs.items():
        found[side] = alone(*job)
        print(f"seed {plain.seed}, {side}: {found[side].seconds[-1]:.0f} s, "
              f"{found[side].wrong[-1]} wrong", file=sys.stderr)
    return found, table.index[table.held_out]


def ratio(rounds: list[Round], side: str) -> float:
    """The time of a whole training over that of fastai's, the median of the rounds."""
    return median(r[side].seconds[-1] / r[FASTAI].seconds[-1] for r in rounds)


def reached(one: Round, side: str) -> str:
    """Seconds to the end of the first epoch with no more wrong than fastai's last."""
    limit, ended = one[FASTAI].wrong[-1], one[side]
    ends = zip(ended.seconds, ended.wrong, strict=True)
    return next((f"{seconds:.0f}" for seconds, wrong in ends if wrong <= limit), "never")


def more_right(rounds: list[Round], ids: list[pd.Index], side: str) -> str:
    """How many more predictions are right than fastai's, all rounds as one comparison."""
    gains = [pd.Series(one[side].right[-1], held, dtype=int)
             - pd.Series(one[FASTAI].right[-1], held, dtype=int)
             for one, held in zip(rounds, ids, strict=True)]
    return gain_phrase(comparison_of(pd.concat(gains)))


def wrong_in(rounds: list[Round], side: str) -> int:
    """How many are wrong at the end, all rounds together."""
    return sum(one[side].wrong[-1] for one in rounds)


def shortest(rounds: list[Round]) -> str | None:
    """The side of this project that is as good as fastai's in the shortest time."""
    good = [side for side in rounds[0]
            if side != FASTAI and wrong_in(rounds, side) <= wrong_in(rounds, FASTAI)]
    return min(good, key=partial(ratio, rounds), default=None)


def report(rounds: list[Round], ids: list[pd.Index], epochs: int) -> None:
    """The table, and when fastai's error was reached."""
    print(f"held out: {', '.join(str(len(held)) for held in ids)} images, a round each\n")
    print("| side, epochs planned | s | x fastai's time | wrong | more right than fastai "
          f"| reached after, s |{' GPU |' if CUDA else ''}")
    print("|---|---:|---:|---|---|---|" + "---|" * CUDA)
    for side in rounds[0]:
        ended = [one[side] for one in rounds]
        wrong = ", ".join(str(o.wrong[-1]) for o in ended)
        more = "" if side == FASTAI else more_right(rounds, ids, side)
        after = ", ".join(reached(one, side) for one in rounds)
        print(f"| {side}{f', {epochs}' if side == FASTAI else ''} "
              f"| {median(o.seconds[-1] for o in ended):.0f} | {ratio(rounds, side):.2f} "
              f"| {wrong} | {more} | {after} |"
              + f" {', '.join(o.busy for o in ended)} |" * CUDA)
    print(f"\nAll rounds together: {verdict(rounds)} (goal: {GOAL} of fastai's time)")
    for number, one in enumerate(rounds, 1):
        print(f"Round {number} alone: {verdict([one])}")


def verdict(rounds: list[Round]) -> str:
    """The shortest training that is as good as fastai's, its share of the time, both errors."""
    if (side := shortest(rounds)) is None:
        return "no training of this project has as few wrong as fastai's"
    return (f"{side}, has {wrong_in(rounds, side)} wrong after {ratio(rounds, side):.2f} of the "
            f"time in which fastai has {wrong_in(rounds, FASTAI)}")


def measure(args: argparse.Namespace, folder: Path) -> None:
    """Train all rounds, then report."""
    default = make_variant()
    recipe = {"arch": args.arch, "size": args.size, "pretrained": args.pretrained, "fold": 0}
    lengths = args.planned or [max(1, default.epochs // part) for part in (1, 2, 3)]
    seeds = range(default.seed, default.seed + args.rounds)
    variants = [[make_variant(**recipe, seed=seed, epochs=length)
                 for length in [args.epochs, *dict.fromkeys(lengths)]] for seed in seeds]
    print(f"{cores()} cores, torch {torch.__version__}, "
          f"{torch.cuda.get_device_name() if CUDA else 'no GPU'}; {args.arch} at {args.size} px",
          flush=True)
    trained = [train_all(folder, plain, planned) for plain, *planned in variants]
    report([found for found, _ in trained], [ids for _, ids in trained], args.epochs)


def main() -> None:
    """Measure on the photographs of --data, or draw some."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", metavar="DIR", help="a competition's folder (the demo, drawn)")
    parser.add_argument("--arch", default="tf_efficientnet_lite0", help="(%(default)s)")
    parser.add_argument("--pretrained", default="true", help="true, false or a file (true)")
    parser.add_argument("--size", type=int, default=96, help="pixels (96)")
    parser.add_argument("--epochs", type=int, default=12, help="of fastai's recipe (12)")
    parser.add_argument("--planned", type=int, nargs="+", metavar="EPOCHS",
                        help="of this project (its default, half and a third of it)")
    parser.add_argument("--rounds", type=int, default=3, help="seeds (3)")
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error("--rounds must be 1 or more")
    with tempfile.TemporaryDirectory() as place:
        if not args.data:
            draw(drawn := Path(place) / "data")
        measure(args, competition.find(args.data or drawn))


if __name__ == "__main__":
    command(main)
