"""A probe: the code of the training notebook on a few batches, timed.

    python -m src.sweep.plan.probe RECIPE DATA FILE       in a process of its own
"""

import json
import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import TYPE_CHECKING

import psutil

from src import bundle, core
from src.core import UserError, Variant, command, make_variant

if TYPE_CHECKING:
    from fastai.vision.all import Callback, Learner

    from src.training import Run

WARM, STEPS, BATCHES = 5, 20, 10  # steps to warm up, steps measured, batches of the hold-out
NO_MEMORY = ("out of memory", "not enough memory", "allocate memory")  # in torch's words
# The fields that decide how long a step takes and the memory it needs, beside size and batch …
TIMED = ("arch", "augment", "cache", "pretrained", "mixup", "cutmix", "ema", "targets", "tta",
         "views")  # fmt: skip
# … and the others.
PLAIN = {
    "fold": 0, "seed": 42, "split": "stratified", "accum": 1, "lr": 1e-4, "freeze_epochs": 1,
    "sizes": "", "schedule": "fine_tune", "snapshots": "none", "sampler": "uniform",
    "precompute": False, "time_limit": 0.0, "exclude": "", "relabel": "", "desc": "",
}  # fmt: skip

Probe = dict[str, float]


def probed(v: Variant, size: int | str) -> Variant:
    """What is measured for `v` at `size`: two epochs, the same for all rows of the same steps."""
    whole = v.augment == "fastai" or v.resize == "rect"  # else all ways to resize cost the same
    fields = [*TIMED, *(("resize", "item_size") if whole else ())]
    own = {name: getattr(v, name) for name in fields} | {"size": size, "bs": v.bs // v.accum}
    return make_variant(**PLAIN | own | {"epochs": 1 if v.pretrained else 2})


def measure(v: Variant, data: str, parent: Path) -> Probe:
    """Seconds of each part of the notebook for `v`, one that was `probed`, and peak memory.

    Its files are in a folder in `parent` meanwhile.
    """
    import nbclient
    import torch
    from nbformat import v4

    from src import training, vision

    with TemporaryDirectory(dir=parent) as folder:
        run, began = training.start(v, data, folder, "plan", False), time.time()
        if v.cache:  # its copies are made once, for all rows
            vision.get_dls(run.folder, run.folds, v)
        began = psutil.Process().create_time() + time.time() - began
        nbclient.execute(v4.new_notebook())  # of no cell: what each kernel takes to begin
        dls = vision.get_dls(run.folder, run.folds, v)
        dls.show_batch(max_n=8, nrows=2)
        for dl, batches in zip(dls, (WARM + STEPS, BATCHES), strict=True):
            dl.n = min(dl.n, batches * dl.bs)
        learn = training.get_learner(dls, v)
        learn.remove_cb(learn.progress).add_cb(watch := _stopwatch())
        training.fit(learn, v, run).remove_cb(watch)
        if learn.history.outcome["accum"] > 1:  # `fit` tried again, with parts of the batch
            raise UserError(NO_MEMORY[0])
        probe = {"bs": v.bs} | _epochs(*watch.marks, began, v.bs) | _tail(learn, v, run)
        peak = bundle.read_card(Path(folder), v.name)["peak_memory_mb"]
    if torch.cuda.is_available():
        peak = torch.cuda.max_memory_reserved() / 2**20
    return probe | {"gb": peak / 1024}


def _stopwatch() -> "Callback":
    """A callback that marks when the steps, and the batches of the hold-out, have ended."""
    from fastai.vision.all import Callback

    class Stopwatch(Callback):
        order = 95  # after all that a batch does

        def __init__(self) -> None:
            self.marks = []

        def before_train(self) -> None:
            """Mark where the steps of an epoch begin, or the batches of its hold-out."""
            self.marks.append([time.time()])
        before_validate = before_train

        def after_batch(self) -> None:
            """Mark the end of a batch."""
            self.marks[-1].append(time.time())

    return Stopwatch()


def _epochs(
    first: list[float], read: list[float], second: list[float], again: list[float],
    began: float, bs: int,
) -> Probe:
    """Seconds of an image by the marks of two epochs, and of all else: of the start, of an epoch.

    The first trains the head alone if the weights are pretrained, and reads the hold-out, which the
    second has in memory. That it is slower in other ways, too, belongs to the start.
    """
    frozen, step = (_rate(marks[min(WARM, (len(marks) - 1) // 2) :]) for marks in (first, second))
    reading, anew = _rate(read), _rate(again)
    rest = again[-1] - read[-1] - step * (len(second) - 1) - anew * (len(again) - 1)
    start = read[-1] - began - frozen * (len(first) - 1) - reading * (len(read) - 1) - rest
    images = {"frozen": frozen, "step": step, "read": reading, "again": anew}
    return {name: seconds / bs for name, seconds in images.items()} | {"rest": rest, "start": start}


def _rate(marks: list[float]) -> float:
    return (marks[-1] - marks[0]) / (len(marks) - 1)


def _tail(learn: "Learner", v: Variant, run: "Run") -> Probe:
    """What comes after the training: for each image held out, by a batch of TTA, and the rest."""
    from src import predict, training, vision

    held = list(learn.dls.valid.dataset.items)[: predict.BATCH * vision.workers()]
    learn.dls.loaders[1] = learn.dls.test_dl(held, with_labels=True)
    began = time.time()
    tables = training.holdout_probs(learn, v)
    # fastai's plain view and all of ours; the mistakes and the reloaded file add a view each.
    views = v.views if v.tta != "none" else 0
    image = (time.time() - began) / len(held) * (views + 4) / (views + 2)
    training.plot_mistakes(learn)
    training.export(learn, v, tables, run)
    return {"image": image, "tail": max(0, time.time() - began - image * len(held))}


def main() -> None:
    """The command: see the module's first lines."""
    recipe, data, file = sys.argv[1:]
    Thread(target=_end_with_plan, daemon=True).start()
    path, v = Path(file), make_variant(**json.loads(recipe))
    core.write_json(path, measure(v, data, path.parent))


def _end_with_plan() -> None:
    os.read(sys.stdin.fileno(), 1)  # returns when the pipe ends
    os._exit(1)


if __name__ == "__main__":
    command(main)
