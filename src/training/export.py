"""A fitted Learner becomes a bundle: exported, reloaded, and proven to predict the same.

Both sides of the proof are computed in full precision: cuDNN convolves in TF32 by default, with 10
bits of mantissa, and its results differ between batch shapes by more than `PARITY`.
"""

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import torch
from fastai.vision.all import ClassificationInterpretation, Learner
from torch import backends

from src import bundle, competition, core, evidence
from src.core import UserError, Variant, atomic_path, commit, sha256, torch_writes
from src.predict import Tables, predict
from src.training import portable
from src.training.run import Run
from src.vision import backbone

Files = dict[str, Path]  # by image_id
PARITY = 1e-4  # largest difference allowed, in probability
SAMPLE = 64  # training images to compare on when nothing was held out


def holdout_probs(learn: Learner, variant: Variant) -> Tables:
    """Hold-out probabilities: `plain` by fastai, `views` as for the test set; {} with fold=all."""
    paths = holdout_files(learn)
    if not paths:
        return {}
    tables = predict({variant.name: learn}, {variant.name: variant}, paths)[variant.name]
    return tables | {"plain": plain_probs(learn, paths)}


def holdout_table(tables: Tables, folder: Path, beta: float) -> pd.DataFrame | None:
    """The hold-out error in images, plain and with TTA."""
    if not tables:
        print(f"fold=all: every image was trained on; {evidence.error_phrase(0, 0)}")
        return None
    labels = competition.train_table(folder).label
    rows = {"plain": tables["plain"], "with TTA": evidence.blend(tables, beta)}
    errors = {way: evidence.error_cell(*evidence.wrong_of(probs, labels))
              for way, probs in rows.items()}
    return pd.DataFrame({f"hold-out error ({evidence.INTERVAL})": errors})


def plot_mistakes(learn: Learner) -> None:
    """The confusion matrix of the hold-out and the photographs with the largest losses."""
    if not len(learn.dls.valid_ds):
        print("fold=all: nothing was held out, so its mistakes are unknown")
        return
    interp = ClassificationInterpretation.from_learner(learn)
    interp.plot_confusion_matrix(figsize=(7, 7))
    with plt.rc_context({"axes.titlesize": 9}):  # two long labels stand above each photograph
        interp.plot_top_losses(min(6, len(learn.dls.valid_ds)), nrows=2, figsize=(13, 9))


def export(learn: Learner, variant: Variant, tables: Tables, run: Run) -> Path:
    """Write the bundle of `variant`; the reloaded model must predict the hold-out's `tables` again.

    Without them some training images are compared, and no .valid.parquet is written.
    Raises UserError, and leaves the files that were there, when the reloaded model differs.
    """
    paths = holdout_files(learn) if tables else sample_files(learn)
    plain = tables["plain"] if tables else plain_probs(learn, paths)
    card = bundle.make_card(learn, variant, _facts(learn, variant, tables, run))
    pkl = bundle.pkl_path(run.models, variant.name)
    with atomic_path(pkl) as temporary:
        with torch_writes():
            portable.save(learn, variant, temporary)
        _check_parity(temporary, variant, plain, paths)
    card["sha256"] = sha256(pkl)
    if tables:
        path = bundle.probs_path(run.models, variant.name, "valid")
        meta = bundle.expected_meta(card, "valid")
        evidence.write_probs(path, tables["plain"], tables.get("views"), meta)
    bundle.write_card(run.models, card)
    if learn.history.report:
        learn.history.report({k: v for k, v in card["holdout"].items() if v is not None})
    outcome = learn.history.outcome
    if outcome["epochs"] == outcome["planned"]:  # else more time can continue it
        bundle.checkpoint_path(run.models, variant.name).unlink(missing_ok=True)
    return pkl


def _facts(learn: Learner, variant: Variant, tables: Tables, run: Run) -> dict[str, Any]:
    """What the card says of this training."""
    labels = competition.train_table(run.folder).label
    return {
        "family": backbone.family(variant.arch),
        "timm_name": backbone.timm_name(variant.arch),
        "weights": learn.history.weights,
        "notebook": run.notebook,
        **commit(),
        "data": competition.train_fingerprint(run.folder),
        "corrections": competition.digests(variant),
        "folds": competition.digest(run.folds),
        "held_out": competition.holdout_digest(list(tables["plain"].index) if tables else []),
        "holdout": bundle.holdout_facts(tables, labels, variant.beta),
        "training": learn.history.outcome,
        "started": learn.history.started,
        "epochs": _epochs(learn),
        "seconds": round(sum(learn.history.seconds), 1),
        "machine": _machine(),
        "peak_memory_mb": _peak_memory_mb(),
        "created": pd.Timestamp.now(tz="UTC").isoformat(timespec="seconds"),
    }


def _epochs(learn: Learner) -> list[dict[str, Any]]:
    """What fastai recorded of each epoch, those before an interruption too."""
    images, history = len(learn.dls.valid_ds), learn.history  # no images with fold=all: no error
    numbers = zip(history.recorder.values, history.seconds, strict=True)
    return [{"train_loss": trained, "valid_loss": valid,
             "wrong": round(error * images) if images else None, "seconds": round(seconds, 2)}
            for (trained, valid, error), seconds in numbers]


def _machine() -> dict[str, Any]:
    """The GPU with its memory, else the processor with the machine's."""
    if not torch.cuda.is_available():
        return core.machine()
    memory = torch.cuda.get_device_properties().total_memory
    gpu = {"device": torch.cuda.get_device_name(), "memory_gb": round(memory / 2**30, 1)}
    return core.machine() | gpu


def _peak_memory_mb() -> int:
    """The peak memory of this process: of the GPU if there is one."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated() / 2**20)
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit)


# Reload parity


def holdout_files(learn: Learner) -> Files:
    """The files of the hold-out of `learn`; empty if nothing was held out."""
    return {path.name: path for path in learn.dls.valid.dataset.items}


def sample_files(learn: Learner) -> Files:
    """The files of the first training images."""
    items = sorted(learn.dls.train.dataset.items, key=lambda path: path.name)
    return {path.name: path for path in items[:SAMPLE]}


@contextmanager
def full_precision() -> Iterator[None]:
    """No TF32 in convolutions and matrix products; the settings are restored afterwards."""
    levels = backends.cudnn.conv, backends.cuda.matmul
    before = [level.fp32_precision for level in levels]
    for level in levels:
        level.fp32_precision = "ieee"
    try:
        yield
    finally:
        for level, precision in zip(levels, before, strict=True):
            level.fp32_precision = precision


def plain_probs(learn: Learner, paths: Files) -> pd.DataFrame:
    """fastai's predictions for `paths`, without augmentation."""
    with full_precision():
        probs, _ = learn.get_preds(dl=learn.dls.test_dl(list(paths.values())))
    images = pd.Index(list(paths), name="image_id")
    return pd.DataFrame(probs.numpy(), images, list(learn.dls.vocab))


def _check_parity(pkl: Path, variant: Variant, plain: pd.DataFrame, paths: Files) -> None:
    """Compare `plain` with the predictions of the reloaded file, by the code for the test set."""
    name, reloaded = variant.name, bundle.load_pkl(pkl)
    with full_precision():
        again = predict({name: reloaded}, {name: replace(variant, tta="none")}, paths)[name]
    stored, again = evidence.join([plain, again["plain"]])
    difference = float((stored - again).abs().to_numpy().max())
    if not difference <= PARITY:
        raise UserError("the exported model is not the trained one: its probabilities differ by "
                        f"up to {difference:.1e} (allowed {PARITY:.0e}); nothing was written")
