"""Photographs to DataLoaders: the saved hold-out, batches and the processes that load them."""

import os
from contextlib import contextmanager

import pandas as pd
import pytest
from conftest import draw_competition, refusal
from small_training import loaders, tiny

from src.vision import loaders as data

pytestmark = pytest.mark.usefixtures("in_this_process")


def held_out(dls) -> set[str]:
    return {path.name for path in dls.valid_ds.items}


@pytest.mark.parametrize("fold", [3, "all"])
def test_hold_out_is_the_saved_fold_and_labels_are_those_of_the_table(
    competition_once, tmp_path, fold
):
    dls = loaders(competition_once, tmp_path, tiny(fold=fold))
    saved = pd.read_csv(next(tmp_path.glob("folds_*_seed42.csv")), index_col="image_id").fold
    labels = pd.read_csv(competition_once / "train.csv", index_col="image_id").label
    assert held_out(dls) == set(saved.index[saved == fold])
    assert {path.name for path in dls.train_ds.items} == set(labels.index) - held_out(dls)
    assert list(dls.vocab) == sorted(set(labels))
    for path, (_, number) in zip(dls.train_ds.items, dls.train_ds, strict=True):
        assert dls.vocab[int(number)] == labels[path.name]


def test_a_seed_holds_out_the_same_images_whatever_the_directory_order_and_the_variant(
    competition_once, tmp_path, monkeypatch
):
    first = loaders(competition_once, tmp_path / "first", tiny())
    other = draw_competition(tmp_path / "other")
    rows = (other / "train.csv").read_text().splitlines()
    (other / "train.csv").write_text("\n".join([rows[0], *rows[:0:-1]]) + "\n")
    scandir = os.scandir

    @contextmanager
    def backwards(path):
        with scandir(path) as entries:
            yield sorted(entries, key=lambda entry: entry.name, reverse=True)

    monkeypatch.setattr(os, "scandir", backwards)
    again = loaders(other, tmp_path / "again", tiny(arch="test_vit", resize="pad", size="64x48"))
    assert [p.name for p in again.valid_ds.items] == [p.name for p in first.valid_ds.items]
    assert [p.name for p in again.train_ds.items] == [p.name for p in first.train_ds.items]
    assert held_out(loaders(other, tmp_path / "again", tiny(seed=1))) != held_out(first)


def test_batch_larger_than_the_training_set_is_refused(competition_once, tmp_path):
    # fastai would drop the one batch that is not full, and train nothing at all
    line = refusal(loaders, competition_once, tmp_path, tiny(bs=25))
    assert "bs=25 is more than the 24 training images" in line
    dls = loaders(competition_once, tmp_path, tiny(bs=24, accum=4))
    assert (len(dls.train), len(dls.train.one_batch()[0])) == (4, 6)


def test_workers_are_the_cores_of_this_process_but_at_most_eight(monkeypatch):
    monkeypatch.undo()  # the real workers()
    for cores, processes in ((3, 3), (64, 8)):
        monkeypatch.setattr(data, "cores", lambda cores=cores: cores)
        assert data.workers() == processes


@pytest.mark.parametrize(
    ("free", "processes"), [(1000, 4), (100, 4), (99, 3), (60, 2), (39, 0), (0, 0)]
)
def test_shared_memory_that_is_too_small_for_the_processes_is_a_line(
    monkeypatch, capsys, free, processes
):
    monkeypatch.setattr(data, "workers", lambda: 4)
    monkeypatch.setattr(data, "shared_memory", lambda: free * 10**6)
    assert data.loaders(10 * 10**6) == processes
    message = capsys.readouterr().err
    assert message.count("\n") == (processes < 4)
    for part in (f"{free} MB free", "need 100 MB", f"loading with {processes},", "--shm-size"):
        assert (part in message) == (processes < 4)


@pytest.mark.parametrize(("augment", "pixels"), [("fastai", 64 * 48), ("fast", 4 * 32 * 24)])
def test_the_loaders_are_as_many_as_their_batches_fit(
    competition_once, tmp_path, monkeypatch, augment, pixels
):
    batches = []
    monkeypatch.setattr(data, "loaders", lambda size: batches.append(size) or 1)
    variant = tiny(augment=augment, item_size="64x48", size="32x24", bs=8, accum=2)
    dls = loaders(competition_once, tmp_path, variant)
    assert batches == [4 * 3 * pixels]
    assert [dl.num_workers for dl in (dls.train.fake_l, dls.valid.fake_l)] == [1, 1]
