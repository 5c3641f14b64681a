"""Whatever trained a model, its .pkl opens where fastai and timm are, and holds nothing else."""

import json
import pickletools
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import run
from small_training import exported, saved_weights, tiny

from src import bundle, competition
from src.evidence import read_probs
from src.training.export import PARITY, plain_probs, sample_files

SGDR = {"schedule": "sgdr", "cycles": 2, "cycle_mult": 1}
KINDS = {
    "fastai": {},
    "fast": {"augment": "fast", "resize": "rect", "item_size": "64x48", "size": "40x32"},
    "relabel": {"targets": "disease+variety+age", "accum": 2, "resize": "pad"},
    "members": {**SGDR, "arch": "test_vit", "snapshots": "members", "targets": "disease+variety",
                "size": 48, "sizes": "32,48"},
    "mean": {**SGDR, "snapshots": "mean", "augment": "fast", "sizes": "32,48", "size": 48},
    "ema": {"ema": 0.6, "sampler": "hard", "precompute": True, "resize": "crop"},
    "all": {"fold": "all", "label_smoothing": 0.1, "mixup": 0.4},
}
every = pytest.mark.parametrize("kind", KINDS)
PACKAGES = {"fastai", "fastcore", "fasttransform", "plum", "numpy", "PIL", "timm", "torch"}
PYTHON = {"__builtin__", "_codecs", "_operator", "collections", "functools", "inspect", "random"}
FUNCTIONS = {"os PathLike"}  # of a module that has others, too


def trained(kind: str, data: Path, models: Path) -> SimpleNamespace:
    """One of KINDS, exported: its .pkl, and what it predicts for the hold-out in `table`.

    Where nothing is held out the table is of training images.
    """
    changes = dict(KINDS[kind])
    if kind == "relabel":
        truth = competition.train_table(data).label
        wrong = truth.iloc[:3].map({"disease_a": "disease_b"}).fillna("disease_a")
        changes["relabel"] = str(models / "labels.csv")
        wrong.to_frame().to_csv(changes["relabel"])
    if kind == "ema":
        changes["pretrained"] = saved_weights(models)
    variant = tiny(**changes, desc=kind)
    learn = exported(data, models, variant)
    if kind == "all":
        table = plain_probs(learn, sample_files(learn))
    else:
        table = read_probs(bundle.probs_path(models, variant.name, "valid"))[0]["plain"]
    return SimpleNamespace(pkl=bundle.pkl_path(models, variant.name), table=table)


@pytest.fixture(scope="module")
def exports(competition_once, tmp_path_factory) -> dict[str, SimpleNamespace]:
    """All KINDS, and as `plain` what a process without this project predicts with them."""
    models, files = tmp_path_factory.mktemp("models"), competition.train_paths(competition_once)
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("src.vision.loaders.workers", lambda: 0)
        torch.set_num_threads(1)
        exports = {kind: trained(kind, competition_once, models) for kind in KINDS}
    torch.set_num_threads(threads)
    requests = {str(e.pkl): [str(files[image]) for image in e.table.index]
                for e in exports.values()}
    (models / "requests.txt").write_text(json.dumps(requests))
    done = run("tests/plain_fastai.py", str(models / "requests.txt"))
    assert done.returncode == 0, done.stderr[-3000:]
    predicted = json.loads(done.stdout.splitlines()[-1])
    for export in exports.values():
        export.plain = predicted[str(export.pkl)]
    return exports


@every
def test_export_predicts_the_stored_probabilities_where_this_project_is_absent(exports, kind):
    table, plain = exports[kind].table, exports[kind].plain
    assert plain["vocab"] == list(table.columns) == ["disease_a", "disease_b", "disease_c"]
    np.testing.assert_allclose(plain["probs"], table.to_numpy(), atol=PARITY)
    np.testing.assert_allclose(plain["one"], table.iloc[0], atol=PARITY)
    assert set(plain["labels"]) == {table.iloc[0].idxmax()}
    views = np.array(plain["tta"])  # it augments, too
    np.testing.assert_allclose(views.sum(1), 1, atol=1e-5)
    assert np.abs(views - table.to_numpy()).max() > PARITY


@every
def test_export_names_nothing_but_what_fastai_needs_and_no_path(exports, competition_once, kind):
    with zipfile.ZipFile(exports[kind].pkl) as file:
        (name,) = [name for name in file.namelist() if name.endswith("/data.pkl")]
        raw = file.read(name)
    ops = [(op.name, argument) for op, argument, _ in pickletools.genops(raw)]
    named = {argument for name, argument in ops if name in ("GLOBAL", "INST")}
    assert "STACK_GLOBAL" not in dict(ops), "names that this test does not read"
    modules = {name.split()[0] for name in named - FUNCTIONS}
    assert {name for name in modules if name.split(".")[0] not in PACKAGES} <= PYTHON
    folders = competition_once, exports[kind].pkl.parent, Path.cwd()
    assert not [folder for folder in folders if str(folder).encode() in raw]
