"""A fitted Learner becomes a bundle, checked on reload: the last cells of paddy_train.ipynb."""

import resource
import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import torch
from fastai.vision.all import ClassificationInterpretation, Learner

from src import bundle, competition
from src.competition import digest, digests, holdout_digest
from src.core import Variant, atomic_path, commit, sha256, torch_writes
from src.evidence import INTERVAL, blend, error_cell, error_phrase, write_probs, wrong_of
from src.notebook import Run
from src.predict import Tables, predict
from src.training import portable
from src.training.parity import check_parity, holdout_files, plain_probs, sample_files
from src.vision import backbone


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
        print(f"fold=all: every image was trained on; {error_phrase(0, 0)}")
        return None
    labels = competition.train_table(folder).label
    rows = {"plain": tables["plain"], "with TTA": blend(tables, beta)}
    errors = {way: error_cell(*wrong_of(probs, labels)) for way, probs in rows.items()}
    return pd.DataFrame({f"hold-out error ({INTERVAL})": errors})


def plot_mistakes(learn: Learner) -> None:
    """The confusion matrix of the hold-out and the photographs with the largest losses."""
    if not len(learn.dls.valid_ds):
        print("fold=all: nothing was held out, so its mistakes are unknown")
        return
    interp = ClassificationInterpretation.from_learner(learn)
    interp.plot_confusion_matrix(figsize=(7, 7))
    with plt.rc_context({"axes.titlesize": 9}):  # two long labels stand above each photograph
        interp.plot_top_losses(6, nrows=2, figsize=(13, 9))


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
        check_parity(temporary, variant, plain, paths)
    card["sha256"] = sha256(pkl)
    if tables:
        meta = bundle.expected_meta(card, "valid")
        path = bundle.probs_path(run.models, variant.name, "valid")
        write_probs(path, tables["plain"], tables.get("views"), meta)
    bundle.write_card(run.models, card)
    outcome = learn.history.outcome
    if outcome.get("epochs") == outcome.get("planned"):  # else more time can continue it
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
        "corrections": digests(variant),
        "folds": digest(run.folds),
        "held_out": holdout_digest(list(tables["plain"].index) if tables else []),
        "holdout": bundle.holdout_facts(tables, labels, variant.beta),
        "training": learn.history.outcome,
        "seconds": round(learn.history.seconds, 1),
        "peak_memory_mb": peak_memory_mb(),
        "created": pd.Timestamp.now(tz="UTC").isoformat(timespec="seconds"),
    }


def peak_memory_mb() -> int:
    """The peak memory of this process in MB: of the GPU if there is one."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated() / 2**20)
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit)
