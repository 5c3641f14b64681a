"""Progress of a training: a bar on the terminal and a row in the notebook for every epoch."""

from fastai.vision.all import Callback
from tqdm import tqdm

from src.core import terminal
from src.evidence import INTERVAL, error_cell, error_phrase


class EpochLog(Callback):
    """Reports each epoch with its error in images.

    On the terminal too, because papermill shows a notebook's output only afterwards.
    """

    order = 70  # after the Recorder and ProgressCallback, whose numbers and table it uses

    def __init__(self, model_name: str) -> None:
        self.model_name = model_name  # two trainings may share a terminal

    def before_fit(self) -> None:
        """Write the header; a log file gets few updates, a screen many."""
        self.stream = terminal()
        self.interval = 0.2 if self.stream.isatty() else 30
        self._row("epoch", "train_loss", "valid_loss", f"hold-out error ({INTERVAL})", "time")

    def before_epoch(self) -> None:
        """Start the bar."""
        title = f"{self.model_name}: epoch {self.schedule.done + 1}/{len(self.schedule.plan)}"
        batches = len(self.dls.train) + len(self.dls.valid)
        self.bar = tqdm(total=batches, desc=title, file=self.stream, mininterval=self.interval)

    def after_batch(self) -> None:
        """Advance the bar."""
        self.bar.update()

    def after_epoch(self) -> None:
        """Write the row, and close the bar on the same numbers."""
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
