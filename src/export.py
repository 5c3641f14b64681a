"""A fitted Learner becomes a bundle, proven on reload: the last cells of paddy_train.ipynb."""

import resource
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import torch
from fastai.vision.all import ClassificationInterpretation, Learner

from src import backbone, bundle, competition
from src.config import UserError
from src.evidence import error_phrase, wrong_of
from src.files import atomic_path, commit, sha256, torch_writes
from src.folds import digest, holdout_digest
from src.labels import digests
from src.notebook import Run
from src.probs import blend, join, write_probs
from src.tta import Tables, predict
from src.variant import Variant

PARITY = 1e-4  # how far a reloaded model may be from the model, in probability
SAMPLE = 64  # training images that a model without hold-out is asked about


def holdout_probs(learn: Learner, variant: Variant) -> Tables:
    """Hold-out probabilities: `plain` from the Learner itself, `views` as for the test set.

    To be called before `export`, which empties the Learner's datasets. None with fold=all.
    """
    paths = {path.name: path for path in learn.dls.valid.dataset.items}
    if not paths:
        return {}
    probs, _ = learn.get_preds(dl=learn.dls.valid)
    tables = predict({variant.name: learn}, {variant.name: variant}, paths)[variant.name]
    plain = pd.DataFrame(probs.numpy(), tables["plain"].index, list(learn.dls.vocab))
    return tables | {"plain": plain}


def holdout_table(tables: Tables, folder: Path, beta: float) -> pd.DataFrame | None:
    """What a reader wants first: the hold-out error, plain and with TTA, in images."""
    if not tables:
        print(f"fold=all: every image was trained on; {error_phrase(0, 0)}")
        return None
    labels = competition.train_table(folder).label
    rows = {"plain": tables["plain"], "with TTA": blend(tables, beta)}
    errors = {way: error_phrase(*wrong_of(probs, labels)) for way, probs in rows.items()}
    return pd.DataFrame({"hold-out error": errors})


def plot_mistakes(learn: Learner) -> None:
    """The confusion matrix of the hold-out and the photographs with the largest losses."""
    if not len(learn.dls.valid_ds):
        print("fold=all: nothing was held out, so nothing tells what it gets wrong")
        return
    interp = ClassificationInterpretation.from_learner(learn)
    interp.plot_confusion_matrix(figsize=(7, 7))
    with plt.rc_context({"axes.titlesize": 9}):  # two long labels stand above each photograph
        interp.plot_top_losses(6, nrows=2, figsize=(13, 9))


def export(learn: Learner, variant: Variant, tables: Tables, run: Run) -> Path:
    """Write the bundle of `variant`; the reloaded model must repeat the hold-out's `tables`.

    Without them it must repeat the answers to some training images, and no .valid.parquet appears.
    Raises UserError, and leaves whatever was there, when the reloaded model predicts otherwise.
    """
    labels = competition.train_table(run.folder).label
    paths, plain = _known_answers(learn, tables)
    facts = {
        "family": backbone.family(variant.arch),
        "timm_name": backbone.timm_name(variant.arch),
        "notebook": run.notebook,
        **commit(),
        "data": competition.train_fingerprint(run.folder),
        "corrections": digests(variant),
        "folds": digest(run.folds),
        "held_out": holdout_digest(list(tables["plain"].index) if tables else []),
        "holdout": bundle.holdout_facts(tables, labels, variant.beta),
        "training": learn.outcome,
        "seconds": round(learn.seconds, 1),
        "peak_memory_mb": peak_memory_mb(),
        "created": pd.Timestamp.now(tz="UTC").isoformat(timespec="seconds"),
    }
    card = bundle.make_card(learn, variant, facts)
    pkl = bundle.pkl_path(run.models, variant.name)
    with atomic_path(pkl) as temporary:
        with torch_writes():
            learn.export(temporary.resolve())
        check_parity(temporary, variant, plain, paths)
    card["sha256"] = sha256(pkl)
    if tables:
        meta = bundle.expected_meta(card, "valid", card["held_out"])
        path = bundle.probs_path(run.models, variant.name, "valid")
        write_probs(path, tables["plain"], tables.get("views"), meta)
    bundle.write_card(run.models, card)
    if learn.outcome.get("epochs") == learn.outcome.get("planned"):  # else it can be continued
        bundle.checkpoint_path(run.models, variant.name).unlink(missing_ok=True)
    return pkl


def _known_answers(learn: Learner, tables: Tables) -> tuple[dict[str, Path], pd.DataFrame]:
    """image_id → file, and what the Learner says: of the hold-out, else of some training images."""
    if tables:
        return {path.name: path for path in learn.dls.valid.dataset.items}, tables["plain"]
    items = sorted(learn.dls.train.dataset.items, key=lambda path: path.name)[:SAMPLE]
    probs, _ = learn.get_preds(dl=learn.dls.test_dl(items))
    paths = {path.name: path for path in items}
    return paths, pd.DataFrame(probs.numpy(), list(paths), list(learn.dls.vocab))


def check_parity(
    pkl: Path, variant: Variant, plain: pd.DataFrame, paths: Mapping[str, Path]
) -> None:
    """The file, reloaded and asked about `paths` as for the test set, must repeat `plain`."""
    reloaded = bundle.load_pkl(pkl)
    name, alone = variant.name, replace(variant, tta="none")
    again = predict({name: reloaded}, {name: alone}, paths)[name]["plain"]
    stored, again = join([plain, again])
    difference = float((stored - again).abs().to_numpy().max())
    if not difference <= PARITY:
        raise UserError(
            f"the exported model is not the trained one: reloaded, its probabilities "
            f"differ by up to {difference:.1e} (allowed {PARITY:.0e}); nothing was written"
        )


def peak_memory_mb() -> int:
    """The most memory this training took, in MB: the GPU's if there is one."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated() / 2**20)
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit)
