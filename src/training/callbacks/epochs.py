"""What every training does in its epochs: report each one, and read the hold-out once."""

from fastai.vision.all import Callback, to_detach
from tqdm import tqdm

from src.core import free_memory, terminal
from src.evidence import INTERVAL, error_cell, error_phrase

SHARE = 0.25  # of the free memory; a larger hold-out is read in every epoch


class EpochLog(Callback):
    """Reports each epoch with its error in images: a row of the notebook's table, which papermill
    shows only afterwards, and a bar on the terminal.
    """

    order = 70  # after the Recorder and ProgressCallback, whose numbers and table it uses

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
        error = error_phrase(wrong, images)
        self.bar.set_postfix_str(f"train_loss={trained}, valid_loss={valid}, {error}")
        self.bar.close()

    def _row(self, *cells: object) -> None:
        bar = getattr(getattr(self, "progress", None), "mbar", None)  # None without a notebook
        if bar:
            bar.write(list(map(str, cells)), table=True)


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
