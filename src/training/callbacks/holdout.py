"""The hold-out looks the same in every epoch: it is read once at each size, then cached."""

from fastai.vision.all import Callback, to_detach

from src.core import free_memory

SHARE = 0.25  # of the free memory; a larger hold-out is read in every epoch


class CacheHoldout(Callback):
    """Validates cached batches once all of them have been read."""

    order = -1  # before a progress bar wraps the loader

    def before_fit(self) -> None:
        """Start with an empty cache."""
        self.source, self.batches = None, []

    def before_validate(self) -> None:
        """Use a full cache, or start one for this loader."""
        if self.dl is self.source and len(self.batches) == len(self.source):
            self.learn.dl = self.batches
        else:
            self.source, self.batches, self.limit = self.dl, [], SHARE * free_memory()

    def before_batch(self) -> None:
        """Cache a batch if there is room for as many as there are."""
        if not self.training and self.dl is self.source:
            batch = to_detach((*self.xb, *self.yb))
            if len(self.dl) * sum(part.nbytes for part in batch) <= self.limit:
                self.batches.append(batch)
