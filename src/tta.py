"""TTA for one or many models in one pass over the photographs.

Each file is read and decoded once and resized once in each way the models ask for. The plain view
is made by fastai's own transforms; the others are cut by `views`, seeded by image, so that neither
order, batch nor an interruption changes them. Workers cut, the main process runs the models.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from fastai.vision.all import IntToFloatTensor, Learner, Normalize, Pipeline, TensorImage
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from src.backbone import stats
from src.config import UserError, terminal
from src.data import batch_tfms, item_tfms, open_image, workers
from src.variant import Variant, height_width
from src.views import Frame, View, cut, fixed_views, light, sample_view, shrink, view_rng

Tables = dict[str, pd.DataFrame]  # by view: "plain" and, with TTA, "views", the views' mean
BATCH = 32  # images; what a killed run loses


class Look(NamedTuple):
    """What a model sees of every photograph; models that see the same share it."""

    frame: Frame
    tta: str
    views: int
    seed: int


def look_of(variant: Variant) -> Look:
    """How the model of `variant` looks at photographs."""
    item_size, size = height_width(variant.item_size), height_width(variant.size)
    frame = Frame(item_size, variant.resize, size, variant.min_scale)
    return Look(frame, variant.tta, variant.views, variant.seed)


def views_of(look: Look, image_id: str) -> list[View]:
    """The views of one image beside the plain one; none when TTA is off."""
    if look.tta == "none":
        return []
    if look.tta != "random":
        return fixed_views(look.tta, look.frame)
    rngs = (view_rng(look.seed, image_id, number) for number in range(look.views))
    return [sample_view(rng, look.frame) for rng in rngs]


class Looks(Dataset):
    """For every image one entry per look: its plain view and its other views, 0 to 1."""

    def __init__(self, paths: Mapping[str, Path], variants: Mapping[Look, Variant]) -> None:
        self.items, self.variants = list(paths.items()), variants
        self.resize = {look: item_tfms(variant) for look, variant in variants.items()}
        self.plain = {look: plain_tfms(variant) for look, variant in variants.items()}

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, number: int) -> list[tuple[Tensor, Tensor]]:
        image_id, path = self.items[number]
        image, resized, seen = open_image(path), {}, []
        for look, plain in self.plain.items():
            key = look.frame[:2]  # item_size and resize: one resize serves all looks of that kind
            if key not in resized:
                pixels = np.array(self.resize[look](image, split_idx=1))
                resized[key] = TensorImage(torch.from_numpy(pixels).permute(2, 0, 1)[None])
            seen.append((Tensor(plain((resized[key],))[0][0]), augmented(image, look, image_id)))
        return seen


def plain_tfms(variant: Variant) -> Pipeline:
    """fastai's own batch transforms of the plain view, but for the normalisation."""
    tfms = [tfm for tfm in batch_tfms(variant) if not isinstance(tfm, Normalize)]
    return Pipeline([IntToFloatTensor(), *tfms], split_idx=1)


def augmented(image: Any, look: Look, image_id: str) -> Tensor:
    """The views of one image beside the plain one: uint8, views × 3 × height × width."""
    views = views_of(look, image_id)
    if not views:
        return torch.empty(0, 3, *look.frame.size, dtype=torch.uint8)
    return light(cut(shrink(image, look.frame), views, look.frame), views)


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
    for batch in batches(todo, variants):
        answers = {
            (name, view): table
            for name, learn in learners.items()
            for view, table in ask(learn, variants[name], batch).items()
        }
        parts.append(pd.concat(answers, names=["model", "view"]))
        keep_part(keep, parts[-1])
    return {name: _tables(parts, name, list(paths)) for name in learners}


class Batch(NamedTuple):
    """Some images and, per look, their plain views and their other views."""

    images: list[str]
    seen: dict[Look, tuple[Tensor, Tensor]]


def batches(paths: Mapping[str, Path], variants: Mapping[str, Variant]) -> Iterator[Batch]:
    """The images in batches, every one decoded once, with a bar: images/s and the time left."""
    looks = {look_of(variant): variant for variant in variants.values()}
    images = list(paths)
    loader = DataLoader(Looks(paths, looks), BATCH, num_workers=workers())
    with tqdm(total=len(images), unit=" images", desc="predict", file=terminal()) as bar:
        for number, seen in enumerate(_readable(loader)):
            names = images[number * BATCH : (number + 1) * BATCH]
            yield Batch(names, dict(zip(looks, seen, strict=True)))
            bar.update(len(names))


def _readable(loader: DataLoader) -> Iterator[list]:
    """The batches; an unreadable image is told in one line, without the worker's traceback."""
    try:
        yield from loader
    except UserError as error:
        raise UserError(str(error).strip().splitlines()[-1].partition("UserError: ")[2]) from error


@torch.inference_mode()
def ask(learn: Learner, variant: Variant, batch: Batch) -> Tables:
    """Probabilities of one batch by view: of the plain one, and the mean of the others."""
    plain, views = batch.seen[look_of(variant)]
    answers = {"plain": _forward(learn, variant, plain)}
    if number := views.shape[1]:
        every = _forward(learn, variant, views.flatten(0, 1).float().div_(255))
        answers["views"] = every.unflatten(0, (-1, number)).mean(1)
    index, vocab = pd.Index(batch.images, name="image_id"), list(learn.dls.vocab)
    return {view: pd.DataFrame(p.numpy(), index, vocab) for view, p in answers.items()}


def _forward(learn: Learner, variant: Variant, images: Tensor) -> Tensor:
    """The model's probabilities (n_images, n_classes) for images between 0 and 1."""
    learn.model.eval()
    device = next(learn.model.parameters()).device
    mean, std = (torch.tensor(s, device=device)[:, None, None] for s in stats(variant.arch))
    logits = learn.model((images.to(device) - mean) / std)
    return learn.loss_func.activation(logits).float().cpu()


def keep_part(keep: Path | None, part: pd.DataFrame) -> None:
    """Put the answers to one batch where a rerun finds them."""
    if keep:
        keep.mkdir(parents=True, exist_ok=True)
        number = sum(1 for _ in keep.glob("*.parquet"))
        part.to_parquet(keep / "part.tmp")
        os.replace(keep / "part.tmp", keep / f"{number:05}.parquet")


def read_parts(keep: Path | None) -> list[pd.DataFrame]:
    """What an interrupted run has answered already."""
    return [pd.read_parquet(path) for path in sorted(keep.glob("*.parquet"))] if keep else []


def _tables(parts: list[pd.DataFrame], name: str, images: list[str]) -> Tables:
    """One model's answers, put together in the order of `images`."""
    answers = pd.concat([part.loc[name] for part in parts])
    return {view: answers.loc[view].loc[images] for view in answers.index.unique("view")}
