"""Reload parity: the exported file, reloaded, must predict what the trained model predicts.

Both are computed in full precision: cuDNN convolves in TF32 by default, with 10 bits of mantissa,
and its results differ between batch shapes by more than `PARITY`.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pandas as pd
from fastai.vision.all import Learner
from torch import backends

from src import bundle
from src.core import UserError, Variant
from src.evidence import join
from src.predict import predict

PARITY = 1e-4  # largest difference allowed, in probability
SAMPLE = 64  # training images to compare on when nothing was held out


@contextmanager
def full_precision() -> Iterator[None]:
    """No TF32 in convolutions and matrix products; the settings are restored afterwards.

    From the general to the particular: a level that is not set follows the level above.
    """
    levels = (
        backends, backends.cudnn, backends.cudnn.conv, backends.cudnn.rnn, backends.cuda.matmul,
    )
    with ExitStack() as undo:
        for level in levels:
            if level.fp32_precision != "ieee":
                undo.callback(setattr, level, "fp32_precision", level.fp32_precision)
                level.fp32_precision = "ieee"
        yield


def plain_probs(learn: Learner, paths: Mapping[str, Path]) -> pd.DataFrame:
    """fastai's predictions for `paths` (image_id → file), without augmentation."""
    with full_precision():
        probs, _ = learn.get_preds(dl=learn.dls.test_dl(list(paths.values())))
    images = pd.Index(list(paths), name="image_id")
    return pd.DataFrame(probs.numpy(), images, list(learn.dls.vocab))


def holdout_files(learn: Learner) -> dict[str, Path]:
    """image_id → file of the hold-out of `learn`; empty if nothing was held out."""
    return {path.name: path for path in learn.dls.valid.dataset.items}


def sample_files(learn: Learner) -> dict[str, Path]:
    """image_id → file of the first training images."""
    items = sorted(learn.dls.train.dataset.items, key=lambda path: path.name)
    return {path.name: path for path in items[:SAMPLE]}


def check_parity(
    pkl: Path, variant: Variant, plain: pd.DataFrame, paths: Mapping[str, Path]
) -> None:
    """Compare `plain` with the predictions of the reloaded file, by the code for the test set.

    Raises UserError when a probability differs by more than `PARITY`.
    """
    reloaded = bundle.load_pkl(pkl)
    name, alone = variant.name, replace(variant, tta="none")
    with full_precision():
        again = predict({name: reloaded}, {name: alone}, paths)[name]["plain"]
    stored, again = join([plain, again])
    difference = float((stored - again).abs().to_numpy().max())
    if not difference <= PARITY:
        raise UserError(
            f"the exported model is not the trained one: reloaded, its probabilities "
            f"differ by up to {difference:.1e} (allowed {PARITY:.0e}); nothing was written"
        )
