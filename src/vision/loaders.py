"""Photographs to DataLoaders: the saved split, one resize method, augmentation."""

import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from fastai.vision import all as fastai
from fastai.vision.all import DataBlock, DataLoaders, Resize

from src import competition
from src.competition import read_corrections
from src.core import SHARED, UserError, Variant, cores, height_width, shared_memory, terminal
from src.vision import backbone
from src.vision.augment import FastViews, NormalizeBytes
from src.vision.photograph import open_image, shrunk_copies
from src.vision.views import frame_of


def item_tfms(variant: Variant) -> Resize:
    """The resize to `item_size`, height × width, the first transform of every photograph."""
    method = "squish" if variant.resize == "rect" else variant.resize
    return Resize(height_width(variant.item_size), method=method, pad_mode="zeros")


def batch_tfms(variant: Variant) -> list:
    """aug_transforms at `size`, then the mean and deviation of the weights.

    With `augment: fast` only the latter: `FastViews` has done the rest.
    """
    mean, std = backbone.stats(variant.arch)
    if variant.augment == "fast":
        return [NormalizeBytes.from_stats(mean, std)]
    height, width = height_width(variant.item_size)
    tfms = fastai.aug_transforms(size=height_width(variant.size), min_scale=variant.min_scale,
                                 flip_vert=variant.flip_vert)
    for tfm in tfms:
        if isinstance(tfm, fastai.RandomResizedCropGPU):
            tfm.ratio = (width / height,) * 2  # fastai's crops are squares, of a rectangle too
    return [fastai.IntToFloatTensor(), *tfms, fastai.Normalize.from_stats(mean, std)]


def label_of(path: Path, labels: Mapping[str, str]) -> str:
    """The label of a file; its name is the image_id."""
    return labels[path.name]


def workers() -> int:
    """How many loader processes: one per core of this process, at most 8."""
    return min(cores(), 8)


def loaders(batch_bytes: int) -> int:
    """`workers()`, or as many as fit into shared memory; a message says if these are fewer."""
    wanted, free = workers(), shared_memory()
    # Each has up to two batches ready; the training holds one and receives another.
    fitting = max(0, (free // batch_bytes - 2) // 2)
    if fitting < wanted:
        needed = (2 * wanted + 2) * batch_bytes
        print(f"shared memory: {SHARED} has {free / 1e6:.0f} MB free, {wanted} loader processes "
              f"need {needed / 1e6:.0f} MB; loading with {fitting}, slower: lower bs, or enlarge "
              "the container's (docker run --shm-size=1g)", file=terminal())
    return min(fitting, wanted)


def get_dls(folder: Path, folds: pd.Series, variant: Variant) -> DataLoaders:
    """Training and hold-out DataLoaders: fold `variant.fold` is held out; with `all`, nothing."""
    paths, corrections = competition.train_paths(folder), read_corrections(variant, folder)
    in_fold = folds.loc[paths.index] == variant.fold
    paths = paths[in_fold | ~paths.index.isin(corrections.exclude)]
    held_out = in_fold[paths.index].to_numpy().nonzero()[0]
    if variant.bs > (training := len(paths) - len(held_out)):  # fastai drops a batch not full
        raise UserError(f"bs={variant.bs} is more than the {training} training images; lower it")
    if variant.cache:
        copies = shrunk_copies(paths, variant.cache, competition.train_fingerprint(folder))
        copies.iloc[held_out] = paths.iloc[held_out]
        paths = copies
    labels, relabel = competition.train_table(folder).label.to_dict(), corrections.relabel
    labels |= {name: relabel[name] for name in relabel.keys() - set(paths.index[held_out])}
    block = _block(competition.classes(folder), labels, held_out, variant)
    bs = variant.bs // variant.accum
    processes = loaders(bs * _item_bytes(variant))
    dls = block.dataloaders(list(paths), path=Path("."), bs=bs, num_workers=processes)
    if variant.augment == "fast":  # its views are tensors already: `ToTensor` would only cost time
        for dl in dls:
            dl.after_item = fastai.Pipeline()
    return dls


def _block(
    classes: list[str], labels: Mapping[str, str], held_out: np.ndarray, variant: Variant
) -> DataBlock:
    """fastai's DataBlock: files to images, by its transforms or by `FastViews`, and classes."""
    resize, fast = item_tfms(variant), variant.augment == "fast"
    image = FastViews(frame_of(variant), resize) if fast else open_image
    return DataBlock(
        blocks=(fastai.TransformBlock(type_tfms=image), fastai.CategoryBlock(vocab=classes)),
        get_y=partial(label_of, labels=labels),
        splitter=fastai.IndexSplitter(held_out),
        item_tfms=None if fast else resize,
        batch_tfms=batch_tfms(variant),
    )


def _item_bytes(variant: Variant) -> int:
    """Bytes of an image in a loader's batch: floats of a plain view, or uint8 of an item image."""
    if variant.augment == "fast":
        return 3 * 4 * math.prod(height_width(variant.size))
    return 3 * math.prod(height_width(variant.item_size))
