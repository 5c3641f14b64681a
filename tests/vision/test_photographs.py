"""Photographs on disk: resized, RGB and upright; shrunk copies, current, whole or not at all."""

import os

import numpy as np
import pandas as pd
import pytest
from conftest import refusal
from PIL import Image
from small_pictures import picture, truncate
from small_training import loaders, tiny

from src.core import cache_dir, height_width
from src.vision import item_tfms, open_image
from src.vision.photograph import shrunk_copies

pytestmark = pytest.mark.usefixtures("in_this_process")
CORNERS = RED, GREEN, BLUE, WHITE = (230, 20, 20), (20, 230, 20), (20, 20, 230), (230, 230, 230)
GREYS = [(grey,) * 3 for grey in (83, 143, 44, 230)]  # of these colours
KEY = "0123456789abcdef"
PHOTOS = 6


def four_corners(height: int, width: int, rim: int = 0) -> Image.Image:
    """Red and green above, blue and white below; above and below these a black `rim`."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2], pixels[: height // 2, width // 2 :] = RED, GREEN
    pixels[height // 2 :, : width // 2], pixels[height // 2 :, width // 2 :] = BLUE, WHITE
    pixels[:rim], pixels[height - rim :] = 0, 0
    return Image.fromarray(pixels)


def has_corners(image: Image.Image, wanted=CORNERS) -> bool:
    """Whether two pixels inside the corners are the `wanted` colours, as far as JPEG keeps them."""
    width, height = image.size
    seen = [image.getpixel((x, y)) for y in (2, height - 3) for x in (2, width - 3)]
    return bool((np.abs(np.array(seen) - np.array(wanted)) < 45).all())


@pytest.mark.parametrize(
    ("resize", "item_size", "size", "min_scale"),
    [("rect", "64x48", "48x32", 1), ("pad", "40x48", "32x64", 0.35)],
)
def test_every_resize_gives_the_wanted_size_height_first(
    competition_once, tmp_path, resize, item_size, size, min_scale
):
    variant = tiny(resize=resize, item_size=item_size, size=size, min_scale=min_scale)
    dls = loaders(competition_once, tmp_path, variant)
    item = item_tfms(variant)(open_image(dls.train_ds.items[0]))
    assert item.size[::-1] == height_width(item_size)  # PIL's size is width, height
    for dl in (dls.train, dls.valid):
        assert dl.one_batch()[0].shape[1:] == (3, *height_width(size))


@pytest.mark.parametrize(
    ("resize", "rim", "black"), [("squish", 0, 0), ("pad", 0, 12), ("crop", 20, 0)]
)
def test_resize_squishes_crops_the_edges_or_pads_with_black(tmp_path, resize, rim, black):
    four_corners(640, 480, rim).save(path := tmp_path / "a.jpg", quality=95)
    image = item_tfms(tiny(resize=resize, item_size=96))(open_image(path), split_idx=1)
    assert image.size == (96, 96)
    pixels = np.asarray(image)
    assert (pixels[:, : max(0, black - 1)] == 0).all() and (pixels[:, 97 - black :] == 0).all()
    assert has_corners(image.crop((black, 0, 96 - black, image.height)))


@pytest.mark.parametrize(
    ("mode", "kind", "colours"),
    [("RGB", "JPEG", CORNERS), ("CMYK", "JPEG", CORNERS), ("RGBA", "PNG", CORNERS),
     ("P", "PNG", CORNERS), ("L", "JPEG", GREYS), ("I;16", "PNG", GREYS)],
)
def test_pictures_of_every_mode_become_rgb(tmp_path, mode, kind, colours):
    image = four_corners(64, 48)
    if mode == "I;16":  # PIL's own conversion would not use the 16 bits
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    image.convert(mode).save(path := tmp_path / "odd.jpg", kind)
    image = open_image(path)
    assert (image.mode, image.size) == ("RGB", (48, 64)) and has_corners(image, colours)


@pytest.mark.parametrize("lost", [200, 10_000], ids=["cut short", "empty"])
def test_unreadable_picture_is_named_in_one_line(tmp_path, lost):
    picture(path := tmp_path / "100330.jpg")
    truncate(path, lost)
    line = refusal(open_image, path)
    assert line.startswith(f"cannot read {path}: ") and line.count("100330.jpg") == 1


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
    competition_once, tmp_path, monkeypatch, augment
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
