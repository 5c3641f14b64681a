"""The values a variant takes; all others are refused in one line."""

import pytest

from src.core import UserError, make_variant


def one_line(error) -> str:
    """The message of a UserError, once it is shown to be a single line."""
    message = str(error.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("size", ["0", 0, -224, "224x", "x224", "1x2x3", "big", 224.5, "", True])
def test_what_is_no_size_is_refused(size):
    for field in ("size", "item_size"):
        with pytest.raises(UserError, match="is no size in pixels; write 224 or 288x224") as error:
            make_variant(**{field: size})
        one_line(error)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arch": ""}, "arch is empty"),
        ({"arch": "  "}, "arch is empty"),
        ({"resize": "squash"}, "resize='squash' is unknown; did you mean 'squish'"),
        ({"resize": "zzz"}, "known: squish, crop, pad, rect"),
        ({"tta": "randm"}, "tta='randm' is unknown; did you mean 'random'"),
        ({"resize": "rect"}, "resize=rect needs a rectangle: -p item_size 640x480, not 480"),
        ({"epochs": 0}, "epochs=0 must be 1 or more"),
        ({"lr": 0}, "lr=0 must be above 0"),
        ({"lr": -0.1}, "lr=-0.1 must be above 0"),
        ({"lr": 10}, "below 10"),
        ({"lr": "high"}, "lr='high' must be above 0 and below 10, or find"),
        ({"lr": "0.01"}, "lr='0.01' must be"),
        ({"lr": True}, "lr=True must be a number or text"),
        ({"lr": float("nan")}, "lr=nan must be above 0"),
        ({"bs": 0}, "accum=1 must divide bs=0 into batches of 2 images or more"),
        ({"bs": 1}, "accum=1 must divide bs=1 into batches of 2 images or more"),
        ({"accum": 64}, "accum=64 must divide bs=64 into batches of 2 images or more"),
        ({"item_size": 8}, "item_size=8 must be 16 or more"),
        ({"size": "²"}, "size '²' is no size in pixels"),
        ({"accum": 0}, "accum=0 must divide bs=64"),
        ({"accum": 3}, "accum=3 must divide bs=64"),
        ({"bs": 2, "accum": 4}, "accum=4 must divide bs=2"),
        ({"fold": -1}, "fold=-1 must be 0, 1, 2, 3, 4 or all"),
        ({"fold": 5}, "fold=5 must be 0, 1, 2, 3, 4 or all"),
        ({"fold": "none"}, "fold='none' must be 0, 1, 2, 3, 4 or all"),
        ({"fold": "3"}, "fold='3' must be 0, 1, 2, 3, 4 or all"),
        ({"split": "groups"}, "split='groups' is unknown; did you mean 'grouped'"),
        ({"augment": "fastia"}, "augment='fastia' is unknown; did you mean 'fastai'"),
        ({"cache": -1}, "cache=-1 holds fewer pixels than item_size=480 needs"),
        ({"cache": 256}, "with augment=fastai; take 480 or more, or 0 for the photographs"),
        ({"augment": "fast", "cache": 128}, "cache=128 holds fewer pixels than size=224 needs"),
        ({"augment": "fast", "cache": 128, "resize": "rect", "item_size": "640x480",
          "size": "288x224"}, "with augment=fast; take 224 or more"),
        ({"split": "grouped", "fold": "all"}, "split=grouped changes nothing with fold=all"),
        ({"seed": -1}, "seed=-1 must be 0 or more"),
        ({"seed": 2**32}, "must be 0 or more, and below 2**32"),
        ({"min_scale": 0}, "min_scale=0 must be above 0"),
        ({"min_scale": 1.1}, "at most 1"),
        ({"views": 0}, "views=0 must be 1 or more; switch TTA off with tta=none"),
        ({"beta": -0.1}, "beta=-0.1, the share of the plain view, must be between 0 and 1"),
        ({"beta": 1.1}, "must be between 0 and 1"),
        ({"desc": "a.b"}, "must be letters, digits"),
        ({"desc": "../a"}, "must be letters, digits"),
        ({"desc": "a b"}, "must be letters, digits"),
        # recipes
        ({"schedule": "onecycle"}, "schedule='onecycle' is unknown; did you mean 'one_cycle'"),
        ({"cycles": 0}, "cycles=0 must be 1 or more"),
        ({"cycles": 10**9, "schedule": "sgdr"}, "cycles=1000000000 must be 1 or more, and at most"),
        ({"cycle_len": 0}, "cycle_len=0 must be 1 or more"),
        ({"cycle_mult": 0}, "cycle_mult=0 must be 1 or more"),
        ({"snapshots": "means"}, "snapshots='means' is unknown; did you mean 'mean'"),
        ({"snapshots": "mean"}, "snapshots=mean needs ends of cycles; set schedule=sgdr"),
        ({"snapshots": "members", "schedule": "sgdr", "cycles": 1}, "and cycles=2 or more"),
        ({"snapshots": "mean", "schedule": "sgdr", "ema": 0.9}, "ema and snapshots would both"),
        ({"cycles": 20, "schedule": "sgdr"}, "more than 10,000 epochs"),
        ({"epochs": 10_001}, "more than 10,000 epochs"),
        ({"freeze_epochs": 10_001}, "more than 10,000 epochs"),
        ({"desc": "a:b\n"}, "must be letters, digits"),
        ({"desc": "a" * 101}, "at most 100"),
        ({"freeze_epochs": -1}, "freeze_epochs=-1 must be 0 or more"),
        ({"lr_mult": 0.5}, "lr_mult=0.5 must be 1 or more"),
        ({"lr_mult": float("inf")}, "lr_mult=inf must be 1 or more"),
        ({"label_smoothing": 1}, "label_smoothing=1 must be 0 or more and below 1"),
        ({"label_smoothing": float("nan")}, "label_smoothing=nan must be"),
        ({"mixup": -0.1}, "mixup=-0.1 must be 0 (off) or more"),
        ({"cutmix": float("inf")}, "cutmix=inf must be 0 (off) or more"),
        ({"mixup": 0.4, "cutmix": 1}, "mixup and cutmix would mix twice; set one of them to 0"),
        ({"dropout": 1}, "dropout=1 must be 0 or more and below 1"),
        ({"ema": 1}, "ema=1 must be 0 (off) or more and below 1"),
        ({"sampler": "hardest"}, "sampler='hardest' is unknown; did you mean 'hard'"),
        ({"sampler": "hard", "cutmix": 1}, "sampler=hard needs the loss of each image"),
        ({"sizes": "128,192"}, "sizes=128,192 must end with size=224"),
        ({"sizes": "256,224"}, "sizes=256,224 must grow"),
        ({"sizes": "224,224"}, "sizes=224,224 must grow"),
        ({"sizes": "128,,224"}, "size '' is no size in pixels"),
        ({"sizes": True}, "size 'True' is no size in pixels"),
        ({"sizes": "128,192,224", "epochs": 2}, "are more than the 2 epochs"),
        ({"sizes": "128,192,224", "cycles": 1, "schedule": "sgdr"}, "are more than the 1 epochs"),
        ({"time_limit": -1}, "time_limit=-1 must be 0 (none) or more minutes"),
        ({"time_limit": float("nan")}, "time_limit=nan must be"),
        ({"precompute": True, "pretrained": False}, "precompute is for epochs of the head alone"),
        ({"precompute": True, "freeze_epochs": 0}, "needs pretrained weights and freeze_epochs of"),
        ({"precompute": True, "mixup": 0.4}, "precompute keeps features of whole images"),
        ({"targets": "variety"}, "targets='variety' is unknown; known: disease, disease+variety,"),
        ({"targets": "disease+age"}, "targets='disease+age' is unknown; did you mean"),
        ({"targets": "disease+variety", "cutmix": 1}, "are of whole images, mixup and cutmix"),
        ({"precompute": "yes"}, "precompute='yes' must be true/false"),
        ({"precompute": 1}, "precompute=1 must be true/false"),
        # types
        ({"epochs": "twelve"}, "epochs='twelve' must be a whole number"),
        ({"epochs": 1.5}, "epochs=1.5 must be a whole number"),
        ({"epochs": True}, "epochs=True must be a whole number"),
        ({"fold": True}, "fold=True must be a whole number or text"),
        ({"fold": 1.0}, "fold=1.0 must be a whole number or text"),
        ({"label_smoothing": "high"}, "label_smoothing='high' must be a number"),
        ({"arch": 50}, "arch=50 must be text"),
        ({"desc": 1}, "desc=1 must be text"),
        ({"pretrained": 1}, "pretrained=1 must be true/false or text"),
        ({"pretrained": None}, "pretrained=None must be true/false or text"),
    ],
)
def test_what_no_training_can_use_is_refused_in_one_line(changes, message):
    with pytest.raises(UserError) as error:
        make_variant(**changes)
    assert message in one_line(error)


@pytest.mark.parametrize(
    "changes",
    [{"lr": 1}, {"min_scale": 1}, {"beta": 0}, {"beta": 1}, {"fold": 4}, {"fold": "all"},
     {"split": "grouped"}, {"seed": 0}, {"augment": "fast"}, {"cache": 480},
     {"augment": "fast", "cache": 224},
     {"accum": 32}, {"tta": "none"}, {"views": 1}, {"lr_mult": 1}, {"freeze_epochs": 0},
     {"cycle_mult": 1}, {"cycles": 1}, {"epochs": 10_000}, {"dropout": 0}, {"ema": 0.9999},
     {"sampler": "hard"}, {"sizes": "224"}, {"time_limit": 0.5}, {"lr": "find"},
     {"precompute": True}, {"targets": "disease+variety+age"}],
)
def test_values_on_the_border_are_accepted(changes):
    name, value = next(iter(changes.items()))
    assert getattr(make_variant(**changes), name) == value


@pytest.mark.parametrize(
    ("name", "hint"),
    [("archh", "did you mean 'arch'?"), ("item_sise", "did you mean 'item_size'"),
     ("zzz", "known: arch, resize,")],
)
def test_misspelt_field_is_refused_with_the_nearest(name, hint):
    with pytest.raises(UserError) as error:
        make_variant(**{name: "vit_small"})
    assert one_line(error).startswith(f"unknown parameter {name!r}; {hint}")
