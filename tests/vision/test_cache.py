"""Shrunk copies: made once, whole or not at all, of the photographs as they are now."""

import os

import numpy as np
import pandas as pd
import pytest
from conftest import refusal
from PIL import Image
from small_pictures import picture
from small_training import loaders, tiny

from src.core import cache_dir
from src.vision.photograph import shrunk_copies

KEY = "0123456789abcdef"
PHOTOS = 6


@pytest.fixture
def paths(tmp_path, monkeypatch):
    """image_id → file of some photographs, 30 × 40, the last one 40 × 30; copies go to tmp_path."""
    monkeypatch.setenv("PADDY_WORK", str(tmp_path / "work"))
    paths = [tmp_path / "ab"[number % 2] / f"{number}.jpg" for number in range(PHOTOS)]
    for number, path in enumerate(paths):
        picture(path, number, (40, 30) if path == paths[-1] else (30, 40))
    return pd.Series({path.name: path for path in paths})


def times(paths) -> dict:
    return {path: path.stat().st_mtime_ns for path in paths}


def test_copies_have_the_shape_and_class_of_the_photographs_and_the_side(paths):
    copies = shrunk_copies(paths, 15, KEY)
    assert list(copies.index) == list(paths.index)
    sizes = [Image.open(copy).size for copy in copies]
    assert sizes == [(15, 20)] * (PHOTOS - 1) + [(20, 15)]
    assert [copy.parent.name for copy in copies] == [path.parent.name for path in paths]
    others = shrunk_copies(paths, 20, KEY), shrunk_copies(paths, 15, KEY[::-1])
    assert len({*copies, *others[0], *others[1]}) == 3 * PHOTOS  # of each side and competition


def test_a_copy_looks_like_its_photograph_upright_and_never_enlarged(paths):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown a quarter turn to the right
    flag = Image.new("RGB", (80, 60), "red")
    flag.paste("blue", (40, 0, 80, 60))
    flag.save(paths.iloc[0], quality=95, exif=exif)
    for side, height in ((100, 80), (30, 40)):
        with Image.open(shrunk_copies(paths, side, KEY).iloc[0]) as copy:
            assert copy.size == (height * 3 // 4, height) and copy.getexif().get(0x0112, 1) == 1
            pixels = np.asarray(copy).astype(int)
        assert np.abs(pixels[5, 5] - (255, 0, 0)).max() < 9
        assert np.abs(pixels[-5, 5] - (0, 0, 255)).max() < 9


def change_content(path):
    """Other content, of the same size and time."""
    old, content = path.stat(), bytearray(path.read_bytes())
    content[-50] ^= 255
    path.write_bytes(content)
    os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))


@pytest.mark.parametrize("spoil", [
    lambda path, copy: copy.unlink(),
    lambda path, copy: copy.write_bytes(copy.read_bytes()[:300]),
    lambda path, copy: change_content(path),
], ids=["deleted", "cut short", "of another photograph"])
def test_only_a_copy_that_is_not_current_is_made_again(paths, spoil):
    before = times(copies := shrunk_copies(paths, 15, KEY))
    spoil(paths.iloc[3], copies.iloc[3])
    after = times(shrunk_copies(paths, 15, KEY))
    assert [copy for copy in copies if after[copy] != before[copy]] == [copies.iloc[3]]
    Image.open(copies.iloc[3]).load()
    assert times(shrunk_copies(paths, 15, KEY)) == after


def test_an_unreadable_photograph_is_named_and_the_finished_copies_stay(paths):
    content = paths.iloc[-1].read_bytes()
    paths.iloc[-1].write_bytes(content[:300])
    assert f"{PHOTOS - 1}.jpg" in refusal(shrunk_copies, paths, 15, KEY)
    files = times(path for path in cache_dir().rglob("*") if path.is_file())
    assert {path.name for path in files} == set(paths.index[:-1])
    paths.iloc[-1].write_bytes(content)
    shrunk_copies(paths, 15, KEY)
    assert times(files) == files


def test_a_folder_that_cannot_be_written_is_one_line(paths, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("PADDY_WORK", str(tmp_path / "file"))
    assert "cannot write" in refusal(shrunk_copies, paths, 15, KEY)


@pytest.mark.parametrize("augment", ["fastai", "fast"])
def test_training_reads_copies_and_the_hold_out_reads_photographs(
    competition_once, tmp_path, monkeypatch, augment, in_this_process
):
    monkeypatch.setenv("PADDY_WORK", str(tmp_path))
    plain, cached = (loaders(competition_once, tmp_path, tiny(augment=augment, cache=side))
                     for side in (0, 48))
    for split in ("train_ds", "valid_ds"):
        one, other = (getattr(dls, split) for dls in (plain, cached))
        assert [path.name for path in other.items] == [path.name for path in one.items]
        assert [int(y) for _, y in other] == [int(y) for _, y in one]
    assert all(cache_dir() in path.parents for path in cached.train_ds.items)
    assert cached.valid_ds.items == plain.valid_ds.items
    assert cached.train.one_batch()[0].shape == (8, 3, 32, 32)
