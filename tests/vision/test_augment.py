"""Fast views: fastai's distribution, read at a reduced scale; the plain view is left as it is."""

import pickle
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import TINY
from fastai.vision.all import (
    IntToFloatTensor,
    Normalize,
    Pipeline,
    TensorImage,
    image2tensor,
    load_learner,
    set_seed,
)
from matplotlib import pyplot
from PIL import Image
from small_training import flat, tiny, train

from src.core import CHOICES, make_variant
from src.training import get_learner
from src.vision import augment
from src.vision import loaders as data
from src.vision.pixels import item_share
from src.vision.views import Frame, frame_of

DRAWS = 160
SQUISH = Frame((480, 480), "squish", (128, 128), 0.75)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)  # loader processes are forked: no thread of torch may stand by


@pytest.fixture
def photograph(tmp_path):
    """A JPEG of soft, bright colours: no black but what padding adds."""
    return save(tmp_path / "a.jpg", (480, 640))


def save(path, size, **options):
    colours = np.random.default_rng(0).integers(40, 256, (7, 6, 3), dtype=np.uint8)
    Image.fromarray(colours).resize(size, Image.Resampling.BICUBIC).save(path, **options)
    return path


def loaders(folder, processes=0, **changes):
    """DataLoaders of the tiny fast variant with `changes`; every fifth image is held out."""
    variant = make_variant(**TINY | {"augment": "fast"} | changes)
    ids = pd.read_csv(folder / "train.csv").image_id
    folds = pd.Series(np.arange(len(ids)) % 5, ids)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "workers", lambda: processes)
        return data.get_dls(folder, folds, variant)


def images(dl) -> torch.Tensor:
    """All images of one epoch."""
    return torch.cat([torch.Tensor(x) for x, *_ in dl])


def repeat(path, dls) -> None:
    """Make every training image the photograph at `path`."""
    labelled = path.parent / dls.vocab[0] / path.name
    labelled.parent.mkdir(exist_ok=True)
    shutil.copy(path, labelled)
    dls.train_ds.tls[0].items[:] = [labelled] * len(dls.train_ds)


# reading


@pytest.mark.parametrize(
    ("size", "seen"), [(480, (480, 640)), (256, (480, 640)), (224, (240, 320)), (56, (120, 160))]
)
@pytest.mark.parametrize(("orientation", "stored"), [(1, (480, 640)), (6, (640, 480))])
def test_a_jpeg_is_read_upright_at_the_scale_the_view_needs(
    tmp_path, size, seen, orientation, stored
):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a.jpg", stored, exif=exif)
    assert augment.open_image(path).size == (480, 640)
    image = augment.open_image(path, SQUISH._replace(size=(size, size)))
    assert (image.mode, image.size) == ("RGB", seen)


@pytest.mark.parametrize("resize", CHOICES["resize"])
def test_reading_leaves_a_pixel_for_every_pixel_of_the_whole_view(photograph, resize):
    item_size = (640, 480) if resize == "rect" else (640, 640)
    for size in (32, 100, 160, 200, 224, 256, 320):
        frame = Frame(item_size, resize, (size, size * item_size[1] // item_size[0]), 0.75)
        image = augment.open_image(photograph, frame)
        seen = np.array(image.size[::-1]) * item_share(image.size[::-1], frame)
        assert (seen >= frame.size).all()


@pytest.mark.parametrize(
    ("item_size", "size"), [(480, 96), (480, 128), (480, 160), (480, 224), (480, 320), (128, 96)]
)
def test_random_views_are_as_sharp_as_fastais(tmp_path, item_size, size):
    grain = np.random.default_rng(0).integers(0, 256, (213, 160, 3), dtype=np.uint8)
    photo = Image.fromarray(grain).resize((480, 640), Image.Resampling.BICUBIC)
    photo.save(path := tmp_path / "a.jpg", quality=90)
    variant = make_variant(item_size=item_size, size=size)
    item = image2tensor(data.item_tfms(variant)(augment.open_image(path), split_idx=0))
    *tfms, _ = data.batch_tfms(variant)
    set_seed(0)
    batches = [TensorImage(item.expand(2, -1, -1, -1).clone()) for _ in range(12)]
    theirs = torch.cat([Pipeline(tfms, split_idx=0)(batch) for batch in batches]) * 255
    rng = np.random.default_rng(0)
    ours = torch.stack([augment.random_view(path, frame_of(variant), rng) for _ in range(24)])
    for axis in (2, 3):
        steps = [torch.Tensor(views.float()).diff(n=2, dim=axis).std() for views in (ours, theirs)]
        assert steps[0] / steps[1] == pytest.approx(1, abs=0.25)


@pytest.mark.parametrize(("mode", "suffix"), [("L", "jpg"), ("CMYK", "jpg"), ("RGBA", "png")])
def test_other_colour_modes_become_rgb(tmp_path, mode, suffix):
    Image.new("RGB", (480, 640), "red").convert(mode).save(tmp_path / f"a.{suffix}")
    view = augment.random_view(tmp_path / f"a.{suffix}", SQUISH, np.random.default_rng(0))
    assert view.shape == (3, 128, 128) and view.dtype == torch.uint8


@pytest.mark.parametrize("resize", CHOICES["resize"])
def test_the_reduced_scale_changes_a_view_by_a_few_grey_levels(photograph, monkeypatch, resize):
    frame = Frame((640, 480), resize, (128, 96), 0.75)
    reduced = augment.random_view(photograph, frame, np.random.default_rng(1))
    whole = augment.open_image(photograph)
    monkeypatch.setattr(augment, "open_image", lambda path, frame: whole)
    full = augment.random_view(photograph, frame, np.random.default_rng(1))
    assert (reduced.float() - full.float()).abs().mean() < 1


# the distribution, from the file to the batch


@pytest.mark.parametrize("resize", ["squish", "crop"])
def test_batches_have_fastais_mean_and_deviation_at_every_pixel(
    competition_once, photograph, resize
):
    batches = []
    for way in ("fastai", "fast"):
        dls = loaders(competition_once, augment=way, resize=resize, bs=2)
        repeat(photograph, dls)
        set_seed(0)
        epochs = DRAWS // len(dls.train_ds)
        batches.append(torch.cat([images(dls.train) for _ in range(epochs)]))
    theirs, ours = batches
    error = theirs.std(0) / DRAWS**0.5
    assert ((ours.mean(0) - theirs.mean(0)).abs() / error).mean() < 1.6
    assert abs((ours.std(0) / theirs.std(0)).mean() - 1) < 0.1


@pytest.mark.parametrize("resize", CHOICES["resize"])
def test_the_hold_out_is_seen_as_fastai_shows_it(competition_once, resize):
    item_size = "64x48" if resize == "rect" else 64
    fastai, fast = (
        loaders(competition_once, augment=way, resize=resize, item_size=item_size)
        for way in ("fastai", "fast")
    )
    assert (images(fast.valid) - images(fastai.valid)).abs().max() < 1e-4
    path = fast.train_ds.items[0]
    of_file, of_name = (fast.test_dl([item]).one_batch()[0] for item in (path, str(path)))
    assert torch.equal(of_file, of_name)
    assert (of_file - fastai.test_dl([path]).one_batch()[0]).abs().max() < 1e-4


# random numbers


def test_a_seed_repeats_its_epochs_and_every_epoch_is_another(competition_once):
    dls = loaders(competition_once, processes=2)

    def epochs(seed):
        set_seed(seed)
        dls.train.rng.seed(seed)
        return [images(dls.train) for _ in range(2)]

    first, again, other = epochs(1), epochs(1), epochs(2)
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[0], first[1]) and not torch.equal(first[0], other[0])


def test_loader_processes_do_not_repeat_each_others_views(competition_once, photograph):
    dls = loaders(competition_once, processes=2, bs=4)
    repeat(photograph, dls)
    views = images(dls.train)
    assert len(views.flatten(1).unique(dim=0)) == len(views) == 24


def test_the_same_seed_trains_the_same_weights(competition_once, tmp_path):
    def weights(seed):
        variant = tiny(augment="fast", seed=seed)
        return flat(train(competition_once, tmp_path / str(seed), variant))

    first, again, other = weights(1), weights(1), weights(2)
    assert torch.equal(first, again) and not torch.equal(first, other)


# pickles and pictures


def test_views_survive_pickling(photograph):
    views = pickle.loads(pickle.dumps(augment.FastViews(SQUISH, data.item_tfms(make_variant()))))
    plain, view = views(photograph, split_idx=1), views(photograph, split_idx=0)
    assert isinstance(plain, TensorImage) and plain.dtype == torch.float32
    assert isinstance(view, TensorImage) and view.dtype == torch.uint8
    assert plain.shape == view.shape == (3, 128, 128)


def test_an_exported_learner_answers_as_before(competition_once, tmp_path):
    dls = loaders(competition_once)
    learn = get_learner(dls, make_variant(**TINY, augment="fast"))
    files = list(dls.valid_ds.items)
    learn.export(tmp_path / "a.pkl")
    reloaded = load_learner(tmp_path / "a.pkl")
    reloaded.dls.num_workers = 2
    with learn.no_bar(), reloaded.no_bar():
        before, _ = learn.get_preds(dl=learn.dls.test_dl(files))
        after, _ = reloaded.get_preds(dl=reloaded.dls.test_dl(files, num_workers=2))
        *_, one = reloaded.predict(str(files[0]))
    assert torch.equal(before, after)
    assert (one - before[0]).abs().max() < 1e-5


def test_a_batch_can_be_looked_at(competition_once):
    dls = loaders(competition_once)
    dls.show_batch(max_n=8, nrows=2)
    shown = [axes.images[0].get_array() for axes in pyplot.gcf().axes if axes.images]
    titles = {axes.get_title() for axes in pyplot.gcf().axes}
    pyplot.close("all")
    assert len(shown) == 8 and titles <= set(dls.vocab)
    assert all(0 <= picture.min() and picture.max() <= 1 for picture in shown)
    assert np.std([picture.mean() for picture in shown]) > 0


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])  # in training, of the hold-out
def test_batches_are_normalised_as_by_fastai(kind):
    stats = [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]
    pixels = torch.randint(0, 256, (2, 3, 5, 7)).to(kind)
    theirs = Pipeline([IntToFloatTensor(), Normalize.from_stats(*stats, cuda=False)])
    ours = augment.NormalizeBytes.from_stats(*stats, cuda=False)(TensorImage(pixels.clone()))
    torch.testing.assert_close(ours, theirs(TensorImage(pixels)))
