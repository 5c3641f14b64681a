"""Photographs to DataLoaders: one split, one way of resizing, fastai's augmentation."""

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import pandas as pd
from fastai.vision.all import (
    CategoryBlock,
    DataBlock,
    DataLoaders,
    IndexSplitter,
    IntToFloatTensor,
    Normalize,
    PadMode,
    PILImage,
    RandomResizedCropGPU,
    Resize,
    ResizeMethod,
    TransformBlock,
    aug_transforms,
    parent_label,
)
from PIL import Image, ImageOps

from src import backbone, competition
from src.config import UserError
from src.labels import read_corrections
from src.variant import Variant, height_width

METHODS = {
    "squish": ResizeMethod.Squish,
    "crop": ResizeMethod.Crop,
    "pad": ResizeMethod.Pad,
    "rect": ResizeMethod.Squish,
}


def open_image(path: str | Path) -> PILImage:
    """One photograph, RGB and upright; bundles refer to this function by its name."""
    try:
        with Image.open(path) as image:
            return PILImage(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"cannot read {path}: {error}; replace the file") from error


def item_tfms(variant: Variant) -> Resize:
    """The resize every photograph goes through first, to `item_size`, height × width."""
    size = height_width(variant.item_size)
    return Resize(size, method=METHODS[variant.resize], pad_mode=PadMode.Zeros)


def batch_tfms(variant: Variant) -> list:
    """Random crop, flip, turn, warp and light at `size`; the weights' own mean and deviation."""
    mean, std = backbone.stats(variant.arch)
    height, width = height_width(variant.item_size)
    augment = aug_transforms(size=height_width(variant.size), min_scale=variant.min_scale)
    for tfm in augment:
        if isinstance(tfm, RandomResizedCropGPU):
            tfm.ratio = (width / height,) * 2  # fastai cuts squares, also out of a rectangle
    return [*augment, Normalize.from_stats(mean, std)]


def corrected_label(path: Path, labels: Mapping[str, str]) -> str:
    """The label `labels` give an image, else its folder; bundles refer to this by its name."""
    return labels.get(path.name) or parent_label(path)


def _labeller(relabel: Mapping[str, str], held_out: set[str]) -> Callable[[Path], str]:
    labels = {image: label for image, label in relabel.items() if image not in held_out}
    return partial(corrected_label, labels=labels) if labels else parent_label


def workers() -> int:
    """Loader processes: one per core this process may really use, in a container too."""
    return min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1, 8)


def get_dls(folder: Path, folds: pd.Series, variant: Variant) -> DataLoaders:
    """Training and hold-out DataLoaders: fold `variant.fold` is held out; of `all` nothing is."""
    paths, corrections = competition.train_paths(folder), read_corrections(variant, folder)
    kept = (folds.loc[paths.index] == variant.fold) | ~paths.index.isin(corrections.exclude)
    paths = paths[kept]
    held_out = (folds.loc[paths.index] == variant.fold).to_numpy().nonzero()[0]
    if variant.bs > (training := len(paths) - len(held_out)):  # only full batches are trained on
        raise UserError(f"bs={variant.bs} is more than the {training} training images; lower it")
    block = DataBlock(
        blocks=(
            TransformBlock(type_tfms=open_image, batch_tfms=IntToFloatTensor),
            CategoryBlock(vocab=competition.classes(folder)),
        ),
        get_y=_labeller(corrections.relabel, set(paths.index[held_out])),
        splitter=IndexSplitter(held_out),
        item_tfms=item_tfms(variant),
        batch_tfms=batch_tfms(variant),
    )
    return block.dataloaders(
        list(paths), path=Path("."), bs=variant.bs // variant.accum, num_workers=workers()
    )
