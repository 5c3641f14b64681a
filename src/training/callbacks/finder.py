"""`lr: find`: fastai's search for a learning rate, before the training begins."""

import tempfile
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

from fastai.callback.mixup import MixHandler
from fastai.vision.all import GradientAccumulation, Learner

from src.core import UserError, Variant
from src.training.callbacks import recipe_cbs
from src.training.schedule import make_plan, seed_epoch

BATCHES = 100  # fastai's default; the rate grows from 1e-7 to 10
SHAPE_GRADIENTS = (GradientAccumulation, MixHandler)  # the other recipes go by epochs


def find_lr(learn: Learner, variant: Variant, loaders: Callable) -> dict[str, Any]:
    """The rates and losses of the search, as lists, and the rate in their `valley`.

    Trains what the first epoch will, at its size; afterwards the weights are as before.
    """
    first = make_plan(replace(variant, lr=1.0))[0]
    learn.dls = loaders(variant, first.size)
    seed_epoch(variant.seed, 0, learn.dls.train)
    learn.freeze() if first.phase.frozen else learn.unfreeze()
    cbs = [cb for cb in recipe_cbs(variant, 0) if isinstance(cb, SHAPE_GRADIENTS)]
    weights, folder = deepcopy(learn.model.state_dict()), learn.model_dir
    try:
        with tempfile.TemporaryDirectory() as learn.model_dir, learn.added_cbs(cbs), learn.no_bar():
            valley = learn.lr_find(num_it=BATCHES, show_plot=False).valley
    except IndexError as error:  # no finite loss is left
        raise UserError("lr=find found none: the loss is not finite; give lr a number") from error
    finally:  # fastai restores the weights, too, but not after an error
        learn.model.load_state_dict(weights)
        learn.opt, learn.model_dir = None, folder
    lrs = learn.recorder.lrs[BATCHES // 10 : -5]  # the part in which fastai looks for the valley
    losses = [float(loss) for loss in learn.recorder.losses[BATCHES // 10 : -5]]
    # fastai rounds to 32 bits: take the rate that was tried.
    return {"lrs": lrs, "losses": losses, "valley": min(lrs, key=lambda lr: abs(lr - valley))}
