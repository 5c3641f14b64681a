"""Shrunk copies: made once, whole or not at all, of the photographs as they are now."""

import os
import shutil
import threading
from multiprocessing import get_context

import numpy as np
import pandas as pd
import pytest
from conftest import TINY
from PIL import Image

from src.core import UserError, make_variant
from src.vision import cache
from src.vision import loaders as data

KEY = "0123456789abcdef"
PHOTOS = 12


@pytest.fixture
def paths(tmp_path, monkeypatch):
    """image_id → file of some photographs, 60 × 80, the last one lying; copies go to tmp_path."""
    monkeypatch.setenv("PADDY_WORK", str(tmp_path / "work"))
    found = {}
    for number in range(PHOTOS):
        found[f"{number}.jpg"] = path = tmp_path / "images" / "ab"[number % 2] / f"{number}.jpg"
        save(path, number, (80, 60) if number == PHOTOS - 1 else (60, 80))
    return pd.Series(found)


def save(path, seed, size) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)


def state(copies) -> list:
    return [(path.read_bytes(), path.stat().st_mtime_ns) for path in copies]


def test_copies_keep_the_shape_and_have_the_side_asked_for(paths):
    copies = cache.shrunk(paths, 30, KEY)
    assert list(copies.index) == list(paths.index)
    sizes = [Image.open(copy).size for copy in copies]
    assert sizes == [(30, 40)] * (PHOTOS - 1) + [(40, 30)]
    assert [copy.parent.name for copy in copies] == [path.parent.name for path in paths]


def test_a_copy_looks_like_its_photograph(paths):
    smooth = Image.new("RGB", (60, 80), "red")
    smooth.paste("blue", (0, 40, 60, 80))
    smooth.save(paths.iloc[0], quality=95)
    copy = np.asarray(Image.open(cache.shrunk(paths, 30, KEY).iloc[0])).astype(int)
    assert np.abs(copy[5, 5] - (255, 0, 0)).max() < 9
    assert np.abs(copy[35, 25] - (0, 0, 255)).max() < 9


def test_no_photograph_is_enlarged_and_every_copy_is_upright(paths):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (80, 60)).save(paths.iloc[0], exif=exif)
    copies = cache.shrunk(paths, 100, KEY)
    with Image.open(copies.iloc[0]) as copy:
        assert copy.size == (60, 80) and copy.getexif().get(0x0112, 1) == 1


def test_what_is_there_is_not_made_again(paths):
    before = state(cache.shrunk(paths, 30, KEY))
    index = (cache.cache_dir() / f"{KEY[:12]}_30" / cache.INDEX).read_text()
    assert state(cache.shrunk(paths, 30, KEY)) == before
    assert (cache.cache_dir() / f"{KEY[:12]}_30" / cache.INDEX).read_text() == index


@pytest.mark.parametrize(
    "spoil",
    [lambda copy: copy.unlink(), lambda copy: copy.write_bytes(copy.read_bytes()[:99])],
    ids=["deleted", "cut short"],
)
def test_a_copy_that_is_not_whole_is_made_again_and_only_that(paths, spoil):
    copies = cache.shrunk(paths, 30, KEY)
    before = state(copies)
    spoil(copies.iloc[3])
    after = state(cache.shrunk(paths, 30, KEY))
    assert [content for content, _ in after] == [content for content, _ in before]
    assert [k for k in range(PHOTOS) if after[k][1] != before[k][1]] == [3]


def test_a_photograph_of_other_content_is_copied_again_even_at_the_same_size_and_time(paths):
    before = state(cache.shrunk(paths, 30, KEY))
    path, old = paths.iloc[5], paths.iloc[5].stat()
    content = bytearray(path.read_bytes())
    content[-200] ^= 255  # the last rows of the picture
    path.write_bytes(content)
    os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))
    after = state(cache.shrunk(paths, 30, KEY))
    assert [k for k in range(PHOTOS) if after[k] != before[k]] == [5]
    assert after[5][0] != before[5][0]
    assert state(cache.shrunk(paths, 30, KEY)) == after  # the index knows the new content


def test_other_sides_and_other_competitions_have_folders_of_their_own(paths):
    folders = {cache.shrunk(paths, side, key).iloc[0].parent.parent
               for side, key in [(30, KEY), (20, KEY), (30, KEY[::-1])]}
    assert len(folders) == 3


def test_a_torn_index_costs_the_torn_line_only(paths):
    before = state(copies := cache.shrunk(paths, 30, KEY))
    index = copies.iloc[0].parent.parent / cache.INDEX
    index.write_text(index.read_text()[:-9])
    after = state(cache.shrunk(paths, 30, KEY))
    assert [k for k in range(PHOTOS) if after[k][1] != before[k][1]] == [PHOTOS - 1]
    assert state(cache.shrunk(paths, 30, KEY)) == after


def test_what_a_killed_run_has_made_is_kept_and_the_rest_follows(paths, monkeypatch):
    fork, renew = get_context("fork"), cache._renew  # its imports are here already
    there = fork.Event()

    def stuck(side, path, copy, noted):
        if path.name == "8.jpg":  # the sixth in the order of paths
            there.set()
            threading.Event().wait()
        return renew(side, path, copy, noted)

    with monkeypatch.context() as patch:
        patch.setattr(cache, "_renew", stuck)
        process = fork.Process(target=cache.shrunk, args=(paths.sort_values(), 30, KEY))
        process.start()
    while not there.wait(1):
        assert process.is_alive()
    folder = cache.cache_dir() / f"{KEY[:12]}_30"
    while len(cache.read_index(folder)) < 5:  # the first ones are noted meanwhile
        assert process.is_alive()
    process.kill()
    process.join()
    kept = {key: (folder / key).stat().st_mtime_ns for key in cache.read_index(folder)}
    assert 5 <= len(kept) < PHOTOS and not (folder / "a" / "8.jpg").exists()
    copies = cache.shrunk(paths, 30, KEY)
    assert {key: (folder / key).stat().st_mtime_ns for key in kept} == kept
    for copy in copies:
        with Image.open(copy) as image:
            image.load()


def test_an_unreadable_photograph_is_named_and_leaves_no_copy(paths):
    paths.iloc[2].write_bytes(paths.iloc[2].read_bytes()[:300])
    with pytest.raises(UserError, match="cannot read .*2.jpg"):
        cache.shrunk(paths, 30, KEY)
    assert not (cache.cache_dir() / f"{KEY[:12]}_30" / "a" / "2.jpg").exists()


def test_a_folder_that_cannot_be_written_is_one_line(paths, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("PADDY_WORK", str(tmp_path / "file"))
    with pytest.raises(UserError, match="cannot write") as error:
        cache.shrunk(paths, 30, KEY)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("way", ["fastai", "fast"])
def test_training_reads_copies_and_the_hold_out_reads_photographs(
    competition_once, tmp_path, monkeypatch, way
):
    monkeypatch.setenv("PADDY_WORK", str(tmp_path))
    monkeypatch.setattr(data, "workers", lambda: 0)
    folder = shutil.copytree(competition_once, tmp_path / "competition")
    ids = pd.read_csv(folder / "train.csv").image_id
    folds = pd.Series(np.arange(len(ids)) % 5, ids)
    dls = {
        side: data.get_dls(folder, folds, make_variant(**TINY | {"augment": way, "cache": side}))
        for side in (0, 48)
    }
    for split in ("train_ds", "valid_ds"):
        one, other = (getattr(dls[side], split) for side in (0, 48))
        assert [path.name for path in other.items] == [path.name for path in one.items]
        assert [int(y) for _, y in other] == [int(y) for _, y in one]
    assert all(cache.cache_dir() in path.parents for path in dls[48].train_ds.items)
    assert dls[48].valid_ds.items == dls[0].valid_ds.items
    assert dls[48].train.one_batch()[0].shape == (8, 3, 32, 32)
