"""Every mode of Pillow becomes 8-bit RGB that shows the picture it was made from."""

import warnings

import numpy as np
import pytest
from PIL import Image, ImageCms

from src.competition import to_rgb
from src.competition.images import inspect

# Soft colours between a black and a white corner: the greys span 0 … 255.
ROWS, COLUMNS = np.mgrid[0:32, 0:24]
COLOURS = np.stack([ROWS * 8, COLUMNS * 10, 255 - ROWS * 4 - COLUMNS * 4], axis=2)
COLOURS[:4, :4], COLOURS[-4:, -4:] = 0, 255
PICTURE = Image.fromarray(COLOURS.astype(np.uint8))
GREY = PICTURE.convert("L")
GREYS = np.asarray(GREY)
PALETTE = PICTURE.convert("P", palette=Image.Palette.ADAPTIVE)


def difference(seen: Image.Image, wanted: Image.Image) -> float:
    """By how many levels of 255 a pixel differs on average."""
    assert (seen.mode, seen.size) == ("RGB", wanted.size)
    pair = (np.asarray(image.convert("RGB")).astype(int) for image in (seen, wanted))
    return float(np.abs(np.subtract(*pair)).mean())


def with_alpha(mode: str) -> Image.Image:
    """The picture, half transparent."""
    image = PICTURE.convert(mode)
    image.putalpha(128)
    return image


def in_lab() -> Image.Image:
    srgb, lab = map(ImageCms.createProfile, ("sRGB", "LAB"))
    return ImageCms.profileToProfile(PICTURE, srgb, lab, outputMode="LAB")


def deep(mode: str, kind: str) -> Image.Image:
    """The greys as 16-bit integers, 255 as 65535."""
    return Image.frombytes(mode, GREY.size, (GREYS.astype(kind) * 257).tobytes())


MODES = {  # name → a picture in that mode, what it shows, how far off it may be, files that keep it
    "RGB": (PICTURE, PICTURE, 0),
    "RGBX": (PICTURE.convert("RGBX"), PICTURE, 0),
    "RGBA": (with_alpha("RGBA"), PICTURE, 0, "png"),
    "RGBa": (with_alpha("RGBA").convert("RGBa"), PICTURE, 1),
    "CMYK": (PICTURE.convert("CMYK"), PICTURE, 0, "tif"),
    "YCbCr": (PICTURE.convert("YCbCr"), PICTURE, 2),
    "HSV": (PICTURE.convert("HSV"), PICTURE, 1),
    "LAB": (in_lab(), PICTURE, 2, "tif"),
    "P": (PALETTE, PALETTE, 0, "png"),
    "PA": (PALETTE.convert("PA"), PALETTE, 0, "tif"),
    "1": (GREY.convert("1"), GREY.convert("1"), 0, "png"),
    "L": (GREY, GREY, 0),
    "LA": (with_alpha("LA"), GREY, 0, "png"),
    "La": (with_alpha("LA").convert("La"), GREY, 1),
    "I;16": (deep("I;16", "<u2"), GREY, 0, "png", "tif"),
    "I;16B": (deep("I;16B", ">u2"), GREY, 0, "tif"),
    "I": (Image.fromarray(GREYS.astype(np.int32) * 65537 - 9), GREY, 0, "tif"),
    "F": (Image.fromarray(GREYS.astype(np.float32) / 255 + 100), GREY, 0.01, "tif", "pfm"),
}


@pytest.mark.parametrize("mode", MODES)
def test_a_picture_of_every_mode_is_the_one_it_was_made_from(tmp_path, mode):
    image, shown, allowed, *kinds = MODES[mode]
    assert image.mode == mode
    assert difference(to_rgb(image), shown) <= allowed
    for kind in kinds:
        image.save(tmp_path / f"a.{kind}")
        with Image.open(tmp_path / f"a.{kind}") as opened:
            assert opened.mode == mode
            assert difference(to_rgb(opened), shown) <= allowed
        assert inspect(tmp_path / f"a.{kind}").problem == ""


def test_a_transparent_palette_gives_its_colours_and_no_warning(tmp_path):
    PALETTE.save(tmp_path / "a.png", transparency=bytes([0, 128, 255]))
    with warnings.catch_warnings(action="error"), Image.open(tmp_path / "a.png") as image:
        assert isinstance(image.info["transparency"], bytes)
        assert difference(to_rgb(image), PALETTE) == 0


@pytest.mark.filterwarnings("error")
def test_a_picture_of_a_single_value_is_black_and_values_not_finite_are_refused(tmp_path):
    assert to_rgb(Image.fromarray(np.full((2, 3), 7, np.float32))).getextrema() == ((0, 0),) * 3
    for value in (np.nan, np.inf):
        values = GREYS.astype(np.float32)
        values[3, 3] = value
        Image.fromarray(values).save(tmp_path / "a.tif")
        assert "no finite numbers" in inspect(tmp_path / "a.tif").problem
