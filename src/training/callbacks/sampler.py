"""`sampler`: the training images of an epoch are drawn by weight, with replacement."""

import torch
import torch.nn.functional as F
from fastai.vision.all import Callback, TfmdDL

FLOOR = 0.1  # of the mean loss, added to every weight: no image is left out for good


class Sampler(Callback):
    """Draws by `torch.multinomial`, from the seed of the epoch.

    `class`: every class equally often. `hard`: by each image's last training loss, from the second
    epoch on; losses of the hold-out would carry its labels into the training.
    """

    run_valid, resumed = False, ("losses",)

    def __init__(self, kind: str) -> None:
        self.kind, self.losses = kind, None

    def before_train(self) -> None:
        """Draw the images of the epoch."""
        dl = self.dls.train
        if self.kind == "class":
            labels = torch.tensor([int(label) for label in dl.dataset.tls[1]])
            weights = 1 / labels.bincount()[labels]
        elif self.losses is None:
            return
        else:
            mean = self.losses.nanmean()  # also for images that no batch has had yet
            weights = self.losses.nan_to_num(mean) + FLOOR * mean
        dl.get_idxs = lambda: torch.multinomial(weights, dl.n, replacement=True).tolist()

    def after_loss(self) -> None:
        """Store the loss of each image of the batch."""
        if self.kind == "hard":
            if self.losses is None:
                self.losses = torch.full([self.dls.train.n], torch.nan)
            losses = F.cross_entropy(self.pred.detach(), self.y, reduction="none")
            self.losses[batch_images(self.dls.train, self.iter)] = losses.float().cpu()

    def after_train(self) -> None:
        """Restore the loader's own order."""
        vars(self.dls.train).pop("get_idxs", None)


def batch_images(dl: TfmdDL, batch: int) -> list[int]:
    """The positions in the data set of the images of a batch of the running epoch."""
    order = dl._DataLoader__idxs  # what fastai's `get_idxs` returned at the start of the epoch
    return order[batch * dl.bs : (batch + 1) * dl.bs]
