"""Photographs to DataLoaders: the saved hold-out, the size asked, RGB and upright."""

import os
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import TINY, draw_competition
from PIL import Image

from src import data
from src.config import UserError
from src.folds import get_folds
from src.variant import CHOICES, height_width, make_variant

RED, GREEN, BLUE, WHITE = (230, 20, 20), (20, 230, 20), (20, 20, 230), (230, 230, 230)


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    """No loader processes: the batches are tiny, their start is not."""
    monkeypatch.setattr(data, "workers", lambda: 0)


def tiny(**changes):
    """The tiny variant of the tests, with `changes`."""
    return make_variant(**TINY | changes)


def loaders(folder, models, variant):
    """The DataLoaders of `variant`, on the split kept in `models`."""
    return data.get_dls(folder, get_folds(folder, variant.seed, models), variant)


def held_out(dls) -> set[str]:
    return {path.name for path in dls.valid_ds.items}


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
    x = torch.stack([data.IntToFloatTensor()(dls.train.do_item(0)[0])] * 2)
    assert not torch.equal(*dls.train.after_batch((x,))[0])


# what counts as a photograph


def save_grayscale(path):
    four_corners(64, 48).convert("L").save(path)


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


def test_grayscale_becomes_rgb_of_the_same_grays(tmp_path):
    save_grayscale(tmp_path / "gray.jpg")
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
    paths = [tmp_path / f"{number}.jpg" for number in range(7)]
    for save, path in zip([*ODD, save_grayscale], paths, strict=False):
        save(path)
    four_corners(48, 64).save(paths[-1])
    assert dls.test_dl(paths).one_batch()[0].shape == (7, 3, 32, 32)


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
        assert f"loading with {processes}, more slowly" in told
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
