"""The values a variant takes; all others are refused in one line."""

import pytest
from conftest import refusal

from src.core import make_variant

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("size", [0, -224, "224x", "1x2x3", 224.5, "", "²"])
def test_what_is_no_size_is_refused(size):
    for field in ("size", "item_size"):
        assert f"size {size!r} is no size" in refusal(make_variant, **{field: size})


@pytest.mark.parametrize(
    "name", ["resize", "tta", "split", "augment", "schedule", "snapshots", "targets", "sampler"]
)
def test_an_unknown_choice_is_refused_with_the_known_ones(name):
    assert f"{name}='zzz' is unknown; known: " in refusal(make_variant, **{name: "zzz"})


OUTSIDE = {
    "epochs": (0, 10_001), "freeze_epochs": (-1, 10_001), "cycles": (0, 10**9), "cycle_len": (0,),
    "cycle_mult": (0,), "seed": (-1, 2**32), "min_scale": (0, 1.1), "views": (0,),
    "beta": (-0.1, 1.1), "lr_mult": (0.5, INF, NAN, "3"), "label_smoothing": (-0.1, 1, NAN),
    "mixup": (-0.1, INF), "cutmix": (-0.1, INF), "dropout": (-0.1, 1), "ema": (-0.1, 1),
    "time_limit": (-1, NAN, INF), "lr": (0, 10, NAN, "0.01"), "fold": (-1, 5, "3"),
    "item_size": (8,), "arch": (" ",), "desc": ("a.b", "a b", "a\n", "a" * 101),
}  # fmt: skip


@pytest.mark.parametrize("name", OUTSIDE)
def test_values_outside_their_range_are_refused_by_name(name):
    for value in OUTSIDE[name]:
        assert refusal(make_variant, **{name: value}).startswith(name), value


INSIDE = {
    "lr": (1, 1e-9, "find"), "min_scale": (0.01, 1), "beta": (0, 1), "fold": (4, "all"),
    "seed": (0, 2**32 - 1), "cache": (480,), "accum": (16,), "views": (1,),
    "lr_mult": (1, "family"),
    "freeze_epochs": (0, 10_000), "cycle_mult": (1,), "cycles": (1, 100), "epochs": (10_000,),
    "dropout": (0, 0.99), "ema": (0.9999,), "mixup": (0, 0.4), "cutmix": (0, 1),
    "label_smoothing": (0, 0.9), "sizes": ("224",), "time_limit": (0, 0.5), "item_size": (16,),
    "tta": ("none",), "split": ("grouped", "twins"), "sampler": ("hard",), "precompute": (True,),
    "targets": ("disease+variety+age",), "desc": ("a" * 100,),
}  # fmt: skip


@pytest.mark.parametrize("name", INSIDE)
def test_values_on_the_border_are_accepted(name):
    for value in INSIDE[name]:
        assert getattr(make_variant(**{name: value}), name) == value


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resize": "squash"}, "resize='squash' is unknown; did you mean 'squish'"),
        ({"resize": "rect"}, "resize=rect needs a rectangle: -p item_size 640x480, not 480"),
        ({"bs": 0}, "accum=1 must divide bs=0 into batches of 2 images or more"),
        ({"accum": 64}, "accum=64 must divide bs=32"),
        ({"accum": 0}, "accum=0 must divide bs=32"),
        ({"accum": 3}, "accum=3 must divide bs=32"),
        ({"augment": "fastai", "cache": -1}, "cache=-1 is too small for item_size=480"),
        ({"augment": "fast", "cache": 223}, "cache=223 is too small for size=224"),
        ({"augment": "fast", "cache": 128, "resize": "rect", "item_size": "640x480",
          "size": "288x224"}, "take 224 or more"),
        ({"split": "grouped", "fold": "all"}, "split=grouped changes nothing with fold=all"),
        ({"snapshots": "mean"}, "snapshots=mean needs schedule=sgdr"),
        ({"snapshots": "members", "schedule": "sgdr", "cycles": 1}, "cycles=2 or more"),
        ({"snapshots": "mean", "schedule": "sgdr", "ema": 0.9}, "snapshots and ema"),
        ({"cycles": 100, "schedule": "sgdr"}, "these cycles are more than 10000 epochs"),
        ({"mixup": 0.4, "cutmix": 1}, "mixup and cutmix"),
        ({"sampler": "hard", "cutmix": 1}, "sampler=hard needs whole images"),
        ({"precompute": True, "mixup": 0.4}, "precompute needs whole images"),
        ({"targets": "disease+variety", "cutmix": 1}, "targets=disease+variety needs"),
        ({"sizes": "128,192"}, "sizes=128,192 must grow from each to the next and end with"),
        ({"sizes": "224,224"}, "sizes=224,224 must grow"),
        ({"sizes": "128,,224"}, "size '' is no size in pixels"),
        ({"sizes": "128,192,224", "cycles": 1, "schedule": "sgdr"}, "are more than the 1 epochs"),
        ({"precompute": True, "pretrained": False}, "precompute needs pretrained weights"),
        ({"precompute": True, "freeze_epochs": 0}, "freeze_epochs of 1 or more"),
        ({"precompute": 1}, "precompute=1 must be true/false"),
        ({"lr": True}, "lr=True must be a number or text"),
        ({"epochs": 1.5}, "epochs=1.5 must be a whole number"),
        ({"fold": 1.0}, "fold=1.0 must be a whole number or text"),
        ({"label_smoothing": "high"}, "label_smoothing='high' must be a number"),
        ({"pretrained": None}, "pretrained=None must be true/false or text"),
        ({"archh": "vit_small"}, "unknown parameter 'archh'; did you mean 'arch'?"),
    ],
)
def test_what_no_training_can_use_is_refused_in_one_line(changes, message):
    assert message in refusal(make_variant, **changes)
