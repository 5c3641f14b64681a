"""The ensemble on images held out: its error, what is printed of it, the search for weights."""

import re
from pathlib import Path

import pandas as pd
import pytest
from conftest import draw_competition
from small_bundles import (
    CLASSES,
    bundle_in,
    call,
    probabilities,
    record,
    refused,
    strong_and_weak_in,
    sure,
)

from src import competition
from src.core import make_variant
from src.ensemble.__main__ import main
from src.evidence import FEWEST_IMAGES, too_few


@pytest.fixture
def sixty(tmp_path, monkeypatch) -> Path:
    """A competition of 60 training images, enough for a search."""
    folder = draw_competition(tmp_path / "sixty", each=20)
    monkeypatch.setenv("PADDY_DATA", str(folder))
    return folder


# The hold-out error


def test_the_hold_out_error_is_that_of_the_images_all_members_held_out(models, data):
    truth = competition.train_table(data).label  # 100001 a, 100002 b, 100003 c, 100004 a, …
    one = sure(dict(truth.iloc[:4]), CLASSES, 0.5)  # 0.5, 0.25, 0.25
    two = sure(dict(truth.iloc[2:6]), CLASSES, 0.5)
    two.loc["100003.jpg"] = [0.9, 0.05, 0.05]  # is c: (0.9 + 0.25) / 2 against (0.05 + 0.5) / 2
    bundle_in(models, data, "one", valid=one)
    bundle_in(models, data, "two", "swin", valid=two)
    done = call(main)
    assert "all of them held out: 1 of 2 wrong: 50.00 %" in done.stdout
    assert record(models)["holdout"] == {"wrong": 1, "images": 2}
    assert re.search(r"^ *one +vit +0 of 4 wrong.* 0 of 4 wrong", done.stdout, re.M)
    assert re.search(r"^ *two +swin +1 of 4 wrong", done.stdout, re.M)
    # Four to one: 0.38 for a, 0.41 for c.
    assert "held out: 0 of 2 wrong" in call(main, "--weights", "vit=4").stdout


@pytest.mark.parametrize("common", [0, 4, FEWEST_IMAGES - 1])
def test_what_too_few_common_images_cannot_tell_is_not_told(models, sixty, common):
    labels, classes = competition.train_table(sixty).label, competition.classes(sixty)
    rest = (len(labels) - common) // 2
    held = {"vit": labels.iloc[: rest + common], "swin": labels.iloc[rest : 2 * rest + common]}
    for fold, (family, truth) in enumerate({**held, "resnet": labels}.items()):
        variant = make_variant(arch="test_vit", tta="none", fold=fold).recipe
        bundle_in(models, sixty, f"{family}_x", family, sure(dict(truth), classes), variant=variant)
    out = call(main, "--weights", "vit=2").stdout
    lacks = ("no hold-out, so no error is known", too_few(common))[common > 0]
    folds = "resnet_x held out fold 2, swin_x held out fold 1, vit_x held out fold 0"
    assert f"{lacks}: {folds}: train them for the same fold" in out
    for claim in ("evidence", "gain", "disagree", "bring", "log-loss", "common images "):
        assert claim not in out
    assert "there are 3 and" in refused(call(main, "--select", "auto"))


def test_the_gain_of_the_ensemble_and_how_far_members_agree_takes_two_lines(models, sixty):
    strong_and_weak_in(models, sixty)
    out = call(main).stdout
    assert "ensemble, on the images all of them held out: 20 of 60 wrong: 33.33 %" in out
    assert re.search(r"^gain of the ensemble: −20 of 60 .*hurts against strong", out, re.M)
    assert re.search(r"^two members disagree on 0 … 20 of 60 images, weak_one and weak", out, re.M)
    assert "against equal weights" not in out and "method" not in out


def test_what_each_of_three_members_brings_is_told_without_a_search(models, sixty):
    strong_and_weak_in(models, sixty)
    out = call(main).stdout
    assert "\nwhat they bring to their equal mean:\nwithout " in out
    assert re.search(r"^resnet +2 +0 of 60 wrong: .* −20 \(95 %", out, re.M)
    assert re.search(r"^strong +1 +20 of 60 wrong: .* 0 \(95 %", out, re.M)
    assert "bring" not in call(main, "strong", "weak_one").stdout


def test_typed_temperatures_are_shown_beside_the_weights(models, sixty):
    strong_and_weak_in(models, sixty)
    out = call(main, "--temperatures", "vit=1.5", "weak_one=0.8").stdout
    assert re.search(r"^model .* weight +temperature$", out, re.M)
    shown = re.findall(r"^(\w+) +\w+ +\d+ of 60 .* 1 +([\d.]+)$", out, re.M)
    assert shown == [("strong", "1.5"), ("weak_one", "0.8"), ("weak_two", "1")]
    assert "temperature" not in call(main).stdout.splitlines()[0]


def test_one_model_alone_is_compared_with_nobody(models, data):
    bundle_in(models, data, "one")
    out = call(main).stdout
    assert "gain" not in out and "disagree" not in out


# The search


def test_the_search_is_printed_with_what_each_member_brings(models, sixty):
    strong_and_weak_in(models, sixty)
    out = call(main, "--select", "auto").stdout
    assert re.search(r"^equal +20 of 60 wrong: .*the incumbent$", out, re.M)
    assert re.search(r"^stacking +.*; a yardstick", out, re.M)
    assert not re.search(r"^(geometric|temperature) .*yardstick", out, re.M)
    assert re.search(r"^\w+ is taken: \+\d+ of 60 images", out, re.M)
    assert re.search(r"^resnet +2 +0 of 60 wrong", out, re.M)
    assert re.search(r"^strong +1 +20 of 60 wrong", out, re.M)
    assert "wrong: 0.00 % (95 % interval 0.00 to 6.02); each by what was learnt from others" in out


@pytest.mark.parametrize("select", ["greedy", "geometric", "temperature"])
def test_the_printed_line_repeats_the_search(models, sixty, select):
    strong_and_weak_in(models, sixty)
    out = call(main, "--select", select).stdout
    (line,) = re.findall(r"^to repeat it: (--weights .*)$", out, re.M)
    assert call(main, *line.split(), "--notebook", "again").returncode == 0
    pd.testing.assert_frame_equal(
        probabilities(models), probabilities(models, "again"), check_exact=True
    )
