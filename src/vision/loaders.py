"""Photographs to DataLoaders: one split, one way of resizing, fastai's augmentation."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from fastai.vision.all import (
    CategoryBlock,
    DataBlock,
    DataLoaders,
    IndexSplitter,
    IntToFloatTensor,
    Normalize,
    PadMode,
    Pipeline,
    RandomResizedCropGPU,
    Resize,
    ResizeMethod,
    TransformBlock,
    aug_transforms,
)

from src import competition
from src.competition import read_corrections
from src.core import SHARED, UserError, Variant, cores, height_width, shared_memory, terminal
from src.vision import backbone, cache
from src.vision.augment import FastViews, NormalizeBytes
from src.vision.photograph import open_image
from src.vision.views import frame_of

METHODS = {
    "squish": ResizeMethod.Squish,
    "crop": ResizeMethod.Crop,
    "pad": ResizeMethod.Pad,
    "rect": ResizeMethod.Squish,
}


def item_tfms(variant: Variant) -> Resize:
    """The resize every photograph goes through first, to `item_size`, height × width."""
    size = height_width(variant.item_size)
    return Resize(size, method=METHODS[variant.resize], pad_mode=PadMode.Zeros)


def batch_tfms(variant: Variant) -> list:
    """Random crop, flip, turn, warp and light at `size`; the weights' own mean and deviation.

    Only the latter where `FastViews` has done the rest.
    """
    mean, std = backbone.stats(variant.arch)
    if variant.augment == "fast":
        return [NormalizeBytes.from_stats(mean, std)]
    height, width = height_width(variant.item_size)
    augment = aug_transforms(size=height_width(variant.size), min_scale=variant.min_scale)
    for tfm in augment:
        if isinstance(tfm, RandomResizedCropGPU):
            tfm.ratio = (width / height,) * 2  # fastai cuts squares, also out of a rectangle
    return [IntToFloatTensor(), *augment, Normalize.from_stats(mean, std)]


def label_of(path: Path, labels: Mapping[str, str]) -> str:
    """The label of a file; its name is the image_id."""
    return labels[path.name]


def workers() -> int:
    """Loader processes: one per core this process may really use, in a container too."""
    return min(cores(), 8)


def loaders(batch_bytes: int) -> int:
    """`workers()`, or as many as shared memory has room for, which is then told in a line."""
    wanted, free = workers(), shared_memory()
    # Each has up to two batches ready; the training holds another and is being handed one.
    fitting = max(0, (free // batch_bytes - 2) // 2)
    if fitting < wanted:
        needed = (2 * wanted + 2) * batch_bytes
        print(f"shared memory: {SHARED} has {free / 1e6:.0f} MB free, {wanted} loader processes "
              f"need {needed / 1e6:.0f} MB; loading with {fitting}, more slowly: lower bs, or give "
              "the container more (docker run --shm-size=1g)", file=terminal())
    return min(fitting, wanted)


def get_dls(folder: Path, folds: pd.Series, variant: Variant) -> DataLoaders:
    """Training and hold-out DataLoaders: fold `variant.fold` is held out; of `all` nothing is."""
    paths, corrections = competition.train_paths(folder), read_corrections(variant, folder)
    kept = (folds.loc[paths.index] == variant.fold) | ~paths.index.isin(corrections.exclude)
    paths = paths[kept]
    held_out = (folds.loc[paths.index] == variant.fold).to_numpy().nonzero()[0]
    if variant.bs > (training := len(paths) - len(held_out)):  # only full batches are trained on
        raise UserError(f"bs={variant.bs} is more than the {training} training images; lower it")
    if variant.cache:
        copies = cache.shrunk(paths, variant.cache, competition.train_fingerprint(folder))
        copies.iloc[held_out] = paths.iloc[held_out]
        paths = copies
    labels, relabel = competition.train_table(folder).label.to_dict(), corrections.relabel
    labels |= {name: relabel[name] for name in relabel.keys() - set(paths.index[held_out])}
    get_y = partial(label_of, labels=labels)
    block = _block(competition.classes(folder), get_y, held_out, variant)
    bs = variant.bs // variant.accum
    dls = block.dataloaders(
        list(paths), path=Path("."), bs=bs, num_workers=loaders(bs * _item_bytes(variant))
    )
    if variant.augment == "fast":  # its views are tensors already: `ToTensor` would take time alone
        for dl in dls:
            dl.after_item = Pipeline()
    return dls


def _block(
    classes: list[str], get_y: Callable[[Path], str], held_out: np.ndarray, variant: Variant
) -> DataBlock:
    """How a file becomes an image and its class, by fastai's transforms or by `FastViews`."""
    resize, fast = item_tfms(variant), variant.augment == "fast"
    image = FastViews(frame_of(variant), resize) if fast else open_image
    return DataBlock(
        blocks=(TransformBlock(type_tfms=image), CategoryBlock(vocab=classes)),
        get_y=get_y,
        splitter=IndexSplitter(held_out),
        item_tfms=None if fast else resize,
        batch_tfms=batch_tfms(variant),
    )


def _item_bytes(variant: Variant) -> int:
    """What a loader process hands over of an image: bytes, or floats of a plain view."""
    if variant.augment == "fast":
        return 3 * 4 * math.prod(height_width(variant.size))
    return 3 * math.prod(height_width(variant.item_size))
