"""`targets`: variety and age are learnt beside the disease, from the same features, then dropped.

The last layer of the head gets further outputs for the time of the training. What is validated,
kept, predicted and exported is the disease alone.
"""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F
from fastai.vision.all import Callback, Learner
from torch import Tensor, nn

from src.competition import train_table
from src.core import CHOICES, Variant
from src.training.callbacks.snapshots import Members

WEIGHT = 0.2  # of each auxiliary loss; that of the disease weighs 1


class Auxiliary(Callback):
    """Adds to the gradients those of the other targets; everybody else sees the disease alone.

    Cross-entropy of the variety; mean squared error of the age, in its standard deviations.
    """

    order = 5  # after the Sampler has drawn, before losses are scaled

    def __init__(self, table: pd.DataFrame, diseases: int) -> None:
        self.table, self.diseases = table, diseases

    def before_train(self) -> None:
        """Look up the targets, and have the loader note the order of the images."""
        dl = self.dls.train
        rows = self.table.loc[[path.name for path in dl.dataset.items]]
        self.targets = {name: torch.tensor(column.to_numpy()) for name, column in rows.items()}
        dl.get_idxs = self._noting(dl.get_idxs)

    def _noting(self, draw: Callable) -> Callable:
        def noted() -> list[int]:
            """The order `draw` gives, kept to find each batch's other targets by."""
            self.drawn = draw()
            return self.drawn

        return noted

    def after_pred(self) -> None:
        """Take the other outputs away."""
        self.others = self.pred[:, self.diseases :]
        self.learn.pred = self.pred[:, : self.diseases]

    def after_loss(self) -> None:
        """Add the other losses to what the gradients are of, not to what is told."""
        if self.training:
            bs = self.dls.train.bs
            batch = self.drawn[self.iter * bs : (self.iter + 1) * bs]
            others = self.others.float()
            targets = {k: column[batch].to(others.device) for k, column in self.targets.items()}
            self.learn.loss_grad = self.loss_grad + WEIGHT * auxiliary_loss(others, targets)

    def after_train(self) -> None:
        """Leave the loader as it was."""
        vars(self.dls.train).pop("get_idxs", None)

    def after_cancel_fit(self) -> None:
        """The same when a search for a learning rate ends in the midst of an epoch."""
        self.after_train()


def auxiliary_loss(outputs: Tensor, targets: dict[str, Tensor]) -> Tensor:
    """The losses of variety, by the first outputs, and of age, by the last."""
    if "age" not in targets:
        return F.cross_entropy(outputs, targets["variety"])
    variety = F.cross_entropy(outputs[:, :-1], targets["variety"])
    return variety + F.mse_loss(outputs[:, -1], targets["age"])


def encoded(folder: Path, targets: str) -> pd.DataFrame:
    """image_id → number of its variety, and its age with mean 0 and deviation 1 if it is asked."""
    table = train_table(folder)
    age = table.age - table.age.mean()
    columns = {
        "variety": table.variety.astype("category").cat.codes.astype("int64"),
        "age": (age / (age.std() or 1)).astype("float32"),
    }
    return pd.DataFrame({name: columns[name] for name in targets.split("+")[1:]})


def begin(learn: Learner, variant: Variant, folder: Path) -> None:
    """Give the head outputs for the other targets of `variant`, and `learn` their losses."""
    if variant.targets == CHOICES["targets"][0]:
        return
    table, last = encoded(folder, variant.targets), learn.model[1][-1]
    rows = torch.empty(table.variety.nunique() + ("age" in table), last.in_features)
    nn.init.kaiming_normal_(rows, generator=torch.Generator().manual_seed(variant.seed))
    learn.model[1][-1] = _linear(torch.cat([last.weight, rows.to(last.weight.device)]))
    learn.opt = None  # it holds the old layer
    learn.add_cb(Auxiliary(table, last.out_features))


def drop(learn: Learner) -> None:
    """The reverse of `begin`: the disease alone is left."""
    if not hasattr(learn, "auxiliary"):
        return
    members = learn.model.models if isinstance(learn.model, Members) else [learn.model]
    for _, head in members:
        head[-1] = _linear(head[-1].weight[: learn.auxiliary.diseases])
    learn.opt = None
    learn.remove_cb(learn.auxiliary)


def _linear(weight: Tensor) -> nn.Linear:
    """A last layer as fastai's heads have it: no bias."""
    layer = nn.Linear(*weight.shape[::-1], bias=False, device=weight.device)
    layer.weight = nn.Parameter(weight.detach().clone())
    return layer
