"""Photographs to DataLoaders: the saved hold-out, batches and the processes that load them."""

import os
from contextlib import contextmanager

import pandas as pd
import pytest
from conftest import draw_competition
from small_training import loaders, tiny

from src.core import UserError
from src.vision import loaders as data

pytestmark = pytest.mark.usefixtures("in_this_process")


def held_out(dls) -> set[str]:
    return {path.name for path in dls.valid_ds.items}


# the split


def test_hold_out_is_the_saved_fold_and_training_is_the_rest(competition_once, tmp_path):
    for fold in (0, 3):
        dls = loaders(competition_once, tmp_path, tiny(fold=fold))
        saved = pd.read_csv(next(tmp_path.glob("folds_*_seed42.csv")), dtype={"image_id": str})
        assert held_out(dls) == set(saved.image_id[saved.fold == fold])
        training = {path.name for path in dls.train_ds.items}
        assert training == set(saved.image_id[saved.fold != fold])


def test_fold_all_holds_nothing_out_and_trains_on_everything(competition_once, tmp_path):
    dls = loaders(competition_once, tmp_path, tiny(fold="all"))
    assert held_out(dls) == set() and len(dls.valid) == 0
    labels = pd.read_csv(competition_once / "train.csv", index_col="image_id").label
    assert {path.name for path in dls.train_ds.items} == set(labels.index)
    assert list(dls.vocab) == sorted(set(labels))


def test_same_seed_holds_out_the_same_images_whatever_the_directory_order(
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
    again = loaders(other, tmp_path / "again", tiny())
    assert [p.name for p in again.valid_ds.items] == [p.name for p in first.valid_ds.items]
    assert [p.name for p in again.train_ds.items] == [p.name for p in first.train_ds.items]


def test_another_seed_holds_out_other_images(competition_once, tmp_path):
    one, other = (loaders(competition_once, tmp_path, tiny(seed=seed)) for seed in (1, 2))
    assert held_out(one) != held_out(other)


def test_every_variant_of_a_seed_holds_out_the_same_images(competition_once, tmp_path):
    variants = tiny(), tiny(arch="test_vit", resize="pad", size="64x48", bs=4, epochs=3)
    one, other = (held_out(loaders(competition_once, tmp_path, v)) for v in variants)
    assert one == other


def test_labels_are_those_of_the_table_and_classes_are_sorted(competition_once, tmp_path):
    dls = loaders(competition_once, tmp_path, tiny())
    labels = pd.read_csv(competition_once / "train.csv", index_col="image_id").label
    assert list(dls.vocab) == sorted(set(labels))
    for path, number in zip(dls.train_ds.items, (int(y) for _, y in dls.train_ds), strict=True):
        assert dls.vocab[number] == labels[path.name]


def test_batches_are_bs_divided_by_accum(competition_once, tmp_path):
    dls = loaders(competition_once, tmp_path, tiny(bs=8, accum=4))
    assert len(dls.train.one_batch()[0]) == 2


def test_batch_larger_than_the_training_set_is_refused(competition_once, tmp_path):
    # fastai would drop the one batch that is not full, and train nothing at all
    with pytest.raises(UserError, match="bs=25 is more than the 24 training images"):
        loaders(competition_once, tmp_path, tiny(bs=25))
    assert len(loaders(competition_once, tmp_path, tiny(bs=24)).train) == 1


# loader processes


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_workers_are_the_cores_this_process_may_use(monkeypatch):
    monkeypatch.undo()  # the real workers()
    allowed = os.sched_getaffinity(0)
    assert data.workers() == min(len(allowed), 8)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert data.workers() == 1
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.parametrize(
    ("free", "processes"), [(1000, 4), (100, 4), (99, 3), (60, 2), (40, 1), (39, 0), (0, 0)]
)
def test_shared_memory_that_is_too_small_for_the_processes_is_told(
    monkeypatch, capsys, free, processes
):
    monkeypatch.setattr(data, "workers", lambda: 4)
    monkeypatch.setattr(data, "shared_memory", lambda: free * 10**6)
    assert data.loaders(10 * 10**6) == processes
    told = capsys.readouterr().err
    if processes == 4:
        assert told == ""
    else:
        assert f"has {free} MB free, 4 loader processes need 100 MB" in told
        assert f"loading with {processes}," in told
        assert told.count("\n") == 1 and "--shm-size" in told


@pytest.mark.parametrize(("augment", "pixels"), [("fastai", 64 * 48), ("fast", 4 * 32 * 24)])
def test_the_loaders_are_as_many_as_their_batches_fit(
    competition_once, tmp_path, monkeypatch, augment, pixels
):
    asked = []
    monkeypatch.setattr(data, "loaders", lambda size: asked.append(size) or 1)
    variant = tiny(augment=augment, item_size="64x48", size="32x24", bs=8, accum=2)
    dls = loaders(competition_once, tmp_path, variant)
    assert asked == [4 * 3 * pixels]
    assert [dl.num_workers for dl in (dls.train.fake_l, dls.valid.fake_l)] == [1, 1]
