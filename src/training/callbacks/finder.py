"""`lr: find`: fastai's search for a learning rate, before a training begins."""

import math
import tempfile
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from itertools import takewhile

from fastai.callback.mixup import MixHandler
from fastai.callback.schedule import valley
from fastai.vision.all import GradientAccumulation, Learner, set_seed

from src.core import FIND, UserError, Variant, split_sizes, terminal
from src.training.callbacks.recipes import recipe_cbs

BATCHES = 100  # of the search, as in fastai; the rate grows from 1e-7 to 10
SHAPE_GRADIENTS = (GradientAccumulation, MixHandler)  # other recipes follow epochs; this is none


def settled(learn: Learner, variant: Variant, loaders: Callable) -> Variant:
    """`variant` with a number for a learning rate: where it says `find`, the one that was found.

    The search trains what the first epoch will, at its size; afterwards `learn` is as it was.
    """
    if variant.lr != FIND:
        return variant
    learn.dls = loaders(variant, (split_sizes(variant.sizes) or [variant.size])[0])
    weights, place = deepcopy(learn.model.state_dict()), learn.model_dir
    try:
        learn.search = _search(learn, variant)
    finally:  # fastai puts the weights back, too, but not after a batch too large
        learn.model.load_state_dict(weights)
        learn.opt, learn.model_dir = None, place
    print(f"{variant.name}: lr={learn.search['valley']:.2g} was found", file=terminal())
    return replace(variant, lr=learn.search["valley"])


def _search(learn: Learner, variant: Variant) -> dict:
    """The loss while the rate grows, and the valley in it."""
    set_seed(variant.seed, reproducible=True)
    learn.dls.train.rng.seed(variant.seed)
    learn.freeze() if variant.pretrained and variant.freeze_epochs else learn.unfreeze()
    cbs = [cb for cb in recipe_cbs(variant, 0) if isinstance(cb, SHAPE_GRADIENTS)]
    with tempfile.TemporaryDirectory() as learn.model_dir, learn.added_cbs(cbs), learn.no_bar():
        learn.lr_find(num_it=BATCHES, suggest_funcs=None, show_plot=False)
    return curve(learn.recorder.lrs, [float(loss) for loss in learn.recorder.losses])


def curve(lrs: list[float], losses: list[float]) -> dict:
    """The rates and losses of a search, without its ends as in fastai, and their `valley`."""
    finite = list(takewhile(math.isfinite, losses))
    inner = slice(BATCHES // 10, min(len(finite), len(losses) - 5))
    lrs, losses = lrs[inner], losses[inner]
    if len(losses) < 2:
        raise UserError("lr=find found none, the loss was infinite at once; give lr a number")
    return {"lrs": lrs, "losses": losses, "valley": valley(lrs, losses, BATCHES)[0]}
