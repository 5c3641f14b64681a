"""How fast photographs reach a model in training: fastai's loader, ours, and the ceiling.

    python benchmarks/bench_data.py [loaders | epochs]      both by default

Photographs of real size are drawn and used several times under other names. `loaders` times the
training loader at 128 and 224 px, its start apart from its images/s: fastai's transforms, `augment:
fast`, that with `cache: 256`, and as a ceiling nothing but reading and decoding, at the scale the
views need and at full scale, in as many processes. `epochs` trains and validates test_convnext at
128 px, by fastai alone and as this project trains, and measures the most memory that all processes
of one had at a time. Rows are processes that take turns; medians are printed."""

import argparse
import multiprocessing
import os
import shutil
import sys
import tempfile
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

SPAWN = multiprocessing.get_context("spawn")
DRAWN, NAMES = 64, 2560  # photographs, and image ids in all
SECONDS, ROUNDS = 8, 5  # a loader is watched for so long, or to the end of its epoch; so often
AHEAD = 2  # batches that each loader process prepares in advance
EPOCHS, WATCHED, IMAGES = 10, 3, 640  # of a training; the last ones for their memory; images
WAYS = {
    "fastai": {"augment": "fastai"},
    "fast": {"augment": "fast"},
    "fast, cache 256": {"augment": "fast", "cache": 256},
}
TOP, FULL = "decoding alone, reduced scale", "decoding alone, full scale"  # the first: a ceiling


def draw(folder: Path, drawn: int = DRAWN, names: int = NAMES) -> None:
    """A competition of `names` image ids, each of the `drawn` photographs many of them."""
    import pandas as pd

    from src.demo import draw as demo

    demo.draw(folder, drawn, 0)
    table = pd.read_csv(folder / "train.csv", dtype=str)
    copies = [table]
    for start in range(drawn, names, drawn):
        few = table[: names - start]
        copy = few.assign(image_id=f"{start}_" + few.image_id)
        for label, old, new in zip(few.label, few.image_id, copy.image_id, strict=True):
            images = folder / "train_images" / label
            os.link(images / old, images / new)
        copies.append(copy)
    pd.concat(copies).to_csv(folder / "train.csv", index=False)


def loaders_of(folder: Path, size: int, images: int, recipe: dict) -> tuple:
    """DataLoaders over `images` photographs, a fifth of them held out, their Variant and folds."""
    import pandas as pd

    from src import competition
    from src.core import make_variant
    from src.vision import loaders as data

    paths = competition.train_paths(folder).iloc[:images]
    competition.train_paths = lambda folder: paths
    folds = pd.Series([number % 5 for number in range(len(paths))], paths.index)
    variant = make_variant(arch="test_convnext", pretrained=False, size=size, **recipe)
    return data.get_dls(folder, folds, variant), variant, folds


def rate(batches: object) -> tuple[float, float]:
    """Seconds until the first batch; images/s after those that were prepared meanwhile."""
    from src.vision import workers

    ahead, times, images = AHEAD * workers() + 1, [time.perf_counter()], []
    for batch in batches:
        times.append(time.perf_counter())
        images.append(len(batch[0]))
        if len(times) > ahead and times[-1] - times[ahead] > SECONDS:
            break
    return times[1] - times[0], sum(images[ahead:]) / (times[-1] - times[ahead])


def loading(folder: Path, size: int, way: str) -> tuple[float, float]:
    """The start and images/s of the training loader."""
    return rate(loaders_of(folder, size, NAMES, WAYS[way])[0].train)


def decoding(folder: Path, size: int, reduced: bool) -> tuple[float, float]:
    """The same of decoding alone, at the scale that `size` needs or in full."""
    from torch.utils.data import DataLoader

    from src import competition
    from src.core import make_variant
    from src.vision import frame_of, open_image
    from src.vision import loaders as data

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


def training(folder: Path, way: str, line: object) -> None:
    """Epochs of a training, each begun at a word on `line`: its seconds and peak MB go back there.

    fastai's transforms are trained with by fastai alone, ours with all that this project does.
    """
    from fastai.vision.all import Callback

    from src.training import Run, fit, get_learner

    class Watch(Callback):
        order = 100

        def before_epoch(self) -> None:
            self.peak = Peak() if line.recv() else None  # to look at memory takes time itself
            self.began = time.perf_counter()

        def after_epoch(self) -> None:
            seconds = time.perf_counter() - self.began
            line.send((seconds, self.peak.stop() if self.peak else None))

    dls, variant, folds = loaders_of(folder, 128, IMAGES, WAYS[way] | {"epochs": EPOCHS})
    learn = get_learner(dls, variant)
    learn.add_cb(Watch())
    line.send("ready")
    with learn.no_bar(), learn.no_logging():
        if way == "fastai":
            learn.fit(EPOCHS)
        else:
            fit(learn, variant, Run(folder, folder / way, "bench", folds, time.monotonic()))


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
                with suppress(psutil.Error):  # it has just ended
                    total += process.memory_full_info().pss
            self.megabytes = max(self.megabytes, total >> 20)


def alone(job: object, *args: object) -> object:
    """The result of `job` in a new process: its memory and its threads are its own."""
    with SPAWN.Pool(1) as pool:
        return pool.apply(_free, ((job, args),))


def _free(work: tuple) -> object:
    multiprocessing.current_process().daemon = False  # it has loader processes itself,
    multiprocessing.set_start_method(None, force=True)  # started as in a notebook
    job, args = work
    return job(*args)


def report_loaders(folder: Path) -> None:
    """One table for each size."""
    head = "| | start, s | then images/s | x fastai | of the ceiling |\n|---|---:|---:|---:|---:|"
    for size in (128, 224):
        print(f"\n{size} px\n\n{head}")
        alone(loading, folder, size, "fast, cache 256")  # once, to shrink
        jobs = {way: (loading, folder, size, way) for way in WAYS}
        jobs |= {name: (decoding, folder, size, name == TOP) for name in (TOP, FULL)}
        rounds = [{name: alone(*job) for name, job in jobs.items()} for _ in range(ROUNDS)]
        for name in jobs:
            start, rate = (median(r[name][k] for r in rounds) for k in (0, 1))
            x, share = (median(r[name][1] / r[o][1] for r in rounds) for o in ("fastai", TOP))
            print(f"| {name} | {start:.1f} | {rate:.0f} | {x:.1f} | {share:.0%} |", flush=True)


def report_epochs(folder: Path) -> None:
    """Seconds and memory of epochs; the first one reads the hold-out, too."""
    lines = {}
    for way in WAYS:
        lines[way], far_end = SPAWN.Pipe()
        work = training, (folder, way, far_end)
        SPAWN.Process(target=_free, args=(work,), daemon=True).start()
        lines[way].recv()
    turns = [{} for _ in range(EPOCHS)]
    for number, times in enumerate(turns):
        for way, line in lines.items():
            line.send(number >= EPOCHS - WATCHED)
            times[way] = line.recv()
    print(f"\ntest_convnext at 128 px, {IMAGES} images an epoch, a fifth of them held out\n")
    print("| | first epoch, s | a further one, s | x fastai | peak MB of each epoch |")
    print("|---|---:|---:|---:|---|")
    for way in WAYS:
        seconds = [times[way][0] for times in turns[: EPOCHS - WATCHED]]
        ratios = [times["fastai"][0] / times[way][0] for times in turns[1 : EPOCHS - WATCHED]]
        memory = ", ".join(f"{times[way][1]:,}" for times in turns[EPOCHS - WATCHED :])
        print(f"| {way} | {seconds[0]:.1f} | {median(seconds[1:]):.1f} | {median(ratios):.1f} "
              f"| {memory} |")


def main() -> None:
    """Draw the photographs once, then what was asked for."""
    import torch

    from src.core import cores

    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    reports = {"loaders": report_loaders, "epochs": report_epochs}
    parser.add_argument("names", nargs="*", choices=[*reports, []], metavar="loaders | epochs")
    wanted = parser.parse_args().names or list(reports)
    print(f"{cores()} cores, torch {torch.__version__}, no GPU" if not torch.cuda.is_available()
          else f"{cores()} cores, {torch.cuda.get_device_name()}")
    os.environ["PADDY_WORK"] = str(place := Path(tempfile.mkdtemp()))
    try:
        draw(place / "data")
        for name in wanted:
            reports[name](place / "data")
    finally:
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
