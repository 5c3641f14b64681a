"""Which models are members, why others are left out, and what their files must be."""

import json
import re

import pandas as pd
import pytest
from conftest import run
from small_bundles import (
    bundle_in,
    call,
    probabilities,
    random_table,
    record,
    refused,
    snapshot,
    spoil,
    strong_and_weak_in,
    weights_of,
)  # fmt: skip

from src import bundle, competition
from src.ensemble.__main__ import main


def test_members_are_printed_with_their_errors_and_weights(family):
    lines = call(main, "--weights", "resnet=1.5").stdout.splitlines()
    assert lines[0].split() == "model family hold-out error (95 % interval) with TTA weight".split()
    rows = [line.split() for line in lines[1:4]]
    assert [(row[0], row[1], row[-1]) for row in rows] == [
        ("resnet_one", "resnet", "1.5"), ("vit_one", "vit", "1"), ("vit_two", "vit", "1")
    ]
    assert all("0 of 6 wrong: 0.00 %" in line for line in lines[1:4])


def test_members_of_several_notebooks_need_a_name(family, data):
    bundle_in(family, data, "swin_one", "swin", notebook="night", test=random_table(data, 5))
    before = snapshot(family.parent)
    line = refused(call(main))
    assert "night, paddy_train" in line and "--notebook" in line
    assert snapshot(family.parent) == before
    done = call(main, "--notebook", "paddy_train")
    assert "left out: swin_one: from notebook night" in done.stdout
    assert "no model is of" not in done.stdout
    assert set(weights_of(family)) == {"vit_one", "vit_two", "resnet_one"}
    assert ("no model is of notebook both: all models of night, paddy_train are averaged\n"
            in call(main, "--notebook", "both").stdout)
    assert "no model is of" not in call(main, "vit_one", "--notebook", "one").stdout
    assert len(record(family, "both")["members"]) == 4


def test_models_of_other_classes_or_images_are_left_out_with_the_reason(family, data):
    bundle_in(family, data, "classes", classes=["disease_a", "disease_b", "rust"])
    bundle_in(family, data, "images", data="0" * 64)
    done = call(main)
    assert re.search("^left out: classes: .*disease_c, rust", done.stdout, re.M)
    assert re.search("^left out: images: .*other images", done.stdout, re.M)
    assert set(weights_of(family)) == {"vit_one", "vit_two", "resnet_one"}
    assert "images cannot be a member" in refused(call(main, "vit_one", "images"))


def test_a_damaged_model_stops_an_ensemble_of_all_but_not_of_those_named(family, data):
    bundle_in(family, data, "no_pkl")
    bundle.pkl_path(family, "no_pkl").unlink()
    (family / "junk.json").write_text("[]")
    before = snapshot(family.parent)
    line = refused(call(main))
    assert all(word in line for word in ("no model card", "junk, no_pkl", "name the models"))
    assert "no_pkl.pkl is missing" in refused(call(main, "vit_one", "no_pkl"))
    assert snapshot(family.parent) == before
    assert call(main, "vit_one", "vit_two").returncode == 0
    assert weights_of(family) == {"vit_one": 1.0, "vit_two": 1.0}
    assert "resnet_one, vit_one, vit_two" in refused(call(main, "vit_three"))


def test_where_there_is_no_model_at_all_the_command_to_train_is_named(models):
    assert "python -m src.run --all" in refused(call(main))


# What the members' files must be


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table * 2, "sum 2"),
        (lambda table: table.rename(index={"200003.jpg": "999999.jpg"}), "999999.jpg"),
        (lambda table: table.rename(columns={"disease_b": "rust"}), "rust"),
    ],
)
def test_a_spoilt_file_is_refused_in_one_line_and_nothing_written(family, change, message):
    spoil(bundle.probs_path(family, "vit_one", "test"), change)
    before = snapshot(family.parent)
    line = refused(call(main))
    assert message in line and "vit_one" in line
    assert snapshot(family.parent) == before


def test_a_stale_file_is_not_used_even_when_it_cannot_be_made_again(family):
    """The .pkl was exchanged and the card with it: the old predictions are of another model."""
    bundle.pkl_path(family, "vit_one").write_bytes(b"another model")
    bundle.write_card(family, json.loads(bundle.card_path(family, "vit_one").read_text()))
    before = snapshot(family.parent)
    assert "vit_one" in refused(call(main))
    after = snapshot(family.parent)
    assert {path: after[path] for path in before} == before


def test_rows_shuffled_and_columns_reversed_in_a_file_change_nothing(family):
    assert call(main, "--notebook", "before").returncode == 0
    for split in ("test", "valid"):
        spoil(bundle.probs_path(family, "vit_one", split),
              lambda table: table.sample(frac=1, random_state=1)[table.columns[::-1]])
    assert call(main, "--notebook", "after").returncode == 0
    pd.testing.assert_frame_equal(
        probabilities(family, "before"), probabilities(family, "after"), check_like=True
    )
    folder = family.parent / "submissions"
    assert (folder / "before.csv").read_bytes() == (folder / "after.csv").read_bytes()
    assert record(family, "before")["holdout"] == record(family, "after")["holdout"]


def test_finished_models_need_no_torch(sixty):
    strong_and_weak_in(sixty, competition.find(""))
    done = run("-X", "importtime", "-m", "src.ensemble", "--weights", "vit=2")
    assert done.returncode == 0, done.stderr[-2000:]
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert {"pandas", "pyarrow", "scipy.stats"} <= imported
    assert not imported & {"torch", "fastai", "timm", "torchvision", "matplotlib", "sklearn"}
