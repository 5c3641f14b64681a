"""Views: the same distribution as fastai's own transforms, cut once, whatever the order."""

import random
from functools import cache, partial

import numpy as np
import pytest
import torch
from fastai.vision.all import (
    Flip,
    PILImage,
    RandomResizedCropGPU,
    Resize,
    Rotate,
    TensorImage,
    Warp,
    Zoom,
    aug_transforms,
    image2tensor,
    setup_aug_tfms,
)
from PIL import Image
from scipy.stats import ks_2samp

from src.vision import Frame, View, pixels, views

N = 2000  # draws compared by their parameters; by their pixels, FEW
FEW = 80
SQUISH = Frame((64, 64), "squish", (48, 48), 0.75)
CROP, PAD = SQUISH._replace(resize="crop"), SQUISH._replace(resize="pad")
RECT = Frame((64, 48), "rect", (40, 32), 0.75)
WHOLE = SQUISH._replace(min_scale=1.0)
SMALL = Frame((160, 160), "squish", (40, 40), 0.5)
FACTS = ["mirrored", "area", "aspect", "angle", "x", "y"]


@cache
def photograph(width: int = 96, height: int = 128) -> Image.Image:
    """Soft, bright colours: no black but what padding adds."""
    colours = np.random.default_rng(0).integers(40, 256, (7, 6, 3), dtype=np.uint8)
    return Image.fromarray(colours).resize((width, height), Image.Resampling.BICUBIC)


def item_image(image: Image.Image, frame: Frame, split: int, at=None) -> torch.Tensor:
    method = "squish" if frame.resize == "rect" else frame.resize
    resize = Resize(frame.item_size, method=method, pad_mode="zeros")
    if at:
        resize.before_call = lambda b, split_idx: setattr(resize, "pcts", at)
    return TensorImage(image2tensor(resize(PILImage(image), split_idx=split))[None].float() / 255)


def batch_tfms(frame: Frame) -> list:
    """As `data.batch_tfms` has them, without the normalisation."""
    tfms = aug_transforms(size=frame.size, min_scale=frame.min_scale)
    for tfm in tfms:
        if isinstance(tfm, RandomResizedCropGPU):
            tfm.ratio = (frame.item_size[1] / frame.item_size[0],) * 2
    return sorted(tfms, key=lambda tfm: tfm.order)


def fastai_view(image: Image.Image, frame: Frame, split: int) -> torch.Tensor:
    """1 × 3 × height × width, 0 … 1, by fastai itself: 0 as in training, 1 plain."""
    x = item_image(image, frame, split)
    for tfm in batch_tfms(frame):
        x = tfm(x, split_idx=split)
    return torch.Tensor(x)


@pytest.fixture(autouse=True)
def seeded():
    random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(params=["cpu", "cuda"])
def cut(request):
    """How views are cut for a model on the CPU, and, here on the CPU too, for one on a GPU."""
    on_gpu = partial(pixels.cut_on_gpu, device=pixels.CPU)
    return pixels.cut if request.param == "cpu" else on_gpu


@pytest.mark.parametrize("frame", [SQUISH, CROP, RECT, WHOLE, SMALL], ids=str)
def test_the_same_draws_give_fastais_pixels(cut, frame):
    rng, image = np.random.default_rng(3), photograph()
    for _ in range(6):
        at = (0.0, 1.0)
        flip, degrees = rng.choice([-1.0, 1.0]), rng.uniform(-10, 10)
        warp, zoom = rng.uniform(-0.2, 0.2, 2), (rng.uniform(1, 1.1), *rng.random(2))
        height, width, top, left = box = views.random_box(rng, frame)
        sure = {"p": 1.0, "size": frame.size if frame.min_scale == 1 else None}
        tfms = [Flip(draw=float(flip < 0), **sure), Warp(draw_x=warp[0], draw_y=warp[1], **sure)]
        closer = Zoom(draw=zoom[0], draw_x=zoom[1], draw_y=zoom[2], **sure)
        tfms += [Rotate(draw=degrees, **sure), closer]
        x = setup_aug_tfms(tfms)[0](item_image(image, frame, 0, at), split_idx=0)
        if frame.min_scale < 1:
            x = x[..., top : top + height, left : left + width].affine_coord(sz=frame.size)
        view = View(views.homography(frame, box, flip, warp, degrees, zoom), at)
        ours = cut(pixels.shrink(image, frame), [view], frame) / 255
        assert (ours - x).abs().mean() < 2 / 255
        assert (ours - x).abs().max() < 32 / 255


@pytest.mark.parametrize("item_size", [(32, 32), (40, 30)], ids=["square", "oblong"])
def test_areas_aspects_angles_and_places_are_distributed_as_fastais(item_size):
    frame, (height, width) = Frame(item_size, "squish", item_size, 1.0), item_size
    x = torch.linspace(-1, 1, width).expand(height, -1)
    y = torch.linspace(-1, 1, height)[:, None].expand(-1, width)
    ramps = TensorImage(torch.stack([x, y, x]).expand(N, -1, -1, -1).clone())
    affine = aug_transforms(size=frame.size, max_lighting=0)[0]
    places = [(15, 15), (18, 15), (15, 18)]
    theirs = affine(ramps, split_idx=0)[:, :2].double()
    theirs = np.stack([theirs[:, :, r, c] for c, r in places], 1)
    drawn = [views.sample_view(views.view_rng(1, "a", k), frame) for k in range(N)]
    points = np.array([[c, r, 1] for c, r in places]) @ np.stack([v.matrix for v in drawn]).mT
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
    ours, theirs = np.asarray(ours, dtype=float), np.asarray(theirs, dtype=float)
    spread = max(theirs.std(), 1e-9)
    assert abs(ours.mean() - theirs.mean()) < 0.15 * spread, name
    assert abs(ours.std() - theirs.std()) < 0.1 * spread, name
    assert ks_2samp(ours, theirs).pvalue > 0.001, name


@pytest.mark.parametrize("frame", [SQUISH, RECT, SMALL], ids=lambda f: str(f.item_size))
def test_crops_are_distributed_as_fastais(frame):
    tfm = next(tfm for tfm in batch_tfms(frame) if isinstance(tfm, RandomResizedCropGPU))
    theirs, images = [], torch.zeros(1, 3, *frame.item_size)
    for _ in range(N):
        tfm.before_call(images, 0)
        theirs.append((*tfm.cp_size, *tfm.tl))
    ours = [views.random_box(views.view_rng(1, "a", k), frame) for k in range(N)]
    for name, a, b in zip("hwtl", np.transpose(ours), np.transpose(theirs), strict=True):
        assert_same_distribution(a, b, name)
    tfm.before_call(images, 1)
    assert (*tfm.cp_size, *tfm.tl) == (*frame.item_size, 0, 0)


def test_light_is_distributed_as_fastais():
    light = next(t for t in aug_transforms(size=8, min_scale=0.75) if t.order == 40)
    light.before_call(TensorImage(torch.zeros(N, 3, 1, 1)), 0)
    drawn = [views.sample_view(views.view_rng(1, "a", k), SQUISH) for k in range(N)]
    brightness, contrast = (change.change.numpy() for change in light.fs)
    assert_same_distribution([view.brightness for view in drawn], brightness, "brightness")
    assert_same_distribution([view.contrast for view in drawn], contrast, "contrast")


def test_light_is_fastais_formula_to_half_a_grey_level(cut):
    photo, frame = pixels.shrink(photograph(), WHOLE), WHOLE
    plain = View(views.homography(frame))
    before, after = cut(photo, [plain, plain._replace(brightness=0.42, contrast=1.2)], frame)
    x = TensorImage(before[None] / 255).brightness(draw=0.42, p=1.0).contrast(draw=1.2, p=1.0)
    assert (after / 255 - x[0]).abs().max() <= 0.501 / 255


@pytest.mark.parametrize("resize", ["rect", "crop"])
def test_a_gpu_cuts_what_the_cpu_cuts_however_far_a_view_reaches(resize):
    frame = Frame((32, 128), resize, (24, 96), 1.0)
    photo = pixels.shrink(photograph(128, 96), frame)
    turned = views.fixed_views("rotations", frame)
    ours = pixels.cut(photo, turned, frame).float()
    theirs = pixels.cut_on_gpu(photo, turned, frame, pixels.CPU).float()
    assert (ours - theirs).abs().mean() < 2


@pytest.mark.parametrize("size", [(1, 700), (700, 1)], ids=str)
def test_a_photograph_of_one_pixels_width_is_padded(cut, size):
    photo = pixels.shrink(photograph(*size), PAD)
    plain = View(views.homography(PAD))
    assert cut(photo, [plain], PAD).shape == (1, 3, *PAD.size)


@pytest.mark.parametrize("frame", [SQUISH, CROP, PAD], ids=lambda f: f.resize)
def test_many_views_have_fastais_mean_and_deviation_at_every_pixel(cut, frame):
    image = photograph()
    theirs = torch.cat([fastai_view(image, frame, 0) for _ in range(FEW)])
    drawn = [views.sample_view(views.view_rng(7, "100001.jpg", k), frame) for k in range(FEW)]
    ours = cut(pixels.shrink(image, frame), drawn, frame) / 255
    error = theirs.std(0) / FEW**0.5
    assert ((ours.mean(0) - theirs.mean(0)).abs() / error).mean() < 1.6
    assert abs((ours.std(0) / theirs.std(0)).mean() - 1) < 0.1


@pytest.mark.parametrize("frame", [SQUISH, CROP, PAD, RECT, WHOLE], ids=str)
def test_without_a_change_a_view_is_the_plain_one(cut, frame):
    image = photograph()
    x = fastai_view(image, frame, 1)
    plain = View(views.homography(frame))
    ours = cut(pixels.shrink(image, frame), [plain], frame) / 255
    assert (ours - x).abs().mean() < 2 / 255


def test_a_view_depends_on_seed_image_and_number_alone(cut):
    def draw(*key):
        return views.sample_view(views.view_rng(*key), CROP)

    keys = [(1, "a", 0), (1, "a", 1), (1, "b", 0), (2, "a", 0)]
    there, back = [draw(*key) for key in keys], [draw(*key) for key in reversed(keys)][::-1]
    photo = pixels.shrink(photograph(), CROP)
    together = cut(photo, there, CROP)
    alone = torch.cat([cut(photo, [v], CROP) for v in back])
    assert torch.equal(together, alone)
    assert len({view.brightness for view in there}) == len({view.at for view in there}) == 4


def test_fixed_views_mirror_turn_and_cut_the_corners(cut):
    image = photograph(64, 64)
    photo = pixels.shrink(image, WHOLE)

    def show(kind):
        return cut(photo, views.fixed_views(kind, WHOLE), WHOLE).float()

    plain = cut(photo, [View(views.homography(WHOLE))], WHOLE).float()
    assert (show("flips") - plain.flip(-1)).abs().max() <= 1
    turned = torch.stack([plain[0].rot90(k, (1, 2)) for k in (1, 2, 3)])
    assert min((show("rotations") - t).abs().max() for t in (turned, turned.flip(0))) <= 1
    small = image.resize((48, 48))
    crops = show("crops")
    for crop, box in zip(crops, [(0, 0), (6, 0), (0, 6), (6, 6), (3, 3)], strict=True):
        part = small.crop((*box, box[0] + 42, box[1] + 42)).resize((48, 48))
        assert (crop - image2tensor(part)).abs().mean() < 3


def test_padding_is_black_and_the_edge_of_a_crop_mirrors(cut):
    white = Image.new("RGB", (60, 120), "white")
    at_right = View(views.homography(PAD), at=(1.0, 0.5))
    padded = cut(pixels.shrink(white, PAD), [at_right], PAD)
    assert (padded[..., :23] == 0).all() and (padded[..., 25:] == 255).all()
    turned = View(views.homography(CROP, degrees=10))
    assert (cut(pixels.shrink(white, CROP), [turned], CROP) == 255).all()
