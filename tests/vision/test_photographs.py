"""What a model sees of a photograph: the size asked, nothing lost, RGB and upright."""

import random

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from small_training import loaders, tiny

from src.core import CHOICES, UserError, height_width
from src.vision import frame_of
from src.vision import loaders as data
from src.vision.augment import FastViews
from src.vision.photograph import shrunk_copies

pytestmark = pytest.mark.usefixtures("in_this_process")
RED, GREEN, BLUE, WHITE = (230, 20, 20), (20, 230, 20), (20, 20, 230), (230, 230, 230)


def four_corners(height: int, width: int) -> Image.Image:
    """Red and green above, blue and white below: every turn and every lost edge shows."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2], pixels[: height // 2, width // 2 :] = RED, GREEN
    pixels[height // 2 :, : width // 2], pixels[height // 2 :, width // 2 :] = BLUE, WHITE
    return Image.fromarray(pixels)


def corners(image: Image.Image) -> list[tuple[int, ...]]:
    """The colours two pixels inside the corners: above left, above right, below left and right."""
    width, height = image.size
    return [image.getpixel((x, y)) for y in (2, height - 3) for x in (2, width - 3)]


def alike(seen, wanted) -> bool:
    """Whether all `seen` colours are the `wanted` ones, as far as JPEG and CMYK keep them."""
    return bool((np.abs(np.array(seen) - np.array(wanted)) < 45).all())


# the resize


@pytest.mark.parametrize("resize", CHOICES["resize"])
@pytest.mark.parametrize(
    ("item_size", "size"), [("64x48", "48x32"), ("96x64", 32), (48, 32), (40, "32x64")]
)
def test_every_resize_gives_the_size_asked_height_first(
    competition_once, tmp_path, resize, item_size, size
):
    if resize == "rect" and item_size in (48, 40):
        item_size = "48x40"
    variant = tiny(resize=resize, item_size=item_size, size=size)
    dls = loaders(competition_once, tmp_path, variant)
    item = data.item_tfms(variant)(data.open_image(dls.train_ds.items[0]))
    assert item.size[::-1] == height_width(item_size)  # PIL's size is width, height
    for dl in (dls.train, dls.valid):
        x, _ = dl.one_batch()
        assert x.shape[1:] == (3, *height_width(size))


@pytest.mark.parametrize("min_scale", [0.35, 1])
def test_size_is_right_with_and_without_random_crops(competition_once, tmp_path, min_scale):
    dls = loaders(competition_once, tmp_path, tiny(min_scale=min_scale, size="48x32"))
    assert [dl.one_batch()[0].shape[2:] for dl in (dls.train, dls.valid)] == [(48, 32)] * 2


@pytest.fixture
def photograph(tmp_path):
    """A file of an upright photograph whose corners can be told apart."""
    path = tmp_path / "upright.jpg"
    four_corners(640, 480).save(path, quality=95)
    return path


def test_squish_keeps_all_corners(photograph):
    image = data.item_tfms(tiny(resize="squish", item_size=96))(data.open_image(photograph))
    assert image.size == (96, 96)
    assert alike(corners(image), [RED, GREEN, BLUE, WHITE])


def test_pad_keeps_the_shape_and_adds_black_at_the_sides(photograph):
    resize = data.item_tfms(tiny(resize="pad", item_size=96))
    image = resize(data.open_image(photograph), split_idx=1)
    pixels = np.asarray(image)
    assert image.size == (96, 96)
    assert (pixels[:, :11] == 0).all() and (pixels[:, -11:] == 0).all()  # 96 - 72 columns
    assert alike(corners(image.crop((12, 0, 84, 96))), [RED, GREEN, BLUE, WHITE])


def test_crop_keeps_the_shape_and_loses_edges(photograph):
    pixels = np.asarray(four_corners(640, 480)).copy()
    pixels[:20], pixels[-20:] = 0, 0  # a black rim above and below
    Image.fromarray(pixels).save(photograph, quality=95)
    resize = data.item_tfms(tiny(resize="crop", item_size=96))
    image = resize(data.open_image(photograph), split_idx=1)
    assert image.size == (96, 96)
    assert alike(corners(image), [RED, GREEN, BLUE, WHITE])


def test_rect_keeps_an_upright_photograph_as_it_is(photograph):
    variant = tiny(resize="rect", item_size="128x96", size="64x48")
    image = data.item_tfms(variant)(data.open_image(photograph))
    assert image.size == (96, 128)
    assert alike(corners(image), [RED, GREEN, BLUE, WHITE])


@pytest.mark.parametrize(
    ("resize", "item_size", "size"),
    [("rect", "128x96", "64x48"), ("rect", "128x96", "96x64"), ("squish", 96, 64)],
)
def test_the_hold_out_view_shows_the_whole_photograph(
    competition_once, tmp_path, photograph, resize, item_size, size
):
    pixels = np.asarray(four_corners(640, 480)).copy()
    pixels[60:-60], pixels[:, 45:-45] = 0, 0  # black but for the corners: a lost edge shows
    Image.fromarray(pixels).save(photograph, quality=95)
    variant = tiny(resize=resize, item_size=item_size, size=size)
    dls = loaders(competition_once, tmp_path, variant)
    batch = dls.test_dl([photograph]).one_batch()[0]
    mean, std = (torch.tensor(s)[:, None, None] for s in data.backbone.stats(variant.arch))
    pixels = (batch[0].cpu() * std + mean).permute(1, 2, 0).mul(255).round().clip(0, 255)
    image = Image.fromarray(np.asarray(pixels).astype(np.uint8))
    assert image.size[::-1] == height_width(size)
    assert alike(corners(image), [RED, GREEN, BLUE, WHITE])


def test_training_varies_the_photographs_and_the_hold_out_does_not(competition_once, tmp_path):
    dls = loaders(competition_once, tmp_path, tiny())
    item = dls.train_ds.items[0]
    views = [dls.test_dl([item] * 2).one_batch()[0] for _ in range(2)]
    assert torch.equal(views[0], views[1]) and torch.equal(views[0][0], views[0][1])
    dls.train.after_batch.split_idx = 0
    x = torch.stack([dls.train.do_item(0)[0]] * 2)
    assert not torch.equal(*dls.train.after_batch((x,))[0])


# what counts as a photograph


def save_grayscale(path):
    four_corners(64, 48).convert("L").save(path)


def save_16_bits(path):
    greys = np.asarray(four_corners(64, 48).convert("L")).astype(np.uint16)
    Image.fromarray(greys * 257).save(path, format="PNG")


def save_cmyk(path):
    four_corners(64, 48).convert("CMYK").save(path, quality=95)


def save_png_with_alpha(path):
    four_corners(64, 48).convert("RGBA").save(path, format="PNG")  # PNG's bytes named .jpg


def save_palette(path):
    four_corners(64, 48).convert("P").save(path, format="PNG")


def save_rotated(path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown a quarter turn to the right
    four_corners(64, 48).transpose(Image.Transpose.ROTATE_90).save(path, quality=95, exif=exif)


def save_upright(path):
    four_corners(64, 48).save(path, quality=95)


ODD = [save_cmyk, save_png_with_alpha, save_palette, save_rotated, save_upright]


@pytest.mark.parametrize("save", ODD)
def test_odd_pictures_become_rgb_and_upright(tmp_path, save):
    save(tmp_path / "odd.jpg")
    image = data.open_image(tmp_path / "odd.jpg")
    assert (image.mode, image.size) == ("RGB", (48, 64))
    assert alike(corners(image), [RED, GREEN, BLUE, WHITE])


@pytest.mark.parametrize("save", [save_grayscale, save_16_bits])
def test_grayscale_becomes_rgb_of_the_same_grays(tmp_path, save):
    save(tmp_path / "gray.jpg")
    image = data.open_image(tmp_path / "gray.jpg")
    assert (image.mode, image.size) == ("RGB", (48, 64))
    assert alike(corners(image), [(gray,) * 3 for gray in (83, 143, 44, 230)])


def test_picture_of_the_other_orientation_is_left_as_it_is(tmp_path):
    four_corners(48, 64).save(tmp_path / "wide.jpg", quality=95)
    image = data.open_image(tmp_path / "wide.jpg")
    assert image.size == (64, 48)
    assert alike(corners(image), [RED, GREEN, BLUE, WHITE])


@pytest.mark.parametrize("resize", CHOICES["resize"])
def test_a_batch_mixes_all_of_them(competition_once, tmp_path, resize):
    variant = tiny(resize=resize, item_size="64x48", size=32)
    dls = loaders(competition_once, tmp_path, variant)
    paths = [tmp_path / f"{number}.jpg" for number in range(8)]
    for save, path in zip([*ODD, save_grayscale, save_16_bits], paths, strict=False):
        save(path)
    four_corners(48, 64).save(paths[-1])
    assert dls.test_dl(paths).one_batch()[0].shape == (8, 3, 32, 32)


def test_every_reader_shows_a_16_bit_picture_as_the_one_it_was_made_from(tmp_path, monkeypatch):
    monkeypatch.setenv("PADDY_WORK", str(tmp_path / "work"))
    variant, seen = tiny(augment="fast"), []
    views = FastViews(frame_of(variant), data.item_tfms(variant))
    for save in (save_16_bits, save_grayscale):
        save(path := tmp_path / f"{save.__name__}.jpg")
        (copy,) = shrunk_copies(pd.Series({path.name: path}), 32, "0" * 12)
        random.seed(1)
        drawn, plain = (views(path, split_idx=split) for split in (0, 1))
        pictures = data.open_image(path), Image.open(copy), drawn, plain
        seen.append([np.asarray(picture, np.float32) for picture in pictures])
    for deep, plain in zip(*seen, strict=True):
        assert np.abs(deep - plain).max() < 9


def cut(path):
    save_upright(path)
    path.write_bytes(path.read_bytes()[:700])


@pytest.mark.parametrize(
    "spoil",
    [cut, lambda path: path.write_text("not a picture"), lambda path: path.write_bytes(b"")],
    ids=["truncated", "text", "empty"],
)
def test_unreadable_picture_is_named_in_one_line(tmp_path, spoil):
    spoil(tmp_path / "100330.jpg")
    with pytest.raises(UserError) as error:
        data.open_image(tmp_path / "100330.jpg")
    assert str(error.value).startswith(f"cannot read {tmp_path / '100330.jpg'}: ")
    assert "replace the file" in str(error.value) and "\n" not in str(error.value)
    assert str(error.value).count("100330.jpg") == 1
