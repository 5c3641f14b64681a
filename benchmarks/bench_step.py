"""A training step on a CPU: float32 and bf16, memory returned to the system and reused.

    python benchmarks/bench_step.py [ARCH ...]

Each row is a process: 64 random images of 128 px, random weights, channels last; medians of three
rounds, in which the rows take turns. System time and page faults are those of a step.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from statistics import median
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from torch.nn.functional import cross_entropy

from src.core import make_variant, reuse_memory
from src.training.precision import Bfloat16
from src.vision import backbone

ARCHS = ["mobilenetv2_100", "tf_efficientnet_lite0", "convnext_atto", "vit_tiny"]
WAYS = ("float32", "float32, memory reused", "all of it in bf16, memory reused", "as trained here")
IMAGES, SIZE, STEPS, ROUNDS = 64, 128, 6, 3


def main() -> None:
    """The command: see the module's first lines."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archs", nargs="*", default=ARCHS, metavar="ARCH")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)  # of one process
    args = parser.parse_args()
    if args.way:
        return print(*measure(args.archs[0], args.way))
    print("| | s a step | x float32 | of it system, s | page faults, thousands |")
    print("|---|---:|---:|---:|---:|")
    for arch in args.archs:
        rounds = [[_row(arch, way) for way in WAYS] for _ in range(ROUNDS)]
        rows = [[median(values) for values in zip(*rows, strict=True)]
                for rows in zip(*rounds, strict=True)]
        for way, (seconds, system, faults) in zip(WAYS, rows, strict=True):
            print(f"| {arch}, {way} | {seconds:.2f} | {rows[0][0] / seconds:.1f} | {system:.2f} "
                  f"| {faults / 1000:,.0f} |", flush=True)


def _row(arch: str, way: str) -> list[float]:
    command = [sys.executable, __file__, arch, "--way", way]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [float(word) for word in done.stdout.split()]


def measure(arch: str, way: str) -> tuple[float, float, float]:
    """The median seconds of a step, its system seconds and page faults."""
    import timm

    if way != WAYS[0]:
        reuse_memory()
    variant = make_variant(arch=arch, size=SIZE, pretrained=False)
    model = timm.create_model(backbone.timm_name(arch), num_classes=10,
                              **backbone.create_kwargs(variant))
    model.to(memory_format=torch.channels_last)
    if way == WAYS[3]:
        callback = Bfloat16()
        callback.learn = SimpleNamespace(model=model)
        callback.before_fit()
    optimiser = torch.optim.Adam(model.parameters())
    images = torch.randn(IMAGES, 3, SIZE, SIZE).to(memory_format=torch.channels_last)
    labels, seconds = torch.randint(10, (IMAGES,)), []
    for number in range(2 + STEPS):
        if number == 2:  # the first ones allocate, and create the optimiser's state
            before = getrusage(RUSAGE_SELF)
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=way == WAYS[2]):
            pred = model(images)
        cross_entropy(pred.float(), labels).backward()
        optimiser.step()
        optimiser.zero_grad()
        seconds.append(time.perf_counter() - start)
    after = getrusage(RUSAGE_SELF)
    return (median(seconds[2:]), (after.ru_stime - before.ru_stime) / STEPS,
            (after.ru_minflt - before.ru_minflt) / STEPS)


if __name__ == "__main__":
    main()
