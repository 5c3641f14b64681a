"""TTA is used unless the hold-out proves that it hurts."""

import re

import pandas as pd
from small_bundles import CLASSES, call, probabilities, record, sure, variant_in

from src import bundle, competition
from src.ensemble.__main__ import main

VIT = "test_vit_squish_224"
FOLDS = range(5)


def confused(table: pd.DataFrame, images: int) -> pd.DataFrame:
    """`table`, but sure of a wrong class for the first so many images."""
    labels = table.idxmax(axis=1)
    other = dict(zip(CLASSES, [*CLASSES[1:], CLASSES[0]], strict=True))
    labels.iloc[:images] = labels.iloc[:images].map(other)
    return sure(dict(labels), CLASSES, 0.99)


def with_views(models, data, harm: int, **changes) -> str:
    """A bundle that TTA makes wrong about `harm` more images of its fold, and of the test."""
    name = variant_in(models, data, **changes)
    valid = pd.read_parquet(bundle.probs_path(models, name, "valid")).loc["plain"]
    test = sure(dict(competition.solution(data)), CLASSES)
    views = confused(valid, harm), confused(test, 4)
    return variant_in(models, data, test, augmented=views, **changes)


def test_tta_is_used_unless_the_hold_out_says_that_it_hurts(models, data):
    for fold in FOLDS:
        with_views(models, data, harm=2, fold=fold)
    out = call(main).stdout
    # Two of six a fold are no evidence; ten of the thirty together are.
    assert "without TTA: −10 of 30 images" in out
    assert f"evidence that TTA hurts {VIT}" in out
    assert record(models)["holdout"] == {"wrong": 0, "images": 30}
    (member,) = record(models)["members"]
    assert member["tta"] == "none" and "TTA hurts" in member["why"]
    plain = sure(dict(competition.solution(data)), CLASSES)
    pd.testing.assert_frame_equal(probabilities(models), plain, check_dtype=False, atol=1e-6)


def test_tta_that_is_worse_without_evidence_is_used(models, data):
    with_views(models, data, harm=2)
    out = call(main, "--force").stdout
    assert "without TTA" not in out
    assert re.search(rf"^{VIT} +vit +0 of 6 wrong: .* 2 of 6 wrong", out, re.M), out
    (member,) = record(models)["members"]
    assert member["tta"] == "random" and "why" not in member
    assert record(models)["holdout"] == {"wrong": 2, "images": 6}
    assert (probabilities(models).idxmax(axis=1) != competition.solution(data)).sum() == 4


def test_tta_is_used_by_a_model_without_hold_out(models, data):
    test = sure(dict(competition.solution(data)), CLASSES)
    variant_in(models, data, test, augmented=(test, confused(test, 4)), fold="all")
    assert call(main, "--force").returncode == 0
    assert record(models)["members"][0]["tta"] == "random"
