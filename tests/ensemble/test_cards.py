"""Folds of one variant are one member; a recipe counts once; odd folds are left out by name."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from conftest import draw_competition
from small_bundles import (
    bundle_in,
    call,
    probabilities,
    random_table,
    record,
    refused,
    variant_in,
    weights_of,
)  # fmt: skip

from src import bundle
from src.ensemble.__main__ import main

VIT = "test_vit_squish_224"
FOLDS = range(5)


@pytest.fixture
def models(models, data) -> Path:
    """An empty models folder, and a competition of nine varieties that share three ages."""
    table = pd.read_csv(data / "train.csv")
    table["variety"] = [f"variety_{n // 3 % 3}" for n in range(len(table))]
    table.to_csv(data / "train.csv", index=False)
    return models


@pytest.fixture
def five(models, data) -> Path:
    """The five folds of one variant; fold k is wrong about k images."""
    for fold in FOLDS:
        variant_in(models, data, random_table(data, fold), wrong=fold, fold=fold)
    return models


# Folds


def test_the_folds_of_a_variant_are_one_member_with_an_out_of_fold_error(five, data):
    out = call(main).stdout
    assert re.search(rf"^{VIT} \(5 folds\) +vit +10 of 30 wrong", out, re.M), out
    assert "all of them held out: 10 of 30 wrong" in out
    assert record(five)["holdout"] == {"wrong": 10, "images": 30}
    (member,) = record(five)["members"]
    assert member["name"] == VIT and member["weight"] == 1
    assert member["models"] == {
        name: {"sha256": bundle.read_card(five, name)["sha256"], "commit": "c0ffee"}
        for name in (VIT, *(f"{VIT}_fold{k}" for k in FOLDS[1:]))
    }


def test_the_folds_are_averaged_first_and_may_be_named_one_by_one(five, data):
    other = random_table(data, 99)
    bundle_in(five, data, "resnet_one", "resnet", test=other)
    mean = sum(random_table(data, fold) for fold in FOLDS) / 5
    weighings = {"": (mean + other) / 2, f"--weights {VIT}=3": (3 * mean + other) / 4,
                 "--weights vit=3": (3 * mean + other) / 4, VIT: mean}
    for words, expected in weighings.items():
        assert call(main, *words.split()).returncode == 0
        found = probabilities(five)
        pd.testing.assert_frame_equal(found, expected, check_dtype=False, atol=1e-6)
    assert re.search(f"'{VIT}_fold1'.*'{VIT}'", refused(call(main, "--weights", f"{VIT}_fold1=2")))
    out = call(main, f"{VIT}_fold3", f"{VIT}_fold1").stdout
    assert re.search(rf"^{VIT} \(2 folds\)", out, re.M)
    assert list(record(five)["members"][0]["models"]) == [f"{VIT}_fold1", f"{VIT}_fold3"]
    assert f"{VIT}_fold1 is given twice" in refused(call(main, f"{VIT}_fold1", VIT))


def test_folds_beside_a_model_of_one_fold_are_compared_on_its_images(
    models, tmp_path, monkeypatch
):
    large = draw_competition(tmp_path / "large", each=90)  # 54 images in a fold
    monkeypatch.setenv("PADDY_DATA", str(large))
    for fold in FOLDS:
        variant_in(models, large, wrong=fold, fold=fold)
    other = variant_in(models, large, wrong=2, arch="test_resnet", fold=4)
    out = call(main).stdout
    assert "of 54 wrong" in out.partition("all of them held out:")[2].splitlines()[0]
    # What is beside the ensemble's error was counted on the same images.
    assert re.search(rf"^{re.escape(VIT)} \(5 folds\).* 4 of 54 wrong", out, re.M), out
    assert re.search(rf"^{other} .* 2 of 54 wrong: .* 2 of 54 wrong: .* 2 of 54 wrong", out, re.M)
    assert "on the 54 common images" in out.splitlines()[0]


def test_a_fold_of_another_recipe_or_split_does_not_count_with_the_others(models, data):
    for fold in (0, 1):
        variant_in(models, data, fold=fold)
    reasons = {
        variant_in(models, data, fold=2, epochs=20): "its epochs is 20, not 12; train",
        variant_in(models, data, fold=3, views=9): "its views is 9, not 4; predict",
        variant_in(models, data, fold=4, card={"folds": "0" * 16}): "its split digest is 0000",
    }
    out = call(main, "--force").stdout
    assert list(record(models)["members"][0]["models"]) == [VIT, f"{VIT}_fold1"]
    for odd, reason in reasons.items():
        assert f"left out: {odd}: a fold of {VIT}, but {reason}" in out
        assert f"{odd} cannot be a member: a fold of {VIT}" in refused(call(main, VIT, odd))


def test_models_whose_seed_or_size_differs_are_members_of_their_own(models, data):
    names = [variant_in(models, data, random_table(data, n), **changes)
             for n, changes in enumerate([{}, {"seed": 7, "fold": 1}, {"size": 160, "fold": 2}])]
    assert call(main).returncode == 0
    assert set(weights_of(models)) == set(names)


def test_an_older_recipe_is_completed_and_a_later_one_left_out(models, data):
    older, later = (variant_in(models, data, fold=fold) for fold in (0, 1))
    for name in (older, later):
        path = bundle.card_path(models, name)
        card = json.loads(path.read_text())
        del card["variant"]["split"]
        if name == later:
            card["variant"]["mixup_of_tomorrow"] = 1
        path.write_text(json.dumps(card))
    out = call(main, "--force").stdout
    assert weights_of(models) == {older: 1.0}
    assert re.search(f"^left out: {later}: .*mixup_of_tomorrow", out, re.M), out
    assert f"{older} held out fold 0 of seed 42, stratified" in refused(
        call(main, older, "--select", "auto"))


# Nothing held out


def test_a_model_of_all_images_is_a_member_and_the_error_is_that_of_the_others_by_name(five, data):
    name = variant_in(five, data, random_table(data, 9), fold="all")
    done = call(main)
    assert done.returncode == 0, done.stderr
    assert set(weights_of(five)) == {VIT, name}
    assert re.search(rf"^{name} +vit +no hold-out, so no error is known", done.stdout, re.M)
    assert "held out: 10 of 30 wrong: 33.33 %" in done.stdout
    assert f"of the 1 that held images out; 1 trained on all: {name}" in done.stdout
    assert record(five)["holdout"] == {"wrong": 10, "images": 30}
    assert record(five)["not_in_holdout"] == [name]
    assert "common images" not in done.stdout  # the others' hold-outs are the same
    # With a weight of 0 it has no part in the ensemble.
    done = call(main, "--weights", f"{name}=0")
    assert "10 of 30 wrong" in done.stdout and "trained on all" not in done.stdout
    assert record(five)["not_in_holdout"] == []
    assert "there are 1 and 30:" in refused(call(main, "--select", "auto"))


def test_where_nobody_held_images_out_no_error_is_claimed(models, data):
    names = [variant_in(models, data, random_table(data, n), fold="all", arch=arch)
             for n, arch in enumerate(("test_resnet", "test_vit"))]
    out = call(main).stdout
    assert "no error is known" in out and "all trained on all images" in out
    written = record(models)
    assert written["holdout"] == {"wrong": None, "images": 0}
    assert written["not_in_holdout"] == names


def test_members_of_different_folds_say_who_held_out_what_and_still_write(models, data):
    one = variant_in(models, data, random_table(data, 1))
    other = variant_in(models, data, random_table(data, 2), arch="test_resnet", fold=1)
    third = variant_in(models, data, random_table(data, 3), arch="test_convnext", seed=7)
    held = {one: "fold 0 of seed 42", other: "fold 1 of seed 42", third: "fold 0 of seed 7"}
    done = call(main, one, other)
    assert done.returncode == 0, done.stderr
    assert "no error is known" in done.stdout and "there are 2 and 0: " in done.stdout
    assert all(f"{name} held out {held[name]}" in done.stdout for name in (one, other))
    mean = (random_table(data, 1) + random_table(data, 2)) / 2
    pd.testing.assert_frame_equal(probabilities(models), mean, check_dtype=False, atol=1e-6)
    line = refused(call(main, one, other, third, "--select", "greedy"))
    assert all(f"{name} held out {folds}" in line for name, folds in held.items())


# Grouped folds


def test_a_recipe_trained_on_grouped_folds_too_counts_once(five, data):
    grouped = [variant_in(five, data, random_table(data, 8), split="grouped", fold=fold, views=9)
               for fold in (0, 1)]
    other = variant_in(five, data, random_table(data, 9), arch="test_resnet", split="grouped")
    out = call(main).stdout
    assert weights_of(five) == {VIT: 1, other: 1}
    for name in grouped:
        assert f"left out: {name}: the same recipe as {VIT}, trained on grouped folds" in out
    assert "the same recipe" in refused(call(main, VIT, grouped[0]))
    assert call(main, grouped[0]).returncode == 0  # alone it may be used


def test_grouped_models_are_members_where_their_recipe_is_not(models, data):
    folds = [variant_in(models, data, wrong=1, split="grouped", fold=fold) for fold in FOLDS]
    other = variant_in(models, data, random_table(data, 1), epochs=3)
    out = call(main).stdout
    assert weights_of(models) == {f"{VIT}_grouped": 1.0, other: 1.0}
    assert re.search(rf"^{VIT}_grouped \(5 folds\) +vit +5 of 30 wrong", out, re.M), out
    (member,) = [m for m in record(models)["members"] if m["name"] == f"{VIT}_grouped"]
    assert list(member["models"]) == folds
