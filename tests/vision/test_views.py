"""Views: the same distribution as fastai's own transforms, cut once, whatever the order."""

import random
from functools import cache

import numpy as np
import pytest
import torch
from fastai.vision import all as fastai
from fastai.vision.all import TensorImage, image2tensor
from PIL import Image
from scipy.stats import ks_2samp

from src.core import make_variant
from src.vision import batch_tfms, item_tfms, views
from src.vision.pixels import CPU, cut, cut_on_gpu, plain_view, shrink
from src.vision.views import Frame, View, fixed_views, sample_view, view_rng

N = 2000  # draws that are compared
SQUISH = Frame((64, 64), "squish", (48, 48), 0.75)
CROP, PAD = SQUISH._replace(resize="crop"), SQUISH._replace(resize="pad")
RECT = Frame((64, 48), "rect", (40, 32), 0.75)
WHOLE = SQUISH._replace(min_scale=1.0)
SMALL = Frame((160, 160), "squish", (40, 40), 0.5)
OBLONG = Frame((160, 120), "rect", (40, 24), 0.5)
FLAT = Frame((32, 128), "crop", (24, 96), 1.0)
BITS = [0, 1, 2, 5, 3, 6, 4, 7]  # of fastai's turns of a square
FACTS = ["mirrored", "area", "aspect", "angle", "x", "y"]


@cache
def photograph(width: int = 96, height: int = 128) -> Image.Image:
    """Soft, bright colours: no black but what padding adds."""
    colours = np.random.default_rng(0).integers(40, 256, (7, 6, 3), dtype=np.uint8)
    return Image.fromarray(colours).resize((width, height), Image.Resampling.BICUBIC)


def variant_of(frame: Frame):
    """A recipe with this frame."""
    item_size, size = ("x".join(map(str, sides)) for sides in (frame.item_size, frame.size))
    return make_variant(arch="test_resnet", resize=frame.resize, item_size=item_size, size=size,
                        min_scale=frame.min_scale, flip_vert=frame.flip_vert, augment="fastai")


def resized(image: Image.Image, frame: Frame, at=None) -> Image.Image:
    """The photograph resized by fastai, in the middle or at the place `at`."""
    resize = item_tfms(variant_of(frame))
    if at:
        resize.before_call = lambda b, split_idx: setattr(resize, "pcts", at)
    return resize(fastai.PILImage(image), split_idx=0 if at else 1)


def plain_by_fastai(item: Image.Image, frame: Frame) -> torch.Tensor:
    """3 × height × width, 0 … 1, by fastai's batch transforms."""
    tfms = [tfm for tfm in batch_tfms(variant_of(frame)) if not isinstance(tfm, fastai.Normalize)]
    x = TensorImage(image2tensor(item))[None]
    return torch.Tensor(fastai.Pipeline(tfms, split_idx=1)((x,))[0][0])


def draw(frame: Frame, count: int) -> list[View]:
    return [sample_view(view_rng(7, "100001.jpg", number), frame) for number in range(count)]


@pytest.fixture(autouse=True)
def seeded():
    random.seed(0)
    torch.manual_seed(0)


@pytest.mark.parametrize("frame", [SQUISH, CROP, RECT, WHOLE, SMALL, OBLONG], ids=str)
def test_the_same_draws_give_fastais_pixels(frame):
    rng, image = np.random.default_rng(3), photograph()
    for _ in range(12):
        at = (0.0, 1.0)
        turn, degrees = int(rng.integers(8)), rng.uniform(-10, 10)
        warp, zoom = rng.uniform(-0.2, 0.2, 2), (rng.uniform(1, 1.1), *rng.random(2))
        height, width, top, left = box = views.random_box(rng, frame)
        sure = {"p": 1.0, "size": frame.size if frame.min_scale == 1 else None}
        tfms = [
            fastai.Dihedral(draw=turn, **sure),
            fastai.Warp(draw_x=warp[0], draw_y=warp[1], **sure),
            fastai.Rotate(draw=degrees, **sure),
            fastai.Zoom(draw=zoom[0], draw_x=zoom[1], draw_y=zoom[2], **sure),
        ]
        x = TensorImage(image2tensor(resized(image, frame, at)))[None].float() / 255
        x = fastai.setup_aug_tfms(tfms)[0](x, split_idx=0)
        if frame.min_scale < 1:
            x = x[..., top : top + height, left : left + width].affine_coord(sz=frame.size)
        view = View(views.homography(frame, box, BITS[turn], warp, degrees, zoom), at)
        ours = cut(shrink(image, frame), [view], frame) / 255
        assert (ours - x).abs().mean() < 2 / 255
        assert (ours - x).abs().max() < 32 / 255


@pytest.mark.parametrize("frame", [SQUISH, CROP, PAD, RECT, WHOLE, SMALL, FLAT], ids=str)
def test_a_gpu_cuts_what_the_cpu_cuts_however_far_a_view_reaches(frame):
    photo, wanted = shrink(photograph(), frame), draw(frame, 8) + fixed_views("rotations", frame)
    ours, theirs = cut(photo, wanted, frame), cut_on_gpu(photo, wanted, frame, CPU)
    assert (ours.float() - theirs.float()).abs().max() <= 3


@pytest.mark.parametrize("frame", [SQUISH, CROP, PAD, RECT, WHOLE], ids=str)
def test_without_a_change_a_view_is_the_plain_one(frame):
    x = plain_by_fastai(resized(photograph(), frame), frame)
    ours = cut(shrink(photograph(), frame), [View(views.homography(frame))], frame) / 255
    assert (ours - x).abs().mean() < 2 / 255


@pytest.mark.parametrize(
    "frame",
    [Frame((480, 480), "squish", (224, 224), 0.75), Frame((480, 480), "squish", (224, 224), 1.0),
     Frame((48, 48), "squish", (64, 64), 0.75), Frame((640, 480), "rect", (288, 224), 0.75)],
    ids=str,
)
def test_plain_view_is_fastais_to_a_fraction_of_a_grey_level(frame):
    height, width = frame.item_size
    y, x = np.mgrid[:height, :width]
    waves = 100 + 80 * np.sin(x / 7) * np.cos(y / 11)  # edges that a wrong place would move
    noise = np.random.default_rng(0).normal(0, 20, (height, width, 3))
    image = fastai.PILImage.create((waves[..., None] + noise).clip(0, 255).astype(np.uint8))
    theirs = plain_by_fastai(image, frame)
    torch.testing.assert_close(plain_view(image, frame), theirs, atol=0.02 / 255, rtol=0)


def test_light_is_fastais_formula_to_half_a_grey_level():
    plain = View(views.homography(WHOLE))
    bright = plain._replace(brightness=0.42, contrast=1.2)
    before, after = cut(shrink(photograph(), WHOLE), [plain, bright], WHOLE)
    x = TensorImage(before[None] / 255).brightness(draw=0.42, p=1.0).contrast(draw=1.2, p=1.0)
    assert (after / 255 - x[0]).abs().max() <= 0.501 / 255


def test_padding_is_black_and_the_edge_of_a_crop_mirrors():
    white = Image.new("RGB", (60, 120), "white")
    at_right = View(views.homography(PAD), at=(1.0, 0.5))
    padded = cut(shrink(white, PAD), [at_right], PAD)
    assert (padded[..., :23] == 0).all() and (padded[..., 25:] == 255).all()
    turned = View(views.homography(CROP, degrees=10))
    assert (cut(shrink(white, CROP), [turned], CROP) == 255).all()


@pytest.mark.parametrize("size", [(1, 700), (700, 1)], ids=str)
def test_a_photograph_of_one_pixels_width_is_padded(size):
    photo, plain = shrink(photograph(*size), PAD), [View(views.homography(PAD))]
    assert cut(photo, plain, PAD).shape == cut_on_gpu(photo, plain, PAD, CPU).shape
    assert cut(photo, plain, PAD).shape == (1, 3, *PAD.size)


def test_fixed_views_mirror_turn_and_cut_the_corners():
    image = photograph(64, 64)
    photo = shrink(image, WHOLE)
    flips, rotations, crops = (cut(photo, fixed_views(kind, WHOLE), WHOLE).float()
                               for kind in ("flips", "rotations", "crops"))
    plain = cut(photo, [View(views.homography(WHOLE))], WHOLE).float()
    assert (flips - plain.flip(-1)).abs().max() <= 1
    turned = torch.stack([plain[0].rot90(k, (1, 2)) for k in (1, 2, 3)])
    assert min((rotations - t).abs().max() for t in (turned, turned.flip(0))) <= 1
    small = image.resize((48, 48))
    for crop, box in zip(crops, [(0, 0), (6, 0), (0, 6), (6, 6), (3, 3)], strict=True):
        part = small.crop((*box, box[0] + 42, box[1] + 42)).resize((48, 48))
        assert (crop - image2tensor(part)).abs().mean() < 3


@pytest.mark.parametrize("flip_vert", [False, True])
@pytest.mark.parametrize("item_size", [(32, 32), (40, 30)], ids=["square", "oblong"])
def test_areas_aspects_angles_and_places_are_distributed_as_fastais(item_size, flip_vert):
    frame, (height, width) = Frame(item_size, "squish", item_size, 1.0, flip_vert), item_size
    x = torch.linspace(-1, 1, width).expand(height, -1)
    y = torch.linspace(-1, 1, height)[:, None].expand(-1, width)
    ramps = TensorImage(torch.stack([x, y, x]).expand(N, -1, -1, -1).clone())
    affine = fastai.aug_transforms(size=frame.size, max_lighting=0, flip_vert=flip_vert)[0]
    places = [(15, 15), (18, 15), (15, 18)]
    theirs = affine(ramps, split_idx=0)[:, :2].double()
    theirs = np.stack([theirs[:, :, r, c] for c, r in places], 1)
    matrices = np.stack([view.matrix for view in draw(frame, N)])
    points = np.array([[c, r, 1] for c, r in places]) @ matrices.mT
    ours = points[..., :2] / points[..., 2:] / (1 - 1 / np.array([width, height]))
    for name, a, b in zip(FACTS, facts(ours), facts(theirs), strict=True):
        assert_same_distribution(a, b, name)


def facts(points: np.ndarray) -> list[np.ndarray]:
    """By view: mirrored or not, area, aspect and angle around its middle, where the middle is."""
    middle, right, down = points.transpose(1, 0, 2)
    right, down = right - middle, down - middle
    area = right[:, 0] * down[:, 1] - right[:, 1] * down[:, 0]
    aspect = np.linalg.norm(right, axis=1) / np.linalg.norm(down, axis=1)
    angle = np.arctan2(right[:, 1], np.abs(right[:, 0]))
    found = [area < 0, np.abs(area), aspect, angle, *middle.T]
    return [np.round(fact.astype(float), 5) for fact in found]  # float32 blurs what is unchanged


def assert_same_distribution(ours: np.ndarray, theirs: np.ndarray, name: str) -> None:
    spread = max(theirs.std(), 1e-9)
    assert abs(np.mean(ours) - theirs.mean()) < 0.15 * spread, name
    assert abs(np.std(ours) - theirs.std()) < 0.1 * spread, name
    assert ks_2samp(ours, theirs).pvalue > 0.001, name


@pytest.mark.parametrize("frame", [SQUISH, RECT, SMALL], ids=lambda f: str(f.item_size))
def test_crops_are_distributed_as_fastais(frame):
    tfms = batch_tfms(variant_of(frame))
    tfm = next(tfm for tfm in tfms if isinstance(tfm, fastai.RandomResizedCropGPU))
    theirs, images = [], torch.zeros(1, 3, *frame.item_size)
    for _ in range(N):
        tfm.before_call(images, 0)
        theirs.append((*tfm.cp_size, *tfm.tl))
    ours = [views.random_box(view_rng(1, "a", k), frame) for k in range(N)]
    for name, a, b in zip("hwtl", np.transpose(ours), np.transpose(theirs), strict=True):
        assert_same_distribution(a, b, name)
    tfm.before_call(images, 1)
    assert (*tfm.cp_size, *tfm.tl) == (*frame.item_size, 0, 0)


def test_light_is_distributed_as_fastais():
    light = next(t for t in fastai.aug_transforms(size=8, min_scale=0.75) if t.order == 40)
    light.before_call(TensorImage(torch.zeros(N, 3, 1, 1)), 0)
    brightness, contrast = (change.change.numpy() for change in light.fs)
    drawn = draw(SQUISH, N)
    assert_same_distribution([view.brightness for view in drawn], brightness, "brightness")
    assert_same_distribution([view.contrast for view in drawn], contrast, "contrast")


def test_a_view_depends_on_seed_image_and_number_alone():
    keys = [(1, "a", 0), (1, "a", 1), (1, "b", 0), (2, "a", 0)]
    there = [sample_view(view_rng(*key), CROP) for key in keys]
    back = [sample_view(view_rng(*key), CROP) for key in reversed(keys)][::-1]
    photo = shrink(photograph(), CROP)
    alone = torch.cat([cut(photo, [view], CROP) for view in back])
    assert torch.equal(cut(photo, there, CROP), alone)
    assert len({view.brightness for view in there}) == len({view.at for view in there}) == 4
