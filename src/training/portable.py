"""The exported Learner: only classes of fastai, timm and torch, whatever trained it.

`load_learner` opens it without this project. Its `dls` are rebuilt from the recipe, and no
attribute is a path: a Linux path cannot be unpickled on Windows.
"""

import math
import operator
import os
from dataclasses import replace
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from fastai.vision.all import (
    CategoryBlock,
    DataBlock,
    DataLoaders,
    IndexSplitter,
    IntToFloatTensor,
    Learner,
    PILImage,
    Transform,
    TransformBlock,
    error_rate,
    parent_label,
)
from PIL import Image
from torch import fx

from src.core import Variant
from src.training.callbacks.snapshots import Members
from src.vision import batch_tfms, item_tfms, workers

HERE = "."  # for Learner.path and dls.path: a string, `"." / Path` is the path


def save(learn: Learner, variant: Variant, path: Path) -> None:
    """Write the model of `learn` as `learn.export` does; `learn` itself is not changed.

    By `pickle`, which refuses functions of a notebook; fastai's cloudpickle would store their code.
    """
    torch.save(portable(learn, variant), path)


def portable(learn: Learner, variant: Variant) -> Learner:
    """A Learner around the model of `learn`, without images and without our classes."""
    dls = empty_dls(variant, list(learn.dls.vocab), learn.dls.device)
    model = as_graph(learn.model) if isinstance(learn.model, Members) else learn.model
    plain = Learner(
        dls, model, learn.loss_func, learn.opt_func, splitter=learn.splitter, metrics=error_rate
    )
    plain.path = HERE
    return plain


def empty_dls(variant: Variant, classes: list[str], device: torch.device) -> DataLoaders:
    """Empty loaders with fastai's transforms for `variant`."""
    variant = replace(variant, augment="fastai", cache=0)
    block = DataBlock(
        blocks=(TransformBlock(_opener(), batch_tfms=IntToFloatTensor), CategoryBlock(classes)),
        get_y=parent_label,
        splitter=IndexSplitter([]),
        item_tfms=item_tfms(variant),
        batch_tfms=batch_tfms(variant),
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


def _opener() -> Transform:
    """fastai's `PILImage.create`, for the paths of any operating system."""
    create = Transform(PILImage.create)
    create.input_types = tuple(os.PathLike if t is Path else t for t in create.input_types)
    return create


def _forget_annotations(tfm: Transform) -> None:
    """Drop the cached types of `tfm`, one of which is Path; fastai reads them again when needed."""
    if function := vars(tfm).get("encodes"):
        function.clear_cache()
        for name in ("__annotations__", "__annotate__"):  # the latter since Python 3.14
            vars(function).pop(name, None)


def as_graph(members: Members) -> fx.GraphModule:
    """`members` without our class: a graph is pickled as the text of its code."""
    graph, count = fx.Graph(), len(members.models)
    images = graph.placeholder("images")
    logits = [graph.call_module(f"models.{number}", (images,)) for number in range(count)]
    logs = [graph.call_method("log_softmax", (each, 1)) for each in logits]
    total = graph.call_method("logsumexp", (graph.call_function(torch.stack, (logs,)), 0))
    graph.output(graph.call_function(operator.sub, (total, math.log(count))))
    return fx.GraphModule(members, graph)
