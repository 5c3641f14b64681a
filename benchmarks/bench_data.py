"""How fast photographs reach a model in training: fastai's loader, ours, and the ceiling.

    python benchmarks/bench_data.py [loaders | epochs]      both by default

Photographs of real size are drawn and used several times under other names. `loaders` counts the
images of the training loader at 128 and 224 px, its processes being started included: fastai's
transforms, `augment: fast`, that with `cache: 256`, and as a ceiling nothing but reading and
decoding, at the scale the views need and at full scale, in as many processes. `epochs` trains and
validates test_convnext at 128 px, by fastai alone and as this project trains, and tells the most
memory that all its processes had at a time.
Every line is a process of its own.
"""

import argparse
import multiprocessing
import os
import shutil
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

DRAWN, NAMES = 64, 2560  # photographs, and image ids in all
SECONDS = 20  # a loader is watched for that long, or for one epoch
ROUNDS = 2  # of all loaders in turn, the best of each counts: the machine is not always as fast
TIMED, WATCHED, IMAGES = 5, 6, 640  # epochs of a training after the first; images of each
WAYS = {
    "fastai": {"augment": "fastai"},
    "fast": {"augment": "fast"},
    "fast, cache 256": {"augment": "fast", "cache": 256},
}


def draw(folder: Path) -> None:
    """A competition of `NAMES` image ids, each of the drawn photographs many of them."""
    import pandas as pd

    from src import demo

    demo.draw(folder, DRAWN, 0)
    table = pd.read_csv(folder / "train.csv", dtype=str)
    copies = [table]
    for number in range(1, NAMES // DRAWN):
        copy = table.assign(image_id=f"{number}_" + table.image_id)
        for label, old, new in zip(table.label, table.image_id, copy.image_id, strict=True):
            images = folder / "train_images" / label
            os.link(images / old, images / new)
        copies.append(copy)
    pd.concat(copies).to_csv(folder / "train.csv", index=False)


def loaders_of(folder: Path, size: int, images: int, recipe: dict) -> tuple:
    """DataLoaders over `images` photographs, a fifth of them held out, their Variant and folds."""
    import pandas as pd

    from src import competition, data
    from src.variant import make_variant

    paths = competition.train_paths(folder).iloc[:images]
    competition.train_paths = lambda folder: paths
    folds = pd.Series([number % 5 for number in range(len(paths))], paths.index)
    variant = make_variant(arch="test_convnext", pretrained=False, size=size, **recipe)
    return data.get_dls(folder, folds, variant), variant, folds


def rate(batches: object) -> float:
    """Images per second of a loader, from its start on."""
    images, start = 0, time.perf_counter()
    for batch in batches:
        images += len(batch[0])
        if time.perf_counter() - start > SECONDS:
            break
    return images / (time.perf_counter() - start)


def loading(folder: Path, size: int, way: str) -> float:
    """Images/s of the training loader."""
    return rate(loaders_of(folder, size, NAMES, WAYS[way])[0].train)


def decoding(folder: Path, size: int, reduced: bool) -> float:
    """Images/s of reading and decoding alone, at the scale that `size` needs or in full."""
    from torch.utils.data import DataLoader

    from src import competition, data
    from src.augment import open_image
    from src.variant import make_variant
    from src.views import frame_of

    frame = frame_of(make_variant(size=size)) if reduced else None
    files = Decoded(list(competition.train_paths(folder)), partial(open_image, frame=frame))
    return rate([batch] for batch in DataLoader(files, 64, num_workers=data.workers()))


class Decoded(list):
    """Files, of which nothing but the width is wanted once they are decoded."""

    def __init__(self, files: list, read: object) -> None:
        super().__init__(files)
        self.read = read

    def __getitem__(self, number: int) -> int:
        return self.read(super().__getitem__(number)).width


def training(folder: Path, way: str, by_fastai: bool = False) -> tuple[list[float], list[int]]:
    """Seconds of some epochs, then the peak MB of others: to look at memory takes time itself.

    Trained by fastai alone, or with all that this project does beside.
    """
    from src.notebook import Run
    from src.train import fit, get_learner

    timed, watched = (2, 2) if WAYS[way]["augment"] == "fastai" else (TIMED, WATCHED)
    epochs = 1 + timed + watched
    dls, variant, folds = loaders_of(folder, 128, IMAGES, WAYS[way] | {"epochs": epochs})
    learn = get_learner(dls, variant)
    seconds, peaks = watch(learn, 1 + timed)
    with learn.no_bar(), learn.no_logging():
        if by_fastai:
            learn.fit(epochs)
        else:
            place = Path(tempfile.mkdtemp(dir=folder))
            fit(learn, variant, Run(folder, place, "bench", folds, time.monotonic()))
    return seconds, peaks


def watch(learn: object, timed: int) -> tuple[list[float], list[int]]:
    """Two lists that fill while `learn` trains: seconds of `timed` epochs, then peak MB."""
    from fastai.vision.all import Callback

    class Watch(Callback):
        order = 100

        def before_epoch(self) -> None:
            self.peak = Peak() if len(seconds) == timed else None
            self.began = time.perf_counter()

        def after_epoch(self) -> None:
            if self.peak:
                peaks.append(self.peak.stop())
            else:
                seconds.append(time.perf_counter() - self.began)

    seconds, peaks = [], []
    learn.add_cb(Watch())
    return seconds, peaks


class Peak:
    """The most memory this process and its children held together, pages they share once."""

    def __init__(self) -> None:
        self.megabytes, self.over = 0, threading.Event()
        self.watch = threading.Thread(target=self._watch)
        self.watch.start()

    def stop(self) -> int:
        """MB at most since the start."""
        self.over.set()
        self.watch.join()
        return self.megabytes

    def _watch(self) -> None:
        import psutil

        me = psutil.Process()
        while not self.over.wait(0.1):
            total = 0
            for process in [me, *me.children(recursive=True)]:
                try:
                    total += process.memory_full_info().pss
                except psutil.Error:  # it has just ended
                    continue
            self.megabytes = max(self.megabytes, total >> 20)


def alone(job: object, *args: object) -> object:
    """The result of `job` in a new process: its memory and its threads are its own."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_free, (job, args))


def _free(job: object, args: tuple) -> object:
    multiprocessing.current_process().daemon = False  # it has loader processes itself,
    multiprocessing.set_start_method(None, force=True)  # started as in a notebook
    return job(*args)


def report_loaders(folder: Path) -> None:
    """One table for each size."""
    for size in (128, 224):
        print(f"\n{size} px\n\n| | images/s | x fastai | of the ceiling |\n|---|---:|---:|---:|")
        alone(loading, folder, size, "fast, cache 256")  # once, to shrink
        jobs = {way: (loading, folder, size, way) for way in WAYS}
        jobs |= {f"decoding alone, {name} scale": (decoding, folder, size, reduced)
                 for name, reduced in (("reduced", True), ("full", False))}
        rounds = [{name: alone(*job) for name, job in jobs.items()} for _ in range(ROUNDS)]
        rates = {name: max(rates[name] for rates in rounds) for name in jobs}
        ceiling = rates["decoding alone, reduced scale"]
        for name, value in rates.items():
            times, share = value / rates["fastai"], value / ceiling
            print(f"| {name} | {value:.0f} | {times:.1f} | {share:.0%} |", flush=True)


def report_epochs(folder: Path) -> None:
    """Seconds and memory of a training's epochs; the first one starts things up."""
    print(f"\ntest_convnext at 128 px, {IMAGES} images an epoch, a fifth of them held out\n")
    print("| | first epoch, s | a further one, s | x fastai | peak MB of each epoch |")
    print("|---|---:|---:|---:|---|")
    theirs = None
    for name, way in {"fastai alone": "fastai"} | {way: way for way in WAYS}.items():
        (first, *further), peaks = alone(training, folder, way, name != way)
        best = min(further)
        theirs = theirs or best
        memory = ", ".join(f"{peak:,}" for peak in peaks)
        print(f"| {name} | {first:.1f} | {best:.1f} | {theirs / best:.1f} | {memory} |", flush=True)


def main() -> None:
    """Draw the photographs once, then what was asked for."""
    import torch

    from src.machine import cores

    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    reports = {"loaders": report_loaders, "epochs": report_epochs}
    parser.add_argument("names", nargs="*", choices=[*reports, []], metavar="loaders | epochs")
    wanted = parser.parse_args().names or list(reports)
    print(f"{cores()} cores, torch {torch.__version__}, no GPU" if not torch.cuda.is_available()
          else f"{cores()} cores, {torch.cuda.get_device_name()}")
    place = Path(tempfile.mkdtemp())
    os.environ["PADDY_WORK"] = str(place)
    try:
        draw(place / "data")
        for name in wanted:
            reports[name](place / "data")
    finally:
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
