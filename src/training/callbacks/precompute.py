"""`precompute`: what a frozen backbone makes of the images is computed once, for the head."""

import time
from itertools import takewhile

import torch
from fastai.vision.all import Callback, DataLoaders, TfmdDL, noop
from torch import Tensor, nn


class Precompute(Callback):
    """Trains the head on features, as long as the plan keeps the backbone frozen.

    Features are constant: of plain images, by a backbone in evaluation mode. Nothing else changes;
    order, batches and labels are those of the images, and weights stay where they are.
    """

    order = 85  # once a checkpoint is put back; the seeding of an epoch comes after `before_fit`

    def before_fit(self) -> None:
        """Compute the features, unless the backbone is trained already."""
        self.features = None
        _run_whole(self.model)
        ahead = self.course.plan[self.course.done :]
        if ahead and ahead[0].phase.frozen:
            self._compute(self.course.loaders(ahead[0].size))

    def before_epoch(self) -> None:
        """Have the head alone run, on features in the order in which the images would come."""
        if not self.course.plan[self.course.done].phase.frozen:
            self.features = None  # their memory is wanted now
            return
        self.features.train.rng.setstate(self.dls.train.rng.getstate())
        self.learn.dls = self.features
        for module in constant_part(self.model):
            module.forward = noop

    def after_epoch(self) -> None:
        """Have the whole model run again."""
        _run_whole(self.model)

    def _compute(self, dls: DataLoaders) -> None:
        """Features of all images, and `seconds`: how long one pass over both parts took."""
        self.learn.dls = dls
        loaders, self.seconds = [], []
        for dl in (dls.train, dls.valid):
            began = time.perf_counter()
            loaders.append(_loader(dl, self._features(list(dl.dataset.items))))
            self.seconds.append(time.perf_counter() - began)
        self.features = DataLoaders(*loaders)

    @torch.no_grad()
    def _features(self, items: list) -> Tensor:
        """What the head's first layer with weights is given of every image: (n_images, ...)."""
        model, device = self.model.eval(), next(self.model.parameters()).device
        front, kept = nn.Sequential(*constant_part(model)), []
        with torch.autocast("cuda", torch.float16, enabled=device.type == "cuda"):
            for (images,) in self.dls.test_dl(items) if items else []:
                kept.append(front(images.to(device)).float())
        return torch.cat(kept) if kept else torch.empty(0)


def constant_part(model: nn.Sequential) -> list[nn.Module]:
    """The backbone, and the layers of the head before the first that has weights."""
    body, head = model
    return [body, *takewhile(lambda layer: not list(layer.parameters()), head)]


def _run_whole(model: nn.Sequential) -> None:
    for module in constant_part(model):
        vars(module).pop("forward", None)


def _loader(dl: TfmdDL, features: Tensor) -> TfmdDL:
    """`dl` with `features` in place of its images."""
    targets = torch.tensor([int(label) for label in dl.dataset.tls[1]], device=features.device)
    return TfmdDL(
        dl.dataset, bs=dl.bs, shuffle=dl.shuffle, drop_last=dl.drop_last, num_workers=0,
        device=features.device, create_item=noop, retain=lambda batch, _: batch,
        create_batch=lambda images: (features[images], targets[images]),
    )
