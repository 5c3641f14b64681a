"""Whether this project works on the GPU of this machine, and how fast: one table.

    make gpu-check      exits with 1 if a check fails

Checked are the cards and the memory of a sweep, the export after training in half precision, views
cut on the GPU, batches halved when memory is short, the peak memory in the card, and the resume of
a killed training. Measured are the loader, the training, how busy the GPU is, and TTA
(bench_gpu.py). Photographs are drawn, weights random: no network is needed. Without CUDA a line
says so.
"""

import argparse
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pandas as pd
import torch
from bench_gpu import CUDA, Row, Scale, begin, command, forget, throughput, train, tta
from fastai.vision.all import Callback

from src import bundle, competition, evidence, sweep, vision
from src.core import Variant, make_variant
from src.predict import predict
from src.sweep import engines
from src.sweep.plan import measure
from src.training import export, fit, holdout_probs
from src.training.export import PARITY, full_precision
from src.training.precision import precision_of
from src.vision.pixels import cut_on_gpu

SPAWN = multiprocessing.get_context("spawn")
GREYS = 3  # grey levels that a view may differ by, as in tests/vision/test_views.py
LEAST, MOST = 0.85, 1.5  # of a training's memory: on a GPU a probe counts what torch reserves
SEEN = ("import torch; print(*[torch.cuda.get_device_properties(n).uuid "
        "for n in range(torch.cuda.device_count())])")  # fmt: skip


def peak_mb() -> int:
    """The most memory of the GPU that tensors took since `forget`."""
    return int(torch.cuda.max_memory_allocated() / 2**20)


def exports(place: Path, scale: Scale) -> Iterator[Row]:
    """Train, export, reload: the same probabilities; and the peak memory in the card."""
    for recipe in scale.exported:
        forget()
        variant = make_variant(**scale.recipe | recipe)
        learn, run = begin(place / "small", place / "exports", variant)
        trained_in = precision_of(learn.cbs)
        fit(learn, variant, run)
        least, tables = peak_mb(), holdout_probs(learn, variant)
        export(learn, variant, tables, run)
        noted = bundle.read_card(run.models, variant.name)["peak_memory_mb"]
        yield Row(f"{variant.arch}: peak memory in the card",
                  noted > 0 and (not CUDA or least <= noted <= peak_mb()), f"{noted:,} MB")
        differ = difference(variant, run.models, place / "small", tables["plain"])
        yield Row(f"{variant.arch}: export after training in {trained_in}",
                  differ <= PARITY and (trained_in != "fp32" or not CUDA),
                  f"differs by {differ:.1e} (allowed {PARITY:.0e})")


def difference(variant: Variant, models: Path, folder: Path, plain: pd.DataFrame) -> float:
    """The largest one between the probabilities `plain` and those of the reloaded bundle."""
    name, paths = variant.name, competition.train_paths(folder)[plain.index].to_dict()
    learn, plainly = bundle.load(models, name), replace(variant, tta="none")
    with full_precision():
        again = predict({name: learn}, {name: plainly}, paths)[name]["plain"]
    plain, again = evidence.join([plain, again])
    return float((plain - again).abs().to_numpy().max())


def views(place: Path, scale: Scale) -> Iterator[Row]:
    """Cut the same views on the CPU and on the GPU."""
    device = torch.device("cuda" if CUDA else "cpu")
    paths = competition.train_paths(place / "small").iloc[:20]
    for resize in ("squish", "crop", "pad"):
        frame = vision.frame_of(make_variant(resize=resize, size=224))
        differ = []
        for name, path in paths.items():
            photo = vision.shrink(vision.open_image(path, frame), frame)
            wanted = [vision.sample_view(vision.view_rng(0, name, n), frame) for n in range(4)]
            theirs = cut_on_gpu(photo, wanted, frame, device).cpu()
            differ.append((theirs.float() - vision.cut(photo, wanted, frame).float()).abs())
        greys = torch.stack(differ)
        yield Row(f"views on {device}: {resize}", float(greys.max()) <= GREYS,
                  f"differ by up to {greys.max():.0f} grey levels (allowed {GREYS}), "
                  f"by {greys.mean():.5f} in the mean")


@contextmanager
def at_most(megabytes: float) -> Iterator[None]:
    """A GPU with no more memory than this."""
    forget()
    if CUDA:
        whole = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(megabytes * 2**20 / whole)
    try:
        yield
    finally:
        if CUDA:
            torch.cuda.set_per_process_memory_fraction(1.0)


def halving(place: Path, scale: Scale, *cbs: Callback) -> Iterator[Row]:
    """Train with less memory than the batch takes, and more than its half does.

    `cbs` make memory short where there is no GPU.
    """
    given, small, peaks = make_variant(**scale.recipe | scale.halved), place / "small", []
    for accum in (1, 2):
        forget()
        train(small, place / f"accum{accum}", replace(given, accum=accum))
        peaks.append(peak_mb())
    limit = peaks[1] + 0.75 * (peaks[0] - peaks[1])
    with at_most(limit):
        learn, run = train(small, place / "halved", given, *cbs)
    export(learn, given, holdout_probs(learn, given), run)
    accum = bundle.read_card(run.models, given.name)["training"]["accum"]
    batch = learn.dls.train.bs
    yield Row(f"{given.arch}: out of memory", (accum, batch) == (2, given.bs // 2),
              f"{peaks[0]:,} MB needed, {limit:,.0f} given: batches of {given.bs} became "
              f"{batch}, accum {accum} in the card")


class Epochs(Callback):
    """Counts epochs; with `kill` its process is killed in the midst of the second."""

    order = 100

    def __init__(self, kill: bool = False) -> None:
        self.kill, self.count = kill, 0

    def after_batch(self) -> None:
        """End here, if so."""
        if self.kill and self.training and self.schedule.done == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    def after_epoch(self) -> None:
        """Count the epoch."""
        self.count += 1


def killed(folder: Path, models: Path, variant: Variant) -> None:
    """Train until the process is killed."""
    multiprocessing.set_start_method(None, force=True)  # of loader processes, as in a notebook
    train(folder, models, variant, Epochs(kill=True))


def resume(place: Path, scale: Scale) -> Iterator[Row]:
    """Kill a training in its second epoch, and start it again."""
    variant = make_variant(**scale.recipe | scale.exported[0] | {"epochs": 3})
    where = place / "small", place / "killed", variant
    forget()
    process = SPAWN.Process(target=killed, args=where)
    process.start()
    process.join()
    learn, _ = train(*where, again := Epochs())
    ended = learn.history.outcome["epochs"]
    yield Row(f"{variant.arch}: resume after a kill",
              (process.exitcode, again.count, ended) == (-signal.SIGKILL, 2, 3),
              f"exit code {process.exitcode}, then {again.count} of {ended} epochs")


def places() -> list[sweep.Place]:
    """A place on each free card, else on each core."""
    return engines.places(argparse.Namespace(gpus="", cores=1, jobs_per_gpu=1, until=0))


def cards(place: Path, scale: Scale) -> Iterator[Row]:
    """What torch sees at each place: the card that nvidia-smi numbers so, and no other."""
    uuids = dict(engines.nvidia_smi("gpu", "index,uuid"))
    for at in places():
        words = [sys.executable, "-c", SEEN]
        seen = subprocess.run(words, env=os.environ | at.env, capture_output=True, text=True)
        card = at.env[engines.VISIBLE]
        wanted = [uuids.get(card, card).removeprefix("GPU-")] if card else []
        yield Row(f"{at.name}: the card a row sees there", seen.stdout.split() == wanted,
                  seen.stdout.strip() or f"none{seen.stderr[-200:]}")


def rows(place: Path, scale: Scale) -> Iterator[Row]:
    """A row on each place at once; and its peak memory beside that of its probe."""
    data, work = place / "small", place / "swept"
    with mock.patch.dict(os.environ, {"PADDY_WORK": str(work)}):
        at, variants = places(), []
        for number, _ in enumerate(at):
            recipe = scale.recipe | scale.exported[0] | {"desc": f"row{number}"}
            variants.append(make_variant(**recipe))
        probes = measure.probes_of(variants[:1], data, at)
        jobs = [sweep.Row(v, data, work / "models") for v in variants]
        ended = engines.run(jobs, engines.here(at), lambda _: None)
        yield Row(f"{len(at)} rows on {len(at)} places at once",
                  {one.place for one in ended} == {one.name for one in at},
                  "; ".join(f"{one.place}: {one.reason or one.state}" for one in ended))
        yield _memory(variants[0], work / "models", max(one["gb"] for one in probes.values()))


def _memory(v: Variant, models: Path, planned: float) -> Row:
    real = bundle.read_card(models, v.name)["peak_memory_mb"] / 1024
    return Row(f"{v.arch}: peak memory of a probe and of the training",
               LEAST <= planned / real <= MOST, f"{planned:.2f} GB and {real:.2f} GB")


if __name__ == "__main__":
    # Cards and rows first: a card that a process uses gets no row.
    command(__doc__, [cards, rows, exports, views, halving, resume, throughput, tta])
