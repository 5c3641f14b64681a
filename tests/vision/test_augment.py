"""Fast views: fastai's distribution, read at a reduced scale; the plain view is left as it is."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from fastai.vision import all as fastai
from fastai.vision.all import TensorImage, set_seed
from PIL import Image
from small_training import loaders as loaders_of
from small_training import tiny

from src.core import make_variant
from src.vision import Frame, augment, batch_tfms, frame_of, item_tfms
from src.vision import loaders as data

DRAWS = 160
SQUISH = Frame((480, 480), "squish", (128, 128), 0.75)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)  # loader processes are forked: no thread of torch may stand by


@pytest.fixture
def photograph(tmp_path):
    """A JPEG of soft, bright colours: no black but what padding adds."""
    return save(tmp_path / "a.jpg", (480, 640))


def save(path, size, grid=(7, 6), **options):
    colours = np.random.default_rng(0).integers(40, 256, (*grid, 3), dtype=np.uint8)
    Image.fromarray(colours).resize(size, Image.Resampling.BICUBIC).save(path, **options)
    return path


@pytest.fixture
def loaders(competition_once, tmp_path, monkeypatch):
    """Call it for DataLoaders of the tiny fast variant with `changes`."""

    def make(processes=0, **changes):
        monkeypatch.setattr(data, "workers", lambda: processes)
        return loaders_of(competition_once, tmp_path, tiny(**{"augment": "fast"} | changes))

    return make


def images(dl) -> torch.Tensor:
    return torch.cat([torch.Tensor(x) for x, *_ in dl])


def repeat(path, dls) -> None:
    """Make every training image the photograph at `path`."""
    labelled = path.parent / dls.vocab[0] / path.name
    labelled.parent.mkdir(exist_ok=True)
    shutil.copy(path, labelled)
    dls.train_ds.tls[0].items[:] = [labelled] * len(dls.train_ds)


# reading


@pytest.mark.parametrize(
    ("size", "seen"),
    [((480, 480), (480, 640)), ((256, 256), (480, 640)), ((224, 224), (240, 320)),
     ((56, 56), (120, 160)), ((320, 56), (240, 320))],
)
@pytest.mark.parametrize(("orientation", "stored"), [(1, (480, 640)), (6, (640, 480))])
def test_a_jpeg_is_read_upright_at_the_scale_the_view_needs(
    tmp_path, size, seen, orientation, stored
):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a.jpg", stored, exif=exif)
    image = augment.open_image(path, SQUISH._replace(size=size))
    assert (image.mode, image.size) == ("RGB", seen)


@pytest.mark.parametrize(
    ("item_size", "size"), [(480, 96), (480, 160), (480, 224), (480, 320), (128, 96)]
)
def test_random_views_are_as_sharp_as_fastais(tmp_path, item_size, size):
    path = save(tmp_path / "grain.jpg", (480, 640), (213, 160), quality=90)
    variant = make_variant(item_size=item_size, size=size, augment="fastai")
    item = fastai.image2tensor(item_tfms(variant)(augment.open_image(path), split_idx=0))
    *tfms, _ = batch_tfms(variant)
    set_seed(0)
    batches = [TensorImage(item.expand(2, -1, -1, -1).clone()) for _ in range(12)]
    theirs = torch.cat([fastai.Pipeline(tfms, split_idx=0)(batch) for batch in batches]) * 255
    rng = np.random.default_rng(0)
    ours = torch.stack([augment.random_view(path, frame_of(variant), rng) for _ in range(24)])
    for axis in (2, 3):
        steps = [torch.Tensor(views.float()).diff(n=2, dim=axis).std() for views in (ours, theirs)]
        assert steps[0] / steps[1] == pytest.approx(1, abs=0.25)


# from the file to the batch


@pytest.mark.parametrize("resize", ["squish", "crop", "pad"])
def test_batches_have_fastais_mean_and_deviation_at_every_pixel(loaders, photograph, resize):
    batches = []
    for way in ("fastai", "fast"):
        dls = loaders(augment=way, resize=resize, bs=2)
        repeat(photograph, dls)
        set_seed(0)
        epochs = DRAWS // len(dls.train_ds)
        batches.append(torch.cat([images(dls.train) for _ in range(epochs)]))
    theirs, ours = batches
    error = theirs.std(0) / DRAWS**0.5
    assert ((ours.mean(0) - theirs.mean(0)).abs() / error).mean() < 1.6
    assert abs((ours.std(0) / theirs.std(0)).mean() - 1) < 0.1


@pytest.mark.parametrize(("resize", "item_size"), [("crop", 64), ("pad", 64), ("rect", "64x48")])
def test_the_hold_out_is_seen_as_fastai_shows_it(loaders, resize, item_size):
    recipe = {"resize": resize, "item_size": item_size}
    fast, theirs = loaders(**recipe), loaders(**recipe, augment="fastai")
    assert (images(fast.valid) - images(theirs.valid)).abs().max() < 1e-4
    path = fast.train_ds.items[0]
    of_file, of_name = (fast.test_dl([item]).one_batch()[0] for item in (path, str(path)))
    assert torch.equal(of_file, of_name)
    assert (of_file - theirs.test_dl([path]).one_batch()[0]).abs().max() < 1e-4


def test_a_seed_repeats_its_epochs_and_no_view_is_drawn_twice(loaders, photograph):
    dls = loaders(processes=2, bs=4)
    repeat(photograph, dls)

    def epochs(seed):
        set_seed(seed)
        dls.train.rng.seed(seed)
        return [images(dls.train) for _ in range(2)]

    first, again, other = epochs(1), epochs(1), epochs(2)
    assert torch.equal(torch.cat(first), torch.cat(again))
    views = torch.cat(first + other)  # of two loader processes, two epochs and two seeds
    assert len(views.flatten(1).unique(dim=0)) == len(views) == 4 * 24


@pytest.mark.parametrize("split", [0, 1])
def test_views_survive_pickling_and_are_normalised_as_by_fastai(photograph, split):
    views = augment.FastViews(SQUISH, item_tfms(make_variant()))
    view = pickle.loads(pickle.dumps(views))(Path(photograph), split_idx=split)
    assert view.shape == (3, 128, 128) and view.dtype == (torch.float32 if split else torch.uint8)
    stats = [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]
    tfms = [fastai.IntToFloatTensor(), fastai.Normalize.from_stats(*stats, cuda=False)]
    ours = augment.NormalizeBytes.from_stats(*stats, cuda=False)(view[None].clone())
    torch.testing.assert_close(ours, fastai.Pipeline(tfms)(view[None]))
