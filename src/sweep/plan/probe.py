"""A probe: the code of the training notebook, timed and broken off after a few steps.

    python -m src.sweep.plan.probe RECIPE DATA FILE       in a process of its own
"""

import json
import sys
import time
from operator import sub
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import psutil

from src import bundle, core
from src.core import UserError, Variant, command, make_variant

if TYPE_CHECKING:
    from fastai.vision.all import Callback, Learner

    from src.training import Run

WARM, STEPS, BATCHES = 5, 20, 10  # steps to warm up, steps measured, batches of the hold-out
SHOWN = 6  # photographs that a notebook shows of the hold-out
NO_MEMORY = ("out of memory", "not enough memory", "allocate memory")  # in torch's words
# The fields that decide how long a step takes and the memory it needs, beside size and batch …
TIMED = ("arch", "augment", "cache", "pretrained", "mixup", "cutmix", "ema", "targets", "tta",
         "views")  # fmt: skip
# … and the others: every epoch twice, to warm up and to be measured.
PLAIN = {
    "fold": 0, "seed": 42, "split": "stratified", "accum": 1, "lr": 1e-4, "epochs": 2, "sizes": "",
    "schedule": "fine_tune", "snapshots": "none", "sampler": "uniform", "precompute": False,
    "time_limit": 0.0, "exclude": "", "relabel": "", "desc": "",
}  # fmt: skip

Probe = dict[str, float]


def probed(v: Variant, size: int | str) -> Variant:
    """What is measured for `v` at `size`: the same for all rows that take the same steps."""
    fields = [*TIMED, *(("resize", "item_size") if v.augment == "fastai" else ())]
    frozen = v.pretrained and v.freeze_epochs and not v.precompute
    chosen = {name: getattr(v, name) for name in fields} | {"freeze_epochs": 2 if frozen else 0}
    return make_variant(**PLAIN | chosen | {"size": size, "bs": v.bs // v.accum})


def measure(v: Variant, data: str) -> Probe:
    """Seconds of each part of the notebook for `v`, one that was `probed`, and peak memory."""
    import papermill
    import torch

    from src import training, vision

    with TemporaryDirectory(dir=core.sweep_dir()) as folder:
        run, copies = training.start(v, data, folder, "plan", False), time.time()
        if v.cache:  # they are made once, for all rows
            vision.get_dls(run.folder, run.folds, v)
        copies = time.time() - copies
        dls = vision.get_dls(run.folder, run.folds, v)
        empty = Path(folder, "empty.ipynb")  # of no cell: what each notebook takes to begin
        core.write_json(empty, {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
        papermill.execute_notebook(empty, empty, kernel_name="python3", language="python",
                                   progress_bar=False)
        dls.show_batch(max_n=8, nrows=2)
        learn = training.get_learner(dls, v)
        learn.remove_cb(learn.progress).add_cb(watch := _stopwatch())
        training.fit(learn, v, run).remove_cb(watch)
        start = watch.ends[0] - psutil.Process().create_time() - copies
        probe = {"start": start, "bs": v.bs} | _epochs(watch, start) | _tail(learn, v, run)
        peak = bundle.read_card(Path(folder), v.name)["peak_memory_mb"]
    if torch.cuda.is_available():
        peak = torch.cuda.max_memory_reserved() / 2**20
    return probe | {"gb": peak / 1024}


def _stopwatch() -> "Callback":
    """A callback that times the parts of epochs, and breaks them off."""
    from fastai.vision.all import Callback, CancelTrainException, CancelValidException

    class Stopwatch(Callback):
        order, ends = 95, ()  # after all that an epoch does
        def before_fit(self) -> None:
            """Start the clock; a second try means that memory did not suffice."""
            if self.ends:  # `fit` tries again, with smaller batches
                raise UserError(NO_MEMORY[0])
            self.ends, self.steps, self.reads = [time.time()], [], []

        def before_train(self) -> None:
            """Begin to time the steps of an epoch, or the batches of its hold-out."""
            most = (WARM, STEPS) if self.training else (1, BATCHES)
            parts = self.steps if self.training else self.reads
            self.marks, self.most = [time.time()], most[len(parts) % 2]
            parts.append(self.marks)
        before_validate = before_train

        def before_batch(self) -> None:
            """Note when a batch has been read."""
            self.marks.append(time.time())

        def after_batch(self) -> None:
            """Note when it has been computed; break off after the last one wanted."""
            self.marks.append(time.time())
            if len(self.marks) > 2 * self.most:
                raise CancelTrainException if self.training else CancelValidException

        def after_cancel_train(self) -> None:
            """Have the recorder log the epoch all the same; its row would lack the losses."""
            self.recorder.cancel_train = self.recorder.cancel_valid = False
        after_cancel_validate = after_cancel_train

        def after_epoch(self) -> None:
            """Note when the epoch has ended."""
            self.ends.append(time.time())

    return Stopwatch()


def _epochs(watch: Any, start: float) -> Probe:
    """The parts of an epoch; the first of two is slower, by what is added to the `start`.

    Where the second two have the whole model to train, the first two had the head alone.
    """
    parts: Probe = {"start": start}
    counts = [len(marks) // 2 for marks in watch.steps]
    spans = [end - before - (read[-1] - read[0])
             for before, end, read in zip(watch.ends, watch.ends[1:], watch.reads, strict=False)]
    for n in range(1, len(counts), 2):
        steps, read = watch.steps[n][::2], watch.reads[n]
        step = _rate(steps[counts[n] // 4 :])  # loader processes start in the first quarter
        computing = sum(map(sub, read[2::2], read[1::2]))  # all that is left once it is in memory
        parts |= {"frozen": parts.get("step", step), "step": step,
                  "rest": spans[n] - step * counts[n],
                  "read": _rate(read[::2]), "again": computing / (len(read) // 2)}
        parts["start"] += max(0, spans[n - 1] - parts["rest"] - step * counts[n - 1])
    return parts


def _rate(marks: list[float]) -> float:
    return (marks[-1] - marks[0]) / (len(marks) - 1)


def _tail(learn: "Learner", v: Variant, run: "Run") -> Probe:
    """What comes after the training: for each image held out, and the rest."""
    from src import predict, training, vision

    held = list(learn.dls.valid.dataset.items)
    few = min(max(len(held) // 2, SHOWN), predict.BATCH * vision.workers())
    more = min(2 * few, len(held))

    def tables_of(images: int) -> tuple[Any, float]:
        """The predictions of so many held-out images, and their seconds."""
        learn.dls.loaders[1] = learn.dls.test_dl(held[:images], with_labels=True)
        began = time.time()
        return training.holdout_probs(learn, v), time.time() - began

    tables, tail = tables_of(few)
    began = time.time()
    training.plot_mistakes(learn)
    training.export(learn, v, tables, run)
    tail += time.time() - began
    (_, one), (_, two) = tables_of(few), tables_of(more)
    # fastai's plain view and all of ours; the mistakes and the reloaded file add a view each.
    views = v.views if v.tta != "none" else 0
    image = max(0, two - one) / max(1, more - few) * (views + 4) / (views + 2)
    return {"tail": max(0, tail - image * few), "image": image}


def main() -> None:
    """The command: see the module's first lines."""
    recipe, data, file = sys.argv[1:]
    core.write_json(Path(file), measure(make_variant(**json.loads(recipe)), data))


if __name__ == "__main__":
    command(main)
