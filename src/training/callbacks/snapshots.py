"""The weights at the ends of cycles become the model: all of them at once, or their mean."""

import math
from copy import deepcopy
from typing import Any

import torch
from fastai.vision.all import Callback, set_seed, trainable_params
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from src.training.schedule import EPOCHS_PER_SEED

Weights = dict[str, Tensor]  # by name, as in a state_dict


class Members(nn.Module):
    """Several models that answer as one: the logarithm of the mean of their probabilities.

    Its softmax is that mean, so that whatever asks a model asks this one in the same way.
    """

    def __init__(self, models: list[nn.Module]) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)

    def forward(self, images: Tensor) -> Tensor:
        """Images (n, 3, height, width) → logarithms of probabilities (n, n_classes)."""
        answers = torch.stack([model(images).log_softmax(1) for model in self.models])
        return answers.logsumexp(0) - math.log(len(self.models))


class Snapshots(Callback):
    """Takes the weights at each cycle's end; after the training the model is made of them.

    A training that a time limit ends within a cycle is left at the cycles it has finished.
    """

    order = 75  # between the Course, which counts epochs, and the Checkpoint, which keeps them

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def before_fit(self) -> None:
        """Begin with none."""
        self.taken: list[Weights] = []

    def after_epoch(self) -> None:
        """Take one where a cycle ends."""
        if self.course.plan[self.course.done - 1].ends_cycle:
            weights = self.model.state_dict().items()
            self.taken.append({name: w.detach().to("cpu", copy=True) for name, w in weights})

    def after_fit(self) -> None:
        """Make the model."""
        if self.taken:
            (self._members if self.kind == "members" else self._mean)()

    def kept(self) -> dict[str, Any]:
        """The state, for a checkpoint."""
        return {"taken": self.taken}

    def put_back(self, state: dict[str, Any]) -> None:
        """The reverse of `kept`."""
        self.taken = state["taken"]

    def _members(self) -> None:
        models = [deepcopy(self.model) for _ in self.taken]
        for model, weights in zip(models, self.taken, strict=True):
            model.load_state_dict(weights)
        self.learn.model = Members(models)
        # The optimiser is of one model's layer groups; `export` makes a new one.
        self.learn.opt, self.learn.splitter = None, trainable_params

    def _mean(self) -> None:
        """Batch norms measured anew: the images look otherwise through the mean of weights."""
        self.model.load_state_dict(mean_weights(self.taken))
        plan, seed = self.course.plan, self.course.seed
        seed = seed * EPOCHS_PER_SEED + len(plan)
        set_seed(seed, reproducible=True)
        dl = self.course.loaders(plan[-1].size).train
        dl.rng.seed(seed)
        update_bn(dl, self.model)


def mean_weights(taken: list[Weights]) -> Weights:
    """The mean of every weight; counts, as those of batch norms, are the last ones."""
    return {
        name: torch.stack([weights[name] for weights in taken]).mean(0)
        if last.is_floating_point() else last
        for name, last in taken[-1].items()
    }
