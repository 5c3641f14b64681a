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
        """Compute the features if a frozen epoch comes."""
        self.after_epoch()  # of an epoch that ran out of memory
        coming = self.schedule.plan[self.schedule.done :]
        if coming and coming[0].phase.frozen:
            dls, self.seconds = self.schedule.loaders(coming[0].size), []
            self.features = DataLoaders(*(self.feature_loader(dls, dl) for dl in dls))

    def feature_loader(self, dls: DataLoaders, dl: TfmdDL) -> TfmdDL:
        """`dl` with features in place of its images; `seconds` says how long they took."""
        start, items = time.perf_counter(), list(dl.dataset.items)
        features = _features(self.model, dls.test_dl(items) if items else [])
        targets = torch.tensor([int(label) for label in dl.dataset.tls[1]], device=features.device)
        self.seconds.append(time.perf_counter() - start)
        return _loader_of(dl, features, targets)

    def before_epoch(self) -> None:
        """In a frozen epoch train on them, and skip the backbone."""
        if not self.schedule.plan[self.schedule.done].phase.frozen:
            self.features = None  # free their memory
            return
        self.features.train.rng.setstate(self.dls.train.rng.getstate())
        self.learn.dls = self.features
        for module in _constant_part(self.model):
            module.forward = noop

    def after_epoch(self) -> None:
        """Use the backbone again."""
        for module in _constant_part(self.model):
            vars(module).pop("forward", None)


def _loader_of(dl: TfmdDL, features: Tensor, targets: Tensor) -> TfmdDL:
    """A loader with the batches and the order of `dl`, of `features` and `targets` by image."""
    return TfmdDL(
        dl.dataset, bs=dl.bs, shuffle=dl.shuffle, drop_last=dl.drop_last, num_workers=0,
        device=features.device, create_item=noop, retain=lambda batch, _: batch,
        create_batch=lambda images: (features[images], targets[images]),
    )


def _constant_part(model: nn.Sequential) -> list[nn.Module]:
    """The backbone, and the layers of the head before the first that has weights."""
    body, head = model
    return [body, *takewhile(lambda layer: not list(layer.parameters()), head)]


@torch.no_grad()
def _features(model: nn.Sequential, images: TfmdDL) -> Tensor:
    """The input of the head's first layer with weights, for all images: (n_images, ...)."""
    device = next(model.parameters()).device
    front = nn.Sequential(*_constant_part(model.eval()))
    with torch.autocast("cuda", torch.float16, enabled=device.type == "cuda"):
        batches = [front(batch.to(device)).float() for (batch,) in images]
    return torch.cat(batches) if batches else torch.empty(0)
