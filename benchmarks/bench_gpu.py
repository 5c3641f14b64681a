"""How fast a GPU is fed, trains and predicts, and how busy it is: one table.

    python benchmarks/bench_gpu.py      a part of make gpu-check

Drawn photographs stand for the 10,407 of the competition, each under many names. For each model,
from random weights, the loader is timed alone, then a training, both once they have started; then
TTA. How busy the GPU is comes from nvidia-smi, where there is one. Without CUDA a line says so.
"""

import argparse
import gc
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import mean
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from bench_data import draw as draw_many
from bench_data import rate
from fastai.vision.all import Callback, CancelFitException, Learner, ProgressCallback

from src import competition, vision
from src.core import Variant, cores, make_variant
from src.demo.draw import draw
from src.predict import predict
from src.sweep.engines import nvidia_smi
from src.training import Run, fit, get_learner

WARM = 5  # batches of a training before it is timed
SAMPLED = 0.5  # seconds between two looks at how busy the GPU is
CUDA = torch.cuda.is_available()


class Row(NamedTuple):
    """A line of the table; `passed` is None where something was only measured."""

    check: str
    passed: bool | None
    figure: str


class Scale(NamedTuple):
    """How much is drawn, trained and predicted."""

    drawn: int  # photographs of the competition in small/
    linked: int  # photographs of the one in large/,
    names: int  # under so many names
    recipe: dict  # what all trainings share
    exported: list[dict]
    halved: dict
    timed: list[dict]
    seconds: float  # of a timed training
    predicted: int  # images


Check = Callable[[Path, Scale], Iterator[Row]]
MODELS = [{"arch": "convnext_small", "size": 224}, {"arch": "vit_small", "size": 224},
          {"arch": "swinv2_base", "size": 192}]
FULL = Scale(
    drawn=160, linked=240, names=10_407, recipe={"pretrained": False, "epochs": 1, "lr": 0.001},
    exported=[model | {"bs": 32} for model in MODELS], halved=MODELS[1],
    timed=[MODELS[0] | {"augment": "fastai"}, *(model | {"augment": "fast"} for model in MODELS)],
    seconds=10, predicted=1024,
)


def prepare(place: Path, scale: Scale) -> None:
    """Draw both competitions."""
    draw(place / "small", scale.drawn)
    draw_many(place / "large", scale.linked, scale.names)


def begin(folder: Path, models: Path, variant: Variant, *cbs: Callback) -> tuple[Learner, Run]:
    """What the notebook has before `fit`."""
    folds = competition.get_folds(folder, variant.seed, models)
    run = Run(folder, models, "gpu_check", folds, time.monotonic())
    learn = get_learner(vision.get_dls(folder, folds, variant), variant)
    learn.remove_cbs(ProgressCallback)  # its bars would stand between the rows
    return learn.add_cbs(cbs), run


def train(folder: Path, models: Path, variant: Variant, *cbs: Callback) -> tuple[Learner, Run]:
    """What the notebook has after `fit`."""
    learn, run = begin(folder, models, variant, *cbs)
    return fit(learn, variant, run), run


def forget() -> None:
    """Release the GPU's memory; its peak begins anew."""
    gc.collect()
    if CUDA:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


class Busy:
    """How busy the GPU is from now until `stop`, by nvidia-smi."""

    def __init__(self) -> None:
        self.shares, self.over = [], threading.Event()
        self.watch = threading.Thread(target=self._watch, daemon=True)
        self.watch.start()

    def stop(self) -> str:
        """The mean share of the time in which a kernel ran."""
        self.over.set()
        self.watch.join()
        return f"GPU {mean(self.shares):.0f}% busy" if self.shares else "GPU busy: not known"

    def _watch(self) -> None:
        query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        if CUDA:
            query.append(f"--id=GPU-{torch.cuda.get_device_properties(0).uuid}")
        while shutil.which("nvidia-smi") and not self.over.wait(SAMPLED):
            answer = subprocess.run(query, capture_output=True, text=True).stdout.strip()
            if answer.isdecimal():  # a part of a card gives none
                self.shares.append(int(answer))


class Timed(Callback):
    """Ends a training after some seconds, at the latest with the epoch's last batch."""

    order = 100

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def after_batch(self) -> None:
        """Count the batch, once the first are done."""
        if self.iter + 1 == WARM:
            self.start, self.images, self.busy = time.perf_counter(), 0, Busy()
        elif self.iter >= WARM:
            self.images += len(self.yb[0])
            if time.perf_counter() - self.start > self.seconds:
                raise CancelFitException

    def after_train(self) -> None:
        """Validate nothing."""
        raise CancelFitException

    def after_fit(self) -> None:
        """Say what was measured."""
        trained = self.images / (time.perf_counter() - self.start)
        self.figure = f"training {trained:,.0f} images/s, {self.busy.stop()}"


def throughput(place: Path, scale: Scale) -> Iterator[Row]:
    """Read photographs alone, then train on them."""
    for recipe in scale.timed:
        forget()
        variant, large = make_variant(**scale.recipe | recipe), place / "large"
        folds = competition.get_folds(large, variant.seed, place / "timed")
        start, loaded = rate(vision.get_dls(large, folds, variant).train)
        train(large, place / "timed", variant, timed := Timed(scale.seconds))
        yield Row(f"{variant.arch}, {variant.size} px, {variant.augment}", None,
                  f"loader {loaded:,.0f} images/s after {start:.1f} s, {timed.figure}")


def tta(place: Path, scale: Scale) -> Iterator[Row]:
    """Predict with TTA."""
    variant, name = make_variant(**scale.recipe | scale.exported[0]), scale.exported[0]["arch"]
    learn, _ = begin(place / "large", place / "timed", variant)
    learn.model.to(learn.dls.device)
    paths = competition.train_paths(place / "large").iloc[: scale.predicted].to_dict()
    predict({name: learn}, {name: variant}, dict(list(paths.items())[:64]))
    start = time.perf_counter()
    tables = predict({name: learn}, {name: variant}, paths)[name]
    speed = len(paths) / (time.perf_counter() - start)
    whole = all(table.sum(axis=1).sub(1).abs().lt(1e-3).all() for table in tables.values())
    yield Row(f"{name}: TTA, {variant.views} views and the plain one", whole,
              f"{speed:,.0f} images/s" + ("" if whole else "; probabilities do not sum to 1"))


def report(place: Path, scale: Scale, checks: list[Check]) -> int:
    """Print the rows of all checks as they come; how many failed."""
    failed = 0
    print("| check | result | figure |\n|---|---|---|", flush=True)
    for check in checks:
        try:
            for row in check(place, scale):
                result = "measured" if row.passed is None else "ok" if row.passed else "FAILED"
                failed += result == "FAILED"
                print(f"| {row.check} | {result} | {row.figure} |", flush=True)
        except Exception as error:  # the other checks still have something to say
            failed += 1
            traceback.print_exc()
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            print(f"| {check.__name__} | FAILED | {reason} |", flush=True)
    return failed


def command(description: str, checks: list[Check]) -> None:
    """Draw the photographs once, then every check; exits with 1 if one fails."""
    formatter = argparse.RawDescriptionHelpFormatter
    argparse.ArgumentParser(description=description, formatter_class=formatter).parse_args()
    if not CUDA:
        return print("torch finds no CUDA device on this machine: nothing was checked")
    start, found = time.monotonic(), nvidia_smi("gpu", "name,memory.total")
    named = "; ".join(map(", ".join, found)) or torch.cuda.get_device_name()
    print(f"{named}; {cores()} cores, torch {torch.__version__}, CUDA {torch.version.cuda}\n")
    with tempfile.TemporaryDirectory() as place:
        os.environ["PADDY_WORK"] = place
        prepare(Path(place), FULL)
        failed = report(Path(place), FULL, checks)
    print(f"\n{failed} failed; {(time.monotonic() - start) / 60:.1f} minutes")
    sys.exit(failed > 0)


if __name__ == "__main__":
    command(__doc__, [throughput, tta])
