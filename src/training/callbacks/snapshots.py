"""`snapshots`: the weights at the ends of cycles become one model: all of them, or their mean."""

import math
from copy import deepcopy

import torch
from fastai.vision.all import Callback, trainable_params
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from src.training.schedule import seed_epoch

Weights = dict[str, Tensor]


class SnapshotEnsemble(nn.Module):
    """Several models as one: its softmax is the mean of their probabilities."""

    def __init__(self, models: list[nn.Module]) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)

    def forward(self, images: Tensor) -> Tensor:
        """Images (n, 3, height, width) → logarithms of probabilities (n, n_classes)."""
        logs = torch.stack([model(images).log_softmax(1) for model in self.models])
        return logs.logsumexp(0) - math.log(len(self.models))


class Snapshots(Callback):
    """Copies the weights at the end of each cycle, and makes the model of them after the training.

    A cycle that a time limit cuts short has no part in it.
    """

    order = 75  # between the Schedule, which counts epochs, and the Checkpoint
    resumed = ("weights",)

    def __init__(self, kind: str) -> None:
        self.kind, self.weights = kind, []

    def after_epoch(self) -> None:
        """Copy the weights where a cycle ends."""
        if self.schedule.plan[self.schedule.done - 1].ends_cycle:
            weights = self.model.state_dict().items()
            self.weights.append({name: w.detach().to("cpu", copy=True) for name, w in weights})

    def after_fit(self) -> None:
        """Make one model of the copies."""
        if self.weights and self.kind == "members":
            models = [deepcopy(self.model) for _ in self.weights]
            for model, weights in zip(models, self.weights, strict=True):
                model.load_state_dict(weights)
            self.learn.model = SnapshotEnsemble(models)
            # The optimiser has the layer groups of one model; `export` makes a new one.
            self.learn.opt, self.learn.splitter = None, trainable_params
        elif self.weights:
            self.model.load_state_dict(_mean(self.weights))
            # The statistics of batch norms are not those of the mean weights.
            plan = self.schedule.plan
            dl = self.schedule.loaders(plan[-1].size).train
            seed_epoch(self.schedule.seed, len(plan), dl)
            update_bn(dl, self.model)


def _mean(snapshots: list[Weights]) -> Weights:
    """The mean of every weight; counters, as those of batch norms, are the last ones."""
    mean = dict(snapshots[-1])
    for name, last in mean.items():
        if last.is_floating_point():
            mean[name] = torch.stack([weights[name] for weights in snapshots]).mean(0)
    return mean
