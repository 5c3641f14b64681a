"""The hold-out is seen alike in every epoch: it is read in the first one, then kept in memory."""

from fastai.vision.all import Callback, to_detach

from src.machine import free_memory

SHARE = 0.25  # of the free memory; a larger hold-out is read anew in every epoch


class KeepHoldout(Callback):
    """Validates batches from memory once they have been read, whole and at this size."""

    order = -1  # before a bar is drawn over them

    def before_fit(self) -> None:
        """Nothing is kept yet."""
        self.source, self.kept = None, []

    def before_validate(self) -> None:
        """Hand out what is kept, or begin to keep."""
        if self.dl is not self.source:
            self.source, self.room = self.dl, SHARE * free_memory()
        elif len(self.kept) == len(self.source):
            self.learn.dl = self.kept
            return
        self.kept = []

    def before_batch(self) -> None:
        """Keep a batch that was read, if there is room for as many as there are."""
        if self.training or self.dl is not self.source:
            return
        batch = to_detach((*self.xb, *self.yb))
        if len(self.dl) * sum(part.nbytes for part in batch) <= self.room:
            self.kept.append(batch)
