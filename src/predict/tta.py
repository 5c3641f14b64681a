"""Inference with TTA, of one or many models in one pass over the photographs.

Random views are seeded by image id, so that order, batch and interruption change nothing. Threads
take batches from files to probabilities: PIL, OpenCV and torch release Python's lock meanwhile.
"""

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from fastai.vision.all import Learner
from PIL.Image import Image
from torch import Tensor
from tqdm import tqdm

from src import vision
from src.core import Variant, atomic_path, terminal

Tables = dict[str, pd.DataFrame]  # by view: "plain" and, with TTA, "views", the mean of the views
BATCH = 16  # images; a killed run loses at most one batch per core
CHUNK = 8  # views per forward pass on a CPU: activations of more do not fit into its caches


class Model(NamedTuple):
    """A Learner to predict with, and its recipe."""

    learn: Learner
    variant: Variant

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(self.learn.model.parameters()).device


def predict(
    learners: Mapping[str, Learner], variants: Mapping[str, Variant], paths: Mapping[str, Path],
    unfinished: Path | None = None,
) -> dict[str, Tables]:
    """Tables of every learner, whose recipe is in `variants`, for `paths` (image_id → file).

    Finished batches are saved in the folder `unfinished`, and read there by the next run.
    """
    files = sorted(unfinished.glob("*.parquet")) if unfinished else []
    parts = [pd.read_parquet(file) for file in files]
    done = {image for part in parts for image in part.index.get_level_values("image_id")}
    todo = {image: path for image, path in paths.items() if image not in done}
    models = {name: Model(learn, variants[name]) for name, learn in learners.items()}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # every core has a batch of its own already
    try:
        parts += _predict_batches(models, todo, unfinished)
    finally:
        torch.set_num_threads(threads)
    return {name: _tables(parts, name, list(paths)) for name in learners}


def _predict_batches(
    models: Mapping[str, Model], paths: Mapping[str, Path], unfinished: Path | None
) -> Iterator[pd.DataFrame]:
    """The probabilities batch by batch, with a bar: images/s and the time left."""
    for model in models.values():
        model.learn.model.eval()
    images = list(paths)
    batches = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
    pool = _pool(os.getpid())
    parts = [pool.submit(_predict_batch, models, paths, unfinished, batch) for batch in batches]
    try:
        with tqdm(total=len(images), unit=" images", desc="predict", file=terminal()) as bar:
            for batch, part in zip(batches, parts, strict=True):
                yield part.result()
                bar.update(len(batch))
    finally:  # after Ctrl-C running batches are finished and saved
        for part in parts:
            part.cancel()
        wait(parts)


@cache
def _pool(process: int) -> ThreadPoolExecutor:
    """The threads of all predictions of a process; they never end.

    A loader process that is forked while a thread ends inherits MKL's lock as that thread held it,
    and waits for ever in its first matrix product.
    """
    return ThreadPoolExecutor(vision.workers())


@torch.inference_mode()
def _predict_batch(
    models: Mapping[str, Model], paths: Mapping[str, Path], unfinished: Path | None,
    images: list[str],
) -> pd.DataFrame:
    """Probabilities of one batch: rows (model, view, image_id), a column per class."""
    photos = {image: vision.open_image(paths[image]) for image in images}
    items, batches, tables = {}, {}, {}
    for name, model in models.items():
        variant, frame = model.variant, vision.frame_of(model.variant)
        resize = variant.resize, variant.item_size
        if resize not in items:
            tfm = vision.item_tfms(variant)
            items[resize] = [tfm(photo, split_idx=1) for photo in photos.values()]
        key = frame, variant.tta, variant.views, variant.seed, model.device
        if key not in batches:
            plain = torch.stack([vision.plain_view(item, frame) for item in items[resize]])
            batches[key] = plain, tta_views(photos, model)
        for view, probs in _probs(model, *batches[key]).items():
            tables[name, view] = pd.DataFrame(probs.numpy(), images, list(model.learn.dls.vocab))
    part = pd.concat(tables, names=["model", "view", "image_id"])
    if unfinished:
        with atomic_path(unfinished / f"{images[0]}.parquet") as temporary:
            part.to_parquet(temporary)
    return part


def tta_views(photos: Mapping[str, Image], model: Model) -> Tensor | None:
    """The views beside the plain one: (n_images, n_views, 3, height, width), uint8; or None.

    Cut on the model's device: a GPU receives the shrunk photographs instead of their views.
    """
    variant, frame = model.variant, vision.frame_of(model.variant)
    if variant.tta == "none":
        return None
    batch = []
    for image, photo in photos.items():
        if variant.tta == "random":
            rngs = [vision.view_rng(variant.seed, image, number) for number in range(variant.views)]
            views = [vision.sample_view(rng, frame) for rng in rngs]
        else:
            views = vision.fixed_views(variant.tta, frame)
        batch.append(vision.cut(vision.shrink(photo, frame), views, frame, model.device))
    return torch.stack(batch)


def _probs(model: Model, plain: Tensor, views: Tensor | None) -> dict[str, Tensor]:
    """Probabilities (n_images, n_classes) by view, of `plain` and the mean of `views`.

    `plain` are (n_images, 3, height, width), 0 to 1. On CUDA views are in half precision.
    """
    probs = {"plain": forward(model, plain)}
    if views is not None:
        with torch.autocast("cuda", torch.float16, enabled=views.is_cuda):
            every = forward(model, views.flatten(0, 1).float().div_(255))
        probs["views"] = every.unflatten(0, views.shape[:2]).mean(1)
    return probs


def forward(model: Model, images: Tensor) -> Tensor:
    """The probabilities of `images` (n_images, 3, height, width), 0 to 1, on the CPU."""
    mean, std = (torch.tensor(s, device=model.device)[:, None, None]
                 for s in vision.stats(model.variant.arch))
    images = (images.to(model.device) - mean) / std
    images = images.contiguous(memory_format=torch.channels_last)
    chunks = images.split(CHUNK if model.device.type == "cpu" else len(images))
    logits = torch.cat([model.learn.model(chunk) for chunk in chunks])
    return model.learn.loss_func.activation(logits.float()).cpu()


def _tables(parts: list[pd.DataFrame], name: str, images: list[str]) -> Tables:
    """The tables of one model, in the order of `images`."""
    table = pd.concat([part.loc[name] for part in parts])
    return {view: table.loc[view].loc[images] for view in table.index.unique("view")}
