"""`precompute`: the head alone is trained on features that the backbone computes once."""

import time
from itertools import takewhile

import torch
from fastai.vision.all import Callback, DataLoaders, TfmdDL, noop
from torch import Tensor, nn


class Precompute(Callback):
    """Trains on features while the backbone is frozen; order, batches and labels stay the same.

    They are of plain images, by a backbone in evaluation mode, and so the same in every epoch.
    """

    order = 85  # `before_fit` after the Checkpoint has restored, `before_epoch` after the seed

    def before_fit(self) -> None:
        """Compute the features, unless the frozen epochs are over."""
        self.features = None
        self.after_epoch()  # of an epoch that ran out of memory
        coming = self.schedule.plan[self.schedule.done :]
        if coming and coming[0].phase.frozen:
            self.learn.dls = self.schedule.loaders(coming[0].size)
            self.features, self.seconds = feature_loaders(self.model, self.dls)

    def before_epoch(self) -> None:
        """Replace images by features, and skip the layers that computed them."""
        if not self.schedule.plan[self.schedule.done].phase.frozen:
            self.features = None  # free their memory
            return
        self.features.train.rng.setstate(self.dls.train.rng.getstate())
        self.learn.dls = self.features
        for module in constant_part(self.model):
            module.forward = noop

    def after_epoch(self) -> None:
        """Run all layers again."""
        for module in constant_part(self.model):
            vars(module).pop("forward", None)


def constant_part(model: nn.Sequential) -> list[nn.Module]:
    """The backbone, and the layers of the head before the first that has weights."""
    body, head = model
    return [body, *takewhile(lambda layer: not list(layer.parameters()), head)]


def feature_loaders(model: nn.Sequential, dls: DataLoaders) -> tuple[DataLoaders, list[float]]:
    """Loaders of features for training and hold-out, and the seconds that each part took."""
    loaders, seconds = [], []
    for dl in dls:
        start = time.perf_counter()
        items = list(dl.dataset.items)
        loaders.append(_loader(dl, _features(model, dls.test_dl(items) if items else [])))
        seconds.append(time.perf_counter() - start)
    return DataLoaders(*loaders), seconds


@torch.no_grad()
def _features(model: nn.Sequential, images: TfmdDL) -> Tensor:
    """The input of the head's first layer with weights, for all images: (n_images, ...)."""
    device, batches = next(model.parameters()).device, []
    front = nn.Sequential(*constant_part(model.eval()))
    with torch.autocast("cuda", torch.float16, enabled=device.type == "cuda"):
        for (batch,) in images:
            batches.append(front(batch.to(device)).float())
    return torch.cat(batches) if batches else torch.empty(0)


def _loader(dl: TfmdDL, features: Tensor) -> TfmdDL:
    """`dl` with `features` in place of its images."""
    targets = torch.tensor([int(label) for label in dl.dataset.tls[1]], device=features.device)
    return TfmdDL(
        dl.dataset, bs=dl.bs, shuffle=dl.shuffle, drop_last=dl.drop_last, num_workers=0,
        device=features.device, create_item=noop, retain=lambda batch, _: batch,
        create_batch=lambda images: (features[images], targets[images]),
    )
