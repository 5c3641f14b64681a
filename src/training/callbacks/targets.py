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
from src.core import Variant
from src.training.callbacks.sampler import batch_images
from src.training.callbacks.snapshots import SnapshotEnsemble

WEIGHT = 0.2  # of each auxiliary loss; that of the disease weighs 1


class Auxiliary(Callback):
    """Adds the losses of the other targets to the gradients; metrics are of the disease alone."""

    order = 5  # before losses are scaled

    def __init__(self, table: pd.DataFrame, diseases: int) -> None:
        self.table, self.diseases = table, diseases

    def after_pred(self) -> None:
        """Split off the outputs of the other targets."""
        self.others = self.pred[:, self.diseases :].float()
        self.learn.pred = self.pred[:, : self.diseases]

    def after_loss(self) -> None:
        """Add their losses to what the gradients are of."""
        if self.training:
            dl = self.dls.train
            names = [dl.dataset.items[n].name for n in batch_images(dl, self.iter)]
            loss = _auxiliary_loss(self.others, self.table.loc[names])
            self.learn.loss_grad = self.loss_grad + WEIGHT * loss


def _auxiliary_loss(outputs: Tensor, table: pd.DataFrame) -> Tensor:
    """Cross-entropy of the variety, plus the squared error of the age, which is the last output."""
    variety = torch.tensor(table.variety.to_numpy()).to(outputs.device)
    if "age" not in table:
        return F.cross_entropy(outputs, variety)
    age = torch.tensor(table.age.to_numpy()).to(outputs.device)
    return F.cross_entropy(outputs[:, :-1], variety) + F.mse_loss(outputs[:, -1], age)


def encoded(folder: Path, targets: str) -> pd.DataFrame:
    """image_id → number of its variety and, if in `targets`, its age in standard deviations."""
    table = train_table(folder)
    columns = {"variety": table.variety.astype("category").cat.codes.astype("int64")}
    if "age" in targets:
        age = table.age - table.age.mean()
        columns["age"] = (age / (age.std() or 1)).astype("float32")
    return pd.DataFrame(columns)


def add_targets(learn: Learner, variant: Variant, folder: Path) -> None:
    """Give the head outputs for the other targets of `variant`, and `learn` their losses."""
    if "+" not in variant.targets:
        return
    table, last = encoded(folder, variant.targets), learn.model[1][-1]
    learn.add_cb(Auxiliary(table, last.out_features))
    rows = torch.empty(table.variety.nunique() + ("age" in table), last.in_features)
    nn.init.kaiming_normal_(rows, generator=torch.Generator().manual_seed(variant.seed))
    _set_weight(last, torch.cat([last.weight, rows.to(last.weight.device)]))
    learn.opt = None  # it holds the old weight


def drop_targets(learn: Learner) -> None:
    """Cut the head back to the outputs of the disease."""
    if hasattr(learn, "auxiliary"):
        several = isinstance(learn.model, SnapshotEnsemble)
        for _, head in learn.model.models if several else [learn.model]:
            _set_weight(head[-1], head[-1].weight[: learn.auxiliary.diseases])
        learn.opt = None
        learn.remove_cb(learn.auxiliary)


def _set_weight(layer: nn.Linear, weight: Tensor) -> None:
    layer.weight, layer.out_features = nn.Parameter(weight.detach().clone()), len(weight)
