"""What every training does in its epochs: report each one, and read the hold-out once.

`PADDY_TRACK` names a library that gets them, too; its failures never stop a training.
"""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from fastai.vision.all import Callback, Learner, to_detach
from tqdm import tqdm

from src.core import UserError, Variant, free_memory, nearest, terminal, work, write_json
from src.evidence import INTERVAL, error_cell, error_phrase

TRACK = "PADDY_TRACK"
Report = Callable[[dict[str, Any]], None]  # takes the final errors
SHARE = 0.25  # of the free memory; a larger hold-out is read in every epoch


class EpochLog(Callback):
    """Reports each epoch with its error in images: a row of the notebook's table, which papermill
    shows only afterwards, and a bar on the terminal.
    """

    order = 82  # after the Checkpoint: an epoch that is shown is one to resume from

    def __init__(self, model_name: str) -> None:
        self.model_name = model_name  # two trainings may share a terminal

    def before_fit(self) -> None:
        """Write the head of the table."""
        self._row("epoch", "train_loss", "valid_loss", f"hold-out error ({INTERVAL})", "time")

    def before_epoch(self) -> None:
        """Open a bar on the terminal."""
        title = f"{self.model_name}: epoch {self.schedule.done + 1}/{len(self.schedule.plan)}"
        self.bar = _terminal_bar(title, len(self.dls.train) + len(self.dls.valid))

    def after_batch(self) -> None:
        """Move the bar."""
        self.bar.update()

    def after_epoch(self) -> None:
        """Write the row of the epoch, and its numbers beside the bar."""
        _, trained, valid, error, took = self.recorder.log
        images = len(self.dls.valid_ds)  # 0 with fold=all: no loss, no error
        trained, valid = f"{trained:.4f}", f"{valid:.4f}" if images else "-"
        wrong = round(error * images) if images else 0
        self._row(self.schedule.done, trained, valid, error_cell(wrong, images), took)
        _write_progress(self.schedule, wrong, images)
        error = error_phrase(wrong, images)
        self.bar.set_postfix_str(f"train_loss={trained}, valid_loss={valid}, {error}")
        self.bar.close()

    def _row(self, *cells: object) -> None:
        bar = getattr(getattr(self, "progress", None), "mbar", None)  # None without a notebook
        if bar:
            bar.write(list(map(str, cells)), table=True)


def _write_progress(schedule: Callback, wrong: int, images: int) -> None:
    """Write how far the training is to the file that a sweep reads, if there is one."""
    if path := os.environ.get("PADDY_PROGRESS"):
        seconds = time.perf_counter() - schedule.start  # of this epoch
        facts = {
            "epoch": schedule.done, "epochs": len(schedule.plan),
            "wrong": wrong if images else None, "images": images, "seconds": round(seconds, 2),
            "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        }  # fmt: skip
        with suppress(UserError):  # a full disk there costs the sweep's table, not the training
            write_json(Path(path), facts)


def _terminal_bar(title: str, batches: int) -> tqdm:
    stream = terminal()
    interval = 0.2 if stream.isatty() else 30  # seconds; a log file gets few updates
    return tqdm(total=batches, desc=title, file=stream, mininterval=interval)


class CacheHoldout(Callback):
    """Validates cached batches once all were read: the hold-out looks the same in every epoch.

    A batch is cached if there is room for as many as there are.
    """

    order = -1  # before a progress bar wraps the loader

    def before_fit(self) -> None:
        """Cache nothing yet."""
        self.source, self.batches = None, []

    def before_validate(self) -> None:
        """Validate the cached batches if all are there, else begin to cache."""
        if self.dl is self.source and len(self.batches) == len(self.source):
            self.learn.dl = self.batches
        else:
            self.source, self.batches, self.limit = self.dl, [], SHARE * free_memory()

    def before_batch(self) -> None:
        """Cache a batch of the hold-out while there is room."""
        if not self.training and self.dl is self.source:
            batch = to_detach((*self.xb, *self.yb))
            if len(self.dl) * sum(part.nbytes for part in batch) <= self.limit:
                self.batches.append(batch)


# Trackers


def require_tracker() -> None:
    """Refuse `PADDY_TRACK` where it names no library that is known and installed."""
    if not (library := os.environ.get(TRACK)):
        return
    if library not in TRACKERS:
        raise UserError(f"{TRACK}={library} is unknown; {nearest(library, TRACKERS)}")
    try:
        import_module(library)
    except ImportError as error:
        remedy = f"pip install -e '.[{library}]', or unset {TRACK}"
        raise UserError(f"{TRACK}={library}: {error}", remedy) from error


def tracker(learn: Learner, v: Variant, done: int) -> tuple[list[Callback], Report | None]:
    """The callback of the library that `PADDY_TRACK` names, and what takes the final errors.

    Neither does anything any more once one has failed: no account, or a service that is away.
    """
    library, failed = os.environ.get(TRACK), []

    def attempt(step: Callable, *arguments: Any) -> Any:
        """What `step` returns, if nothing has failed."""
        try:
            return None if failed else step(*arguments)
        except Exception as error:
            failed.append(error)
            reason = " ".join(str(error).split()) or type(error).__name__
            print(f"{v.name}: {library}: {reason}; training goes on untracked", file=terminal())

    def report(errors: dict[str, Any]) -> None:
        """Log the final errors, and end."""
        attempt(summary.update, errors)
        attempt(end)

    if not library or not (made := attempt(TRACKERS[library], learn, v, done)):
        return [], None
    cb, summary, end = made
    for event in (e for e in dir(type(cb)) if e.startswith(("before_", "after_"))):
        setattr(cb, event, partial(attempt, getattr(cb, event)))
    return [cb], report


def _dvclive(_: Learner, v: Variant, done: int) -> tuple[Callback, Any, Callable]:
    from dvclive import Live
    from dvclive.fastai import DVCLiveCallback

    folder = str(work() / "tracked" / "dvclive" / v.name)
    live = Live(folder, resume=done > 0, save_dvc_exp=False, dvcyaml=None)
    live.step = done
    live.log_params(v.recipe)
    return DVCLiveCallback(live=live), live.summary, live.make_summary


def _wandb(learn: Learner, v: Variant, _: int) -> tuple[Callback, Any, Callable]:
    import wandb
    from fastai.callback.wandb import WandbCallback

    (folder := work() / "tracked").mkdir(parents=True, exist_ok=True)
    run = wandb.init(project="paddy", name=v.name, config=v.recipe, dir=folder,
                     settings=wandb.Settings(silent=True, init_timeout=30))
    learn.gather_args = dict  # fastai 2.8.12 fails at formatting them; `config` has the recipe
    return WandbCallback(log_preds=False), run.summary, run.finish


TRACKERS = {"dvclive": _dvclive, "wandb": _wandb}
