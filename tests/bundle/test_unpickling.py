"""Bundles of before load: their pickles name our classes, where they were, and paths."""

import zipfile
from copy import deepcopy
from pathlib import Path
from pkgutil import resolve_name

import numpy as np
import pytest
from conftest import refusal
from fastai.vision.all import Learner, Normalize, trainable_params
from small_training import tiny, untrained

from src import bundle
from src.bundle import unpickling
from src.core import Variant
from src.predict import predict
from src.training.callbacks.snapshots import SnapshotEnsemble
from src.training.export import holdout_files, plain_probs

pytestmark = pytest.mark.usefixtures("in_this_process")
VIEWS = b"csrc.vision.augment\nFastViews\n"
SNAPSHOTS = b"csrc.training.callbacks.snapshots\nSnapshotEnsemble\n"
POSIX, WINDOWS = b"cpathlib\nPosixPath\n", b"cpathlib\nWindowsPath\n"


@pytest.fixture(scope="module")
def variant(competition_once, tmp_path_factory) -> Variant:
    """A recipe whose `dls` are made of our own classes alone."""
    corrections = tmp_path_factory.mktemp("relabel") / "labels.csv"
    corrections.write_text("image_id,label\n100001.jpg,disease_b\n")
    return tiny(augment="fast", relabel=str(corrections), tta="none")


@pytest.fixture(scope="module")
def learn(competition_once, variant, tmp_path_factory) -> Learner:
    """A Learner as it was exported before."""
    learn = untrained(competition_once, tmp_path_factory.mktemp("models"), variant)
    learn.model = SnapshotEnsemble([learn.model, deepcopy(learn.model)])
    learn.splitter = trainable_params
    return learn


@pytest.fixture
def old(learn, tmp_path) -> Path:
    learn.export((tmp_path / "old.pkl").resolve())
    return tmp_path / "old.pkl"


def renamed(pkl: Path, before: bytes, after: bytes) -> Path:
    """A copy of `pkl` that calls a class another name."""
    copy = pkl.with_name("renamed.pkl")
    with zipfile.ZipFile(pkl) as source, zipfile.ZipFile(copy, "w") as target:
        for entry in source.infolist():
            content = source.read(entry)
            if entry.filename.endswith("/data.pkl"):
                assert before in content
                content = content.replace(before, after)
            target.writestr(entry.filename, content)
    return copy


def test_learner_exported_as_before_predicts_the_same_on_both_paths(old, learn, variant):
    files = holdout_files(learn)
    plain, loaded = plain_probs(learn, files), bundle.load_pkl(old)
    ours = predict({"old": loaded}, {"old": variant}, files)["old"]["plain"]
    np.testing.assert_allclose(ours, plain, atol=1e-4)
    earlier = ((VIEWS, b"csrc.augment\nFastViews\n"),
               (SNAPSHOTS, b"csrc.snapshots\nMembers\n"),
               (SNAPSHOTS, b"csrc.training.callbacks.snapshots\nMembers\n"))
    for pkl in (old, *(renamed(old, *names) for names in earlier)):
        np.testing.assert_allclose(plain_probs(bundle.load_pkl(pkl), files), plain, atol=1e-5)


def test_class_of_no_known_name_is_refused(old):
    unknown = renamed(old, VIEWS, b"csrc.rooms.long_gone\nQuickViews\n")
    assert "No module named 'src.rooms'" in refusal(bundle.load_pkl, unknown)


def test_paths_of_another_system_are_paths_of_this_one(old, learn):
    assert type(bundle.load_pkl(old).path) is type(Path())
    for there in (WINDOWS, b"cpathlib._local\nWindowsPath\n", b"cpathlib._local\nPosixPath\n"):
        assert bundle.load_pkl(renamed(old, POSIX, there)).path == Path(".")


def test_normalisation_of_the_first_bundles_is_that_of_fastai(old):
    names = b"csrc.vision.augment\nNormalizeBytes\n", b"csrc.augment\nNormalizeInPlace\n"
    first = renamed(old, *names)
    (tfm,) = [tfm for tfm in bundle.load_pkl(first).dls.after_batch.fs if hasattr(tfm, "mean")]
    assert type(tfm) is Normalize


@pytest.mark.parametrize("name", sorted(set(unpickling.NAMES.values())))
def test_every_name_of_the_table_is_there(name):
    module, _, attribute = name.rpartition(".")
    assert callable(resolve_name(f"{module}:{attribute}"))
