"""The hold-out is seen alike in every epoch: it is read once at a size, then kept in memory."""

from fastai.vision.all import Callback, to_detach

from src.core import free_memory

SHARE = 0.25  # of the free memory; a larger hold-out is read anew in every epoch


class KeepHoldout(Callback):
    """Validates batches from memory once they have all been read."""

    order = -1  # before a bar is drawn over them

    def before_fit(self) -> None:
        """Nothing is kept yet."""
        self.source, self.batches = None, []

    def before_validate(self) -> None:
        """Hand out what is kept, or begin to keep."""
        if self.dl is self.source and len(self.batches) == len(self.source):
            self.learn.dl = self.batches
        else:
            self.source, self.batches = self.dl, []
            self.limit = SHARE * free_memory()

    def before_batch(self) -> None:
        """Keep a batch that was read, if there is room for as many as there are."""
        if self.training or self.dl is not self.source:
            return
        batch = to_detach((*self.xb, *self.yb))
        if len(self.dl) * sum(part.nbytes for part in batch) <= self.limit:
            self.batches.append(batch)
