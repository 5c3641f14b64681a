"""The exported Learner: only classes of fastai, timm and torch, whatever trained it.

`load_learner` opens it without this project. Its `dls` are rebuilt from the recipe, and no
attribute is a path: a Linux path cannot be unpickled on Windows.
"""

import os
from dataclasses import replace
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from fastai.data.block import CategoryBlock, DataBlock, TransformBlock
from fastai.data.transforms import IndexSplitter, IntToFloatTensor, parent_label
from fastai.vision.all import DataLoaders, Learner, PILImage, Transform, error_rate
from PIL import Image
from torch import fx

from src.core import Variant
from src.training.callbacks.snapshots import SnapshotEnsemble
from src.vision import batch_tfms, item_tfms, workers

HERE = "."  # for dls.path, which is the Learner's: a string, `"." / Path` is the path


def save(learn: Learner, variant: Variant, path: Path) -> None:
    """Write the model of `learn` as `learn.export` does, without images and our classes.

    By `pickle`, which refuses functions of a notebook; fastai's cloudpickle would store their code.
    """
    dls, model = _empty_dls(variant, list(learn.dls.vocab), learn.dls.device), learn.model
    if isinstance(model, SnapshotEnsemble):
        model = _as_graph(model)
    kwargs = {"splitter": learn.splitter, "metrics": error_rate}
    torch.save(Learner(dls, model, learn.loss_func, learn.opt_func, **kwargs), path)


def _as_graph(ensemble: SnapshotEnsemble) -> fx.GraphModule:
    """`ensemble` without our class: a graph is pickled as the text of its code."""

    class Calls(fx.Tracer):  # local: it is not pickled
        def is_leaf_module(self, *_: Any) -> bool:
            """Trace no module's own code."""
            return True

    return fx.GraphModule(ensemble, Calls().trace(ensemble))


def _empty_dls(variant: Variant, classes: list[str], device: torch.device) -> DataLoaders:
    """Empty loaders with fastai's transforms for `variant`."""
    variant = replace(variant, augment="fastai", cache=0)
    create = Transform(PILImage.create)  # for the paths of any operating system
    create.input_types = tuple(os.PathLike if t is Path else t for t in create.input_types)
    block = DataBlock(
        blocks=(TransformBlock(create, batch_tfms=IntToFloatTensor), CategoryBlock(classes)),
        get_y=parent_label, splitter=IndexSplitter([]),
        item_tfms=item_tfms(variant), batch_tfms=batch_tfms(variant),
    )
    bs = variant.bs // variant.accum
    with TemporaryDirectory() as folder:  # fastai tries the transforms on one image of a class
        photo = Path(folder, classes[0], "photo.jpg")
        photo.parent.mkdir()
        Image.new("RGB", (8, 8)).save(photo)
        photos = [str(photo)]
        dls = block.dataloaders(photos, path=HERE, bs=bs, num_workers=workers(), device=device)
    dls = dls.new_empty()
    dls.path = HERE
    for tfm in chain(*(tl.tfms.fs for tl in dls.train_ds.tls)):
        _forget_annotations(tfm)
    return dls


def _forget_annotations(tfm: Transform) -> None:
    """Drop the cached types of `tfm`, one of which is Path; fastai reads them again when needed."""
    if function := vars(tfm).get("encodes"):
        function.clear_cache()
        for name in ("__annotations__", "__annotate__"):  # the latter since Python 3.14
            vars(function).pop(name, None)
