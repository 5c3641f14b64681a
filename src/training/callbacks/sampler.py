"""`sampler`: the training images of an epoch are drawn by weight, with replacement."""

from typing import Any

import torch
import torch.nn.functional as F
from fastai.vision.all import Callback, TfmdDL
from torch import Tensor

FLOOR = 0.1  # of the mean loss, added to every weight: no image is left out for good


class Sampler(Callback):
    """Draws by `torch.multinomial`, from the seed of the epoch.

    `class`: every class equally often. `hard`: by each image's last training loss, from the second
    epoch on; losses of the hold-out would carry its labels into the training.
    """

    run_valid = False

    def __init__(self, kind: str) -> None:
        self.kind, self.losses = kind, None

    def before_train(self) -> None:
        """Replace the order of the loader."""
        dl = self.dls.train
        weights = _class_weights(dl) if self.kind == "class" else _loss_weights(self.losses)
        if weights is not None:
            dl.get_idxs = lambda: torch.multinomial(weights, dl.n, replacement=True).tolist()

    def after_loss(self) -> None:
        """Record the loss of each image of the batch."""
        if self.kind == "hard":
            if self.losses is None:
                self.losses = torch.full([self.dls.train.n], torch.nan)
            losses = F.cross_entropy(self.pred.detach(), self.y, reduction="none")
            self.losses[batch_images(self.dls.train, self.iter)] = losses.float().cpu()

    def after_train(self) -> None:
        """Restore the order of the loader."""
        vars(self.dls.train).pop("get_idxs", None)

    def state_dict(self) -> dict[str, Any]:
        """The state, for a checkpoint."""
        return {"losses": self.losses}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict`."""
        self.losses = state["losses"]


def batch_images(dl: TfmdDL, batch: int) -> list[int]:
    """The positions in the data set of the images of a batch of the running epoch."""
    order = dl._DataLoader__idxs  # what fastai's `get_idxs` returned at the start of the epoch
    return order[batch * dl.bs : (batch + 1) * dl.bs]


def _class_weights(dl: TfmdDL) -> Tensor:
    labels = torch.tensor([int(label) for label in dl.dataset.tls[1]])
    return 1 / labels.bincount()[labels]


def _loss_weights(losses: Tensor | None) -> Tensor | None:
    if losses is None:
        return None
    mean = losses.nanmean()  # also for images that no batch has had yet
    return losses.nan_to_num(mean) + FLOOR * mean
