"""Speed of training the head alone: on images, and on precomputed features.

    python benchmarks/bench_precompute.py

Photographs of real size are drawn, a fifth of them held out. Each way trains the head on a frozen
backbone of random weights for two epochs with validation; the faster epoch counts. Computing the
features comes on top, once. Every line is a process of its own.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench_data import alone  # noqa: E402

DRAWN = 320  # photographs
EPOCHS = 2
ARCHS = ("test_convnext", "resnet18")
WAYS = {
    "fastai": {"augment": "fastai"},
    "fast": {"augment": "fast"},
    "precompute": {"augment": "fast", "precompute": True},
}


def epochs_of_head(folder: Path, arch: str, way: str) -> tuple[float, float]:
    """Seconds of the fastest epoch, and of computing features."""
    import pandas as pd
    import timm
    from fastai.vision.all import Callback, CancelFitException
    from safetensors.torch import save_file

    from src import competition
    from src.core import make_variant
    from src.training import Run, fit, get_learner
    from src.vision import get_dls, timm_name

    class Watch(Callback):
        order = 95

        def before_fit(self) -> None:
            self.seconds = []

        def before_epoch(self) -> None:
            self.began = time.perf_counter()

        def after_epoch(self) -> None:
            self.seconds.append(time.perf_counter() - self.began)
            self.once = sum(self.precompute.seconds) if way == "precompute" else 0
            if len(self.seconds) == EPOCHS:
                raise CancelFitException

    weights = folder / f"{arch}.safetensors"
    save_file(timm.create_model(timm_name(arch), num_classes=0).state_dict(), weights)
    variant = make_variant(arch=arch, size=128, pretrained=str(weights), freeze_epochs=EPOCHS,
                           desc=way, **WAYS[way])
    paths = competition.train_paths(folder)
    folds = pd.Series([number % 5 for number in range(len(paths))], paths.index)
    run = Run(folder, folder / "models", "bench", folds, time.monotonic())
    learn = get_learner(get_dls(folder, folds, variant), variant)
    watch = Watch()
    with learn.no_bar(), learn.no_logging():
        fit(learn.add_cb(watch), variant, run)
    return min(watch.seconds), watch.once


def main() -> None:
    """One table of all ways and architectures."""
    import torch

    from src.core import cores
    from src.demo import draw as demo

    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()

    print(f"{cores()} cores, torch {torch.__version__}, no GPU" if not torch.cuda.is_available()
          else f"{cores()} cores, {torch.cuda.get_device_name()}")
    print(f"{DRAWN} images at 128 px, a fifth of them held out\n")
    print("| | s an epoch of the head | x fastai | x fast | once, s |\n|---|---:|---:|---:|---:|")
    place = Path(tempfile.mkdtemp())
    os.environ["PADDY_WORK"] = str(place)
    try:
        demo.draw(place / "data", DRAWN, 0)
        for arch in ARCHS:
            report(place / "data", arch)
    finally:
        shutil.rmtree(place)


def report(folder: Path, arch: str) -> None:
    """The lines of one architecture."""
    took = {way: alone(epochs_of_head, folder, arch, way) for way in WAYS}
    for way, (epoch, once) in took.items():
        ratios = " | ".join(f"{took[base][0] / epoch:.1f}" for base in ("fastai", "fast"))
        first = f"{once:.1f}" if once else ""
        print(f"| {arch}, {way} | {epoch:.2f} | {ratios} | {first} |", flush=True)


if __name__ == "__main__":
    main()
