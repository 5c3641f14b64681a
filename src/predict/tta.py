"""TTA for one or many models in one pass over the photographs.

Each file is read and decoded once and resized once in each way the models ask for. `plain` makes
the view that fastai's own transforms make; the others are cut by `views`, seeded by image: neither
order, batch nor an interruption changes them. Every core takes a batch of its own from the files to
the probabilities; PIL, OpenCV and torch do not hold Python's lock while they work.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from fastai.vision.all import Learner
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from src.core import Variant, atomic_path, height_width, terminal
from src.predict.forward import Forward, forward_of
from src.vision import (
    Frame,
    View,
    cut,
    fixed_views,
    frame_of,
    item_tfms,
    open_image,
    plain_view,
    sample_view,
    shrink,
    stats,
    view_rng,
    workers,
)
from src.vision import views_cuda as cuda_views

Tables = dict[str, pd.DataFrame]  # by view: "plain" and, with TTA, "views", the views' mean
BATCH = 16  # images; what a core loses when it is killed
WORTH_FUSING = 200  # images; fewer are answered before a graph is compiled


class Look(NamedTuple):
    """What a model sees of every photograph; models that see the same share it."""

    frame: Frame
    tta: str
    views: int
    seed: int


class Asked(NamedTuple):
    """A model that is asked: its Learner, its recipe and its fastest forward pass."""

    learn: Learner
    variant: Variant
    forward: Forward


def look_of(variant: Variant) -> Look:
    """How the model of `variant` looks at photographs."""
    return Look(frame_of(variant), variant.tta, variant.views, variant.seed)


def views_of(look: Look, image_id: str) -> list[View]:
    """The views of one image beside the plain one; none when TTA is off."""
    if look.tta == "none":
        return []
    if look.tta != "random":
        return fixed_views(look.tta, look.frame)
    rngs = (view_rng(look.seed, image_id, number) for number in range(look.views))
    return [sample_view(rng, look.frame) for rng in rngs]


def predict(
    learners: Mapping[str, Learner],
    variants: Mapping[str, Variant],
    paths: Mapping[str, Path],
    keep: Path | None = None,
) -> dict[str, Tables]:
    """Tables of every learner, whose recipe is in `variants`, for `paths` (image_id → file).

    Finished batches are kept in the folder `keep`: a killed run goes on where it was.
    """
    parts = read_parts(keep)
    done = {image for part in parts for image in part.index.get_level_values("image_id")}
    todo = {image: path for image, path in paths.items() if image not in done}
    with _one_thread_each():
        asked = {name: _ask(learn, variants[name], len(todo)) for name, learn in learners.items()}
        parts += _answers(asked, todo, keep)
    return {name: _tables(parts, name, list(paths)) for name in learners}


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """With a batch on every core, threads inside an operation would only be in the way."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _ask(learn: Learner, variant: Variant, images: int) -> Asked:
    fused = images >= WORTH_FUSING
    return Asked(learn, variant, forward_of(learn, height_width(variant.size), fused))


def _answers(
    asked: Mapping[str, Asked], paths: Mapping[str, Path], keep: Path | None
) -> Iterator[pd.DataFrame]:
    """The answers batch by batch, with a bar: images/s and the time left."""
    images = list(paths)
    batches = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
    pool = ThreadPoolExecutor(workers())
    parts = pool.map(partial(_answer, asked, paths, keep), batches)
    try:
        with tqdm(total=len(images), unit=" images", desc="predict", file=terminal()) as bar:
            for batch, part in zip(batches, parts, strict=True):
                bar.update(len(batch))
                yield part
    finally:  # after Ctrl-C what is under way is finished and kept
        pool.shutdown(cancel_futures=True)


@torch.inference_mode()
def _answer(
    asked: Mapping[str, Asked], paths: Mapping[str, Path], keep: Path | None, images: list[str]
) -> pd.DataFrame:
    """What every model says of one batch: rows (model, view, image_id), a column per class."""
    photos = {image: open_image(paths[image]) for image in images}
    items, seen, tables = {}, {}, {}
    for name, model in asked.items():
        look = look_of(model.variant)
        if (way := look.frame[:2]) not in items:
            resize = item_tfms(model.variant)
            items[way] = [resize(photo, split_idx=1) for photo in photos.values()]
        if look not in seen:
            device = next(model.learn.model.parameters()).device
            seen[look] = plain_views(items[way], look), other_views(photos, look, device)
        for view, probs in _probs(model, *seen[look]).items():
            tables[name, view] = pd.DataFrame(probs, images, list(model.learn.dls.vocab))
    part = pd.concat(tables, names=["model", "view", "image_id"])
    keep_part(keep, part)
    return part


def plain_views(items: list[Image.Image], look: Look) -> Tensor:
    """The plain views of resized photographs: (n_images, 3, height, width), 0 to 1."""
    return torch.stack([plain_view(item, look.frame) for item in items])


def other_views(photos: Mapping[str, Image.Image], look: Look, device: torch.device) -> Tensor:
    """The views beside the plain ones: (n_images, n_views, 3, height, width), uint8.

    Cut on the model's device, so that a GPU gets the shrunk photograph instead of its views.
    """
    cuts = [torch.empty(0, 0, 3, *look.frame.size, dtype=torch.uint8)]
    for image, photo in photos.items():
        if views := views_of(look, image):
            cuts.append(_cut_on(shrink(photo, look.frame), views, look.frame, device)[None])
    return torch.cat(cuts[1:] or cuts)


def _cut_on(photo: np.ndarray, views: list[View], frame: Frame, device: torch.device) -> Tensor:
    if device.type == "cpu":
        return torch.from_numpy(cut(photo, views, frame)).permute(0, 3, 1, 2)
    return cuda_views.cut(photo, views, frame, device)


def _probs(model: Asked, plain: Tensor, views: Tensor) -> dict[str, np.ndarray]:
    """The model's probabilities (n_images, n_classes) by view; half precision for views on CUDA."""
    answers = {"plain": _forward(model, plain)}
    if views.numel():
        with torch.autocast("cuda", torch.float16, enabled=views.is_cuda):
            every = _forward(model, views.flatten(0, 1).float().div_(255))
        answers["views"] = every.unflatten(0, views.shape[:2]).mean(1)
    return {view: probs.numpy() for view, probs in answers.items()}


def _forward(model: Asked, images: Tensor) -> Tensor:
    device = next(model.learn.model.parameters()).device
    mean, std = (torch.tensor(s, device=device)[:, None, None] for s in stats(model.variant.arch))
    logits = model.forward((images.to(device) - mean) / std)
    return model.learn.loss_func.activation(logits.float()).cpu()


def keep_part(keep: Path | None, part: pd.DataFrame) -> None:
    """Put the answers to one batch where a rerun finds them, named by its first image."""
    if keep:
        with atomic_path(keep / f"{part.index[0][-1]}.parquet") as temporary:
            part.to_parquet(temporary)


def read_parts(keep: Path | None) -> list[pd.DataFrame]:
    """What an interrupted run has answered already."""
    return [pd.read_parquet(path) for path in sorted(keep.glob("*.parquet"))] if keep else []


def _tables(parts: list[pd.DataFrame], name: str, images: list[str]) -> Tables:
    """One model's answers, put together in the order of `images`."""
    answers = pd.concat([part.loc[name] for part in parts])
    return {view: answers.loc[view].loc[images] for view in answers.index.unique("view")}
