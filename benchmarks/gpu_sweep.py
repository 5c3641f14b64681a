"""Whether a sweep finds its way among GPUs: their numbers, one row on each, a probe's memory.

A part of make gpu-check. A card that a process uses gets no row: this runs before the other checks.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from bench_gpu import Row, Scale

from src import bundle, sweep
from src.core import Variant, make_variant
from src.sweep import engines
from src.sweep.plan import measure

SEEN = ("import torch; print(*[torch.cuda.get_device_properties(n).uuid "
        "for n in range(torch.cuda.device_count())])")  # fmt: skip
LEAST, MOST = 0.85, 1.5  # of a training's memory: on a GPU a probe counts what torch reserves


def places() -> list[sweep.Place]:
    """A place on each free card, else on each core."""
    return engines.places(argparse.Namespace(gpus="", cores=1, jobs_per_gpu=1, wait=False))


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
