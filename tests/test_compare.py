"""Two rows over the same seeds: trained once, paired by image, the difference in images."""

from contextlib import suppress
from dataclasses import replace

import numpy as np
import pandas as pd
import psutil
import pytest
from conftest import TINY
from small_bundles import bundle_in, call, refused, snapshot

from src import bundle, compare, competition
from src.competition import folds_path, get_folds
from src.core import Variant, make_variant
from src.evidence import read_probs, write_probs
from src.run import run_notebook

A, B = make_variant(**TINY, tta="none"), make_variant(**TINY, tta="none", desc="other")


@pytest.fixture
def rows_are(data, tmp_path, monkeypatch):
    """Call it with the only rows of params.yaml, in a work folder of the test's own."""
    monkeypatch.setenv("PADDY_WORK", str(tmp_path))
    monkeypatch.setattr(compare, "run_notebook", lambda *_: pytest.fail("trained"))

    def change(*variants: Variant) -> None:
        monkeypatch.setattr("src.core.variant.load_variants",
                            lambda: {variant.name: variant for variant in variants})

    change(A, B)
    return change


def done(models, folder, variant, wrong):
    """A finished bundle of `variant` that has the first `wrong` of its hold-out wrong."""
    truth, classes = competition.train_table(folder).label, competition.classes(folder)
    folds = get_folds(folder, variant.seed, models, variant.split)
    ids = list(folds.index[folds == variant.fold])
    values = np.full((len(ids), len(classes)), 0.1)
    for row, image in enumerate(ids):
        at = classes.index(truth[image])
        values[row, (at + 1) % 3 if row < wrong else at] = 0.8
    valid = pd.DataFrame(values, pd.Index(ids, name="image_id"), classes)
    bundle_in(models, folder, variant.name, valid=valid, variant=variant.recipe)


def train_as(monkeypatch, wrong):
    """Instead of the notebook: bundles with `wrong` errors by name; the list of those trained."""
    trained = []

    def run_notebook(variant, folder, models):
        trained.append((variant.name, models.name))
        done(models, folder, variant, wrong.get(variant.name, 0))

    monkeypatch.setattr(compare, "run_notebook", run_notebook)
    return trained


def test_both_rows_are_trained_once_over_the_same_seeds_apart_from_the_members(
    data, rows_are, tmp_path, monkeypatch
):
    trained = train_as(monkeypatch, {A.name: 2, f"{A.name}_seed43": 1})
    done(tmp_path / "models" / "compare", data, replace(B, seed=43), 2)
    answer = call(compare.main, A.name, B.name, "--seeds", "2")
    assert answer.returncode == 0, answer.stderr
    assert trained == [(n, "compare") for n in (B.name, A.name, f"{A.name}_seed43")]
    lines = [line for line in answer.stdout.splitlines() if not line.endswith("training")]
    assert lines[:3] == [
        "seed 42, fold 0: 2 → 0 of 6 wrong, +2 (95 % −1 … +2, p 0.5)",
        "seed 43, fold 0: 1 → 2 of 6 wrong, −1 (95 % −1 … 0, p 1)",
        f"{A.name} → {B.name}: 12 predictions of 11 images",
    ]
    assert lines[3].startswith("+1 predictions (95 % ") and "no evidence of" in lines[3]
    assert bundle.names(tmp_path / "models") == []
    before = snapshot(tmp_path / "models")
    assert call(compare.main, A.name, B.name, "--seeds", "2").stdout.splitlines() == lines
    assert len(trained) == 3 and snapshot(tmp_path / "models") == before


def test_the_difference_is_printed_without_images_that_have_a_twin_in_training(
    data, rows_are, tmp_path
):
    models = tmp_path / "models"
    for variant, wrong in ((A, 2), (B, 0)):
        done(models, data, variant, wrong)
    folds = get_folds(data, 42, models)
    first, other = folds.index[folds == 0][0], folds.index[folds == 1][0]
    pair = {"a": first, "b": other, "kind": "leaf", "group": 1, "inliers": 30}
    competition.write_twins(data, pd.DataFrame([pair]))
    answer = call(compare.main, A.name, B.name, "--seeds", "1")
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.splitlines()[:2] == [
        "seed 42, fold 0: 2 → 0 of 6 wrong, +2 (95 % −1 … +2, p 0.5)",
        "  without the 1 with a twin in training: 1 → 0 of 5 wrong, +1 (95 % 0 … +1, p 1)",
    ]


def test_out_of_fold_every_image_is_held_out_once_for_each_seed(
    data, rows_are, tmp_path, monkeypatch
):
    folds = [A.name, *(f"{A.name}_fold{number}" for number in range(1, 5))]
    trained = train_as(monkeypatch, {folds[1]: 1, folds[4]: 2})
    answer = call(compare.main, A.name, B.name, "--seeds", "1", "--out-of-fold")
    assert answer.returncode == 0, answer.stderr
    assert [name for name, _ in trained if name.startswith(A.name)] == folds
    assert "seed 42, fold 4: 2 → 0 of 6 wrong" in answer.stdout
    assert f"{A.name} → {B.name}: 30 predictions of 30 images" in answer.stdout


def test_a_row_of_fast_views_is_trained_by_the_notebook_which_leaves_no_process(
    rows_are, work, monkeypatch
):
    monkeypatch.setenv("PADDY_WORK", str(work))
    monkeypatch.setattr(compare, "run_notebook", run_notebook)
    plain, fast = make_variant(**TINY), make_variant(**TINY, augment="fast", cache=32, desc="fast")
    rows_are(plain, fast)
    answer = call(compare.main, plain.name, fast.name, "--seeds", "1")
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.count("training") == 1
    assert f"{plain.name} → {fast.name}: 6 predictions of 6 images" in answer.stdout
    assert bundle.names(work / "models" / "compare") == [fast.name]
    for process in psutil.process_iter():  # kernels, and the loader processes of kernels
        with suppress(psutil.Error):
            assert process.environ().get("PADDY_WORK") != str(work)


@pytest.mark.parametrize(
    ("change", "words", "message"),
    [
        ({}, ["zzz", B.name], "no row 'zzz'"),
        ({}, [A.name, B.name, "--seeds", "0"], "--seeds 0 must be 1 or more"),
        ({"fold": "all"}, [A.name, B.name], "holds nothing out"),
        ({"fold": 1}, [A.name, B.name], "hold out different images"),
        ({"size": 16}, [A.name, B.name], "size"),
        ({"arch": "test_vitt"}, [A.name, B.name], "test_vit"),
        ({"exclude": "/none.csv"}, [A.name, B.name], "/none.csv"),
    ],
)
def test_rows_that_cannot_be_compared_are_refused(rows_are, tmp_path, change, words, message):
    other = replace(B, **change)
    rows_are(A, other)
    words = [other.name if word == B.name else word for word in words]
    assert message in refused(call(compare.main, *words))
    assert bundle.names(tmp_path / "models" / "compare") == []


def test_an_unusable_model_of_an_earlier_comparison_is_to_be_deleted(data, rows_are, tmp_path):
    models = tmp_path / "models" / "compare"
    done(models, data, replace(A, seed=44, lr=0.123), 1)
    line = refused(call(compare.main, A.name, B.name, "--seeds", "3"))
    assert f"{A.name}_seed44 exists with another recipe" in line
    assert f"delete {models / A.name}_seed44.* to have it trained again" in line
    done(models, data, A, 1)
    bundle.pkl_path(models, A.name).unlink()
    assert f"delete {models / A.name}.* to" in refused(call(compare.main, A.name, B.name))


def test_seeds_that_hold_out_the_same_images_are_refused_before_any_training(
    data, rows_are, tmp_path, monkeypatch
):
    """As with the grouped splits that older versions saved, all of them equal."""
    table = pd.read_csv(data / "train.csv")
    table["variety"] = [f"v{min(n % 16, 7)}" for n in range(len(table))]  # of very unequal size
    table.assign(age=45).to_csv(data / "train.csv", index=False)
    grouped = [replace(variant, split="grouped") for variant in (A, B)]
    names, models = [variant.name for variant in grouped], tmp_path / "models"
    saved = [folds_path(data, seed, models, "grouped") for seed in (42, 43, 44, 45)]
    get_folds(data, 42, models, "grouped")
    for path in saved[2:]:
        path.write_text(saved[0].read_text())
    rows_are(A, *grouped)
    assert "hold out different images" in refused(call(compare.main, A.name, names[1]))
    line = refused(call(compare.main, *names, "--seeds", "4"))
    assert "seeds 42, 44, 45 hold out the same images; use --seeds 2, or" in line
    assert "the folds_….csv of 44, 45" in line
    trained = train_as(monkeypatch, {})
    assert call(compare.main, *names, "--seeds", "2").returncode == 0  # one remedy
    for path in saved[2:]:
        path.unlink()
    assert call(compare.main, *names, "--seeds", "4").returncode == 0  # and the other
    assert len(trained) == 8


def test_rows_share_a_split_that_was_moved_by_hand_or_are_refused(
    data, rows_are, tmp_path, monkeypatch
):
    models = tmp_path / "models"

    def move_folds():
        folds, path = get_folds(data, 42, models), folds_path(data, 42, models, "stratified")
        ((folds + 1) % 5).reset_index().to_csv(path, index=False)

    move_folds()
    done(models, data, A, 1)  # on another split than this version makes
    move_folds()
    line = refused(call(compare.main, A.name, B.name))
    assert f"{A.name} and {B.name} hold out different images" in line
    for _ in range(4):
        move_folds()
    train_as(monkeypatch, {})
    answer = call(compare.main, A.name, B.name, "--seeds", "1")
    assert f"{A.name} → {B.name}: 6 predictions of 6 images" in answer.stdout, answer.stderr


def test_views_are_averaged_where_the_row_has_them(data, rows_are, tmp_path):
    seen, models = replace(A, tta="flips", beta=0.25), tmp_path / "models"
    card = bundle_in(models, data, seen.name, variant=seen.recipe)
    path = bundle.probs_path(models, seen.name, "valid")
    plain = read_probs(path)[0]["plain"]
    views = plain[np.roll(plain.columns, 1)].set_axis(plain.columns, axis=1)
    write_probs(path, plain, views, bundle.expected_meta(card, "valid"))
    found = compare.holdout_of(compare.plan(seen, 1, data)[0], data)
    pd.testing.assert_frame_equal(found, 0.25 * plain + 0.75 * views, check_dtype=False)
