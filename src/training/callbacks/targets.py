"""`targets`: variety and age are learnt beside the disease, from the same features, then dropped.

The last layer of the head has further outputs during the training. What is validated, predicted
and exported is the disease alone.
"""

from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F
from fastai.vision.all import Callback, Learner
from torch import Tensor, nn

from src.competition import train_table
from src.core import CHOICES, Variant
from src.training.callbacks.sampler import batch_images
from src.training.callbacks.snapshots import Members

WEIGHT = 0.2  # of each auxiliary loss; that of the disease weighs 1


class Auxiliary(Callback):
    """Adds the losses of the other targets to the gradients; metrics are of the disease alone."""

    order = 5  # before losses are scaled

    def __init__(self, table: pd.DataFrame, diseases: int) -> None:
        self.table, self.diseases = table, diseases

    def after_pred(self) -> None:
        """Separate the other outputs from those of the disease."""
        self.others = self.pred[:, self.diseases :]
        self.learn.pred = self.pred[:, : self.diseases]

    def after_loss(self) -> None:
        """Add the other losses to what is differentiated, not to what is reported."""
        if self.training:
            dl = self.dls.train
            names = [dl.dataset.items[n].name for n in batch_images(dl, self.iter)]
            loss = auxiliary_loss(self.others.float(), self.table.loc[names])
            self.learn.loss_grad = self.loss_grad + WEIGHT * loss


def auxiliary_loss(outputs: Tensor, table: pd.DataFrame) -> Tensor:
    """Cross-entropy of the variety, plus the squared error of the age, which is the last output."""
    targets = {name: torch.tensor(column.to_numpy()).to(outputs.device)
               for name, column in table.items()}
    if "age" not in targets:
        return F.cross_entropy(outputs, targets["variety"])
    variety = F.cross_entropy(outputs[:, :-1], targets["variety"])
    return variety + F.mse_loss(outputs[:, -1], targets["age"])


def encoded(folder: Path, targets: str) -> pd.DataFrame:
    """image_id → number of its variety and, if in `targets`, its age in standard deviations."""
    table = train_table(folder)
    age = table.age - table.age.mean()
    columns = {
        "variety": table.variety.astype("category").cat.codes.astype("int64"),
        "age": (age / (age.std() or 1)).astype("float32"),
    }
    return pd.DataFrame({name: columns[name] for name in targets.split("+")[1:]})


def add_targets(learn: Learner, variant: Variant, folder: Path) -> None:
    """Give the head outputs for the other targets of `variant`, and `learn` their losses."""
    if variant.targets == CHOICES["targets"][0]:
        return
    table, last = encoded(folder, variant.targets), learn.model[1][-1]
    rows = torch.empty(table.variety.nunique() + ("age" in table), last.in_features)
    nn.init.kaiming_normal_(rows, generator=torch.Generator().manual_seed(variant.seed))
    learn.model[1][-1] = _linear(torch.cat([last.weight, rows.to(last.weight.device)]))
    learn.opt = None  # it holds the old layer
    learn.add_cb(Auxiliary(table, last.out_features))


def drop_targets(learn: Learner) -> None:
    """Cut the head back to the outputs of the disease."""
    if not hasattr(learn, "auxiliary"):
        return
    for _, head in learn.model.models if isinstance(learn.model, Members) else [learn.model]:
        head[-1] = _linear(head[-1].weight[: learn.auxiliary.diseases])
    learn.opt = None
    learn.remove_cb(learn.auxiliary)


def _linear(weight: Tensor) -> nn.Linear:
    """A last layer as in fastai's heads, without bias."""
    layer = nn.Linear(*weight.shape[::-1], bias=False, device=weight.device)
    layer.weight = nn.Parameter(weight.detach().clone())
    return layer
