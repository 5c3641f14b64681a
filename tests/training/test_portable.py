"""Whatever trained a model, its .pkl opens where fastai and timm are, and holds nothing else."""

import json
import pickletools
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import run
from small_training import exported, saved_weights, tiny

from src import bundle, competition
from src.core import Variant
from src.evidence import read_probs
from src.training.export import PARITY, plain_probs, sample_files

SGDR = {"schedule": "sgdr", "cycles": 2, "cycle_mult": 1}
KINDS = {
    "fastai": {},
    "fast": {"augment": "fast", "resize": "rect", "item_size": "64x48", "size": "40x32"},
    "relabel": {"targets": "disease+variety+age", "accum": 2, "resize": "pad"},
    "members": {**SGDR, "arch": "test_vit", "snapshots": "members", "targets": "disease+variety"},
    "mean": {**SGDR, "snapshots": "mean", "augment": "fast", "sizes": "32,48", "size": 48},
    "ema": {"ema": 0.6, "sampler": "hard", "precompute": True, "resize": "crop"},
    "all": {"fold": "all", "label_smoothing": 0.1, "mixup": 0.4},
}
PACKAGES = {"fastai", "fastcore", "fasttransform", "plum", "numpy", "PIL", "timm", "torch"}
PYTHON = {"__builtin__", "_codecs", "_operator", "collections", "functools", "inspect", "random"}
FUNCTIONS = {"os PathLike"}  # of a module that has others, too


def variant_of(kind: str, folder: Path) -> Variant:
    """The recipe of one of KINDS; its files are in `folder`."""
    changes = KINDS[kind]
    if kind == "relabel":
        changes = changes | {"relabel": str(folder / "labels.csv")}
    if kind == "ema":
        changes = changes | {"pretrained": saved_weights(folder)}
    return tiny(**changes, desc=kind)


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """The folder of all exports of this file."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def stored(competition_once, models) -> dict[str, pd.DataFrame]:
    """Kind → the probabilities stored with its export; of `all` those of training images."""
    truth = competition.train_table(competition_once).label
    wrong = truth.iloc[:3].map({"disease_a": "disease_b"}).fillna("disease_a")
    wrong.to_frame().to_csv(models / "labels.csv")
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("src.vision.loaders.workers", lambda: 0)
        torch.set_num_threads(1)
        variants = {kind: variant_of(kind, models) for kind in KINDS}
        learners = {kind: exported(competition_once, models, v) for kind, v in variants.items()}
        known = {"all": plain_probs(learners["all"], sample_files(learners["all"]))}
    torch.set_num_threads(threads)
    for kind in KINDS.keys() - known:
        path = bundle.probs_path(models, variants[kind].name, "valid")
        known[kind] = read_probs(path)[0]["plain"]
    return known


def pkl_of(kind: str, models: Path) -> Path:
    return bundle.pkl_path(models, variant_of(kind, models).name)


@pytest.fixture(scope="module")
def plain(competition_once, models, stored) -> dict[str, dict]:
    """Kind → what a process without this project predicts for the images of `stored`."""
    files = competition.train_paths(competition_once)
    requests = {
        str(pkl_of(kind, models)): [str(files[image]) for image in table.index]
        for kind, table in stored.items()
    }
    (models / "requests.txt").write_text(json.dumps(requests))
    done = run("tests/plain_fastai.py", str(models / "requests.txt"))
    assert done.returncode == 0, done.stderr[-3000:]
    predicted = json.loads(done.stdout.splitlines()[-1])
    return {kind: predicted[str(pkl_of(kind, models))] for kind in stored}


@pytest.mark.parametrize("kind", KINDS)
def test_export_predicts_the_stored_probabilities_where_this_project_is_absent(
    stored, plain, kind
):
    table, opened = stored[kind], plain[kind]
    assert opened["vocab"] == list(table.columns)
    np.testing.assert_allclose(opened["probs"], table.to_numpy(), atol=PARITY)
    np.testing.assert_allclose(opened["one"], table.iloc[0], atol=PARITY)
    assert set(opened["labels"]) == {table.iloc[0].idxmax()}
    views = np.array(opened["tta"])  # it augments, too
    np.testing.assert_allclose(views.sum(1), 1, atol=1e-5)
    assert np.abs(views - table.to_numpy()).max() > PARITY


def pickled(pkl: Path) -> bytes:
    """The pickle in what torch writes."""
    with zipfile.ZipFile(pkl) as file:
        (name,) = [name for name in file.namelist() if name.endswith("/data.pkl")]
        return file.read(name)


@pytest.mark.parametrize("kind", KINDS)
def test_export_names_nothing_but_what_fastai_needs_and_no_path(
    stored, models, competition_once, kind
):
    raw = pickled(pkl_of(kind, models))
    ops = [(op.name, argument) for op, argument, _ in pickletools.genops(raw)]
    named = {argument for name, argument in ops if name in ("GLOBAL", "INST")}
    assert "STACK_GLOBAL" not in dict(ops), "names that this test does not read"
    modules = {name.split()[0] for name in named - FUNCTIONS}
    assert {name for name in modules if name.split(".")[0] not in PACKAGES} <= PYTHON
    folders = str(competition_once), str(models), str(Path.cwd())
    assert not [folder for folder in folders if folder.encode() in raw]
