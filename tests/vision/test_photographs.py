"""What a model sees of a photograph: the right size, nothing lost, RGB and upright."""


import numpy as np
import pytest
from conftest import refusal
from PIL import Image
from small_pictures import picture, truncate
from small_training import loaders, tiny

from src.core import height_width
from src.vision import item_tfms, open_image

pytestmark = pytest.mark.usefixtures("in_this_process")
CORNERS = RED, GREEN, BLUE, WHITE = (230, 20, 20), (20, 230, 20), (20, 20, 230), (230, 230, 230)
GREYS = [(grey,) * 3 for grey in (83, 143, 44, 230)]  # of these colours


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
