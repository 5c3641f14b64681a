"""Which models are members, why others are left out, and what their files must be."""

import json
import re
import shutil

import pandas as pd
import pytest
from conftest import run
from full_size import full_size_in
from small_bundles import (
    bundle_in,
    call,
    labels_of,
    probabilities,
    random_table,
    record,
    refused,
    snapshot,
    spoil,
    weights_of,
)  # fmt: skip

from src import bundle
from src.ensemble.__main__ import main


def test_members_are_printed_with_their_errors_and_weights(family):
    lines = call(main, "--weights", "resnet=1.5").stdout.splitlines()
    assert lines[0].split() == "model family hold-out error (95 % interval) with TTA weight".split()
    rows = [line.split() for line in lines[1:4]]
    assert [(row[0], row[1], row[-1]) for row in rows] == [
        ("resnet_one", "resnet", "1.5"), ("vit_one", "vit", "1"), ("vit_two", "vit", "1")
    ]
    assert all("0 of 6 wrong: 0.00 %" in line for line in lines[1:4])


def test_the_models_named_on_the_command_line_are_averaged_and_no_others(family):
    assert call(main, "vit_two", "vit_one").returncode == 0
    assert weights_of(family) == {"vit_two": 1.0, "vit_one": 1.0}
    line = refused(call(main, "vit_three"))
    assert "vit_three" in line and "resnet_one, vit_one, vit_two" in line


def test_members_of_several_notebooks_need_a_name(family, data):
    bundle_in(family, data, "swin_one", "swin", notebook="night", test=random_table(data, 5))
    before = snapshot(family.parent)
    line = refused(call(main))
    assert "night, paddy_train" in line and "--notebook" in line
    assert snapshot(family.parent) == before
    done = call(main, "--notebook", "paddy_train")
    assert "left out: swin_one: from notebook night" in done.stdout
    assert set(weights_of(family)) == {"vit_one", "vit_two", "resnet_one"}
    assert call(main, "--notebook", "both").returncode == 0
    assert len(record(family, "both")["members"]) == 4


def test_models_of_other_classes_or_images_are_left_out_with_the_reason(family, data):
    bundle_in(family, data, "classes", classes=["disease_a", "disease_b", "rust"])
    bundle_in(family, data, "images", data="0" * 64)
    done = call(main)
    assert re.search("^left out: classes: .*disease_c, rust", done.stdout, re.M)
    assert re.search("^left out: images: .*other images", done.stdout, re.M)
    assert set(weights_of(family)) == {"vit_one", "vit_two", "resnet_one"}
    for name in ("classes", "images"):
        assert f"{name} cannot be a member" in refused(call(main, "vit_one", name))


def damaged_bundles(models, data):
    """Bundles of which something is missing or wrong, name → a word of the reason."""
    for name in ("no_pkl", "other_pkl", "no_card"):
        bundle_in(models, data, name)
    bundle.pkl_path(models, "no_pkl").unlink()
    bundle.pkl_path(models, "other_pkl").write_bytes(b"a longer file than the card describes")
    bundle.card_path(models, "no_card").unlink()
    (models / "junk.json").write_text("[]")
    content = bundle_in(models, data, "without_holdout")
    del content["holdout"]
    bundle.card_path(models, "without_holdout").write_text(json.dumps(content))
    return {
        "no_pkl": "missing", "other_pkl": "not the file its card describes",
        "junk": "no model card", "no_card": "without a card", "without_holdout": "holdout",
    }  # fmt: skip


def test_a_damaged_model_stops_an_ensemble_of_all_but_not_of_those_named(family, data):
    reasons = damaged_bundles(family, data)
    before = snapshot(family.parent)
    line = refused(call(main))
    assert all(name in line for name in sorted(reasons)[:4]) and "1 more" in line
    for name in reasons:
        assert name in refused(call(main, "vit_one", name))
    assert snapshot(family.parent) == before
    every = family.rename(family.with_name("all_damaged"))
    for name, reason in reasons.items():
        family.mkdir()
        for path in every.iterdir():
            if path.name.partition(".")[0] in (name, "vit_one", "vit_two"):
                shutil.copy(path, family)
        line = refused(call(main))
        assert name in line and reason in line and "name the models" in line
        assert call(main, "vit_one", "vit_two").returncode == 0
        shutil.rmtree(family)


def test_a_copy_under_another_name_is_refused(family):
    for path in list(family.glob("vit_one.*")):
        path.with_name(path.name.replace("vit_one", "copy")).write_bytes(path.read_bytes())
    for names in ([], ["copy"]):
        assert re.search("copy.json is a copy .*vit_one", refused(call(main, *names)))


def test_where_there_is_no_model_at_all_the_command_to_train_is_named(models):
    assert "python -m src.run --all" in refused(call(main))


# What the members' files must be


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table * 2, "sum 2"),
        (lambda table: table.replace(table.iloc[3, 0], float("nan")), "sum nan"),
        (lambda table: table.iloc[:-1], "images"),
        (lambda table: table.rename(index={"200003.jpg": "999999.jpg"}), "999999.jpg"),
        (lambda table: table.rename(columns={"disease_b": "rust"}), "rust"),
    ],
    ids=["sum", "nan", "fewer", "foreign", "class"],
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


def test_twenty_finished_models_at_full_size_need_no_torch(tmp_path):
    environment = full_size_in(tmp_path)
    done = run("-X", "importtime", "-m", "src.ensemble", "--weights", "family_1=2", **environment)
    assert done.returncode == 0, done.stderr[-2000:]
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert {"pandas", "pyarrow", "scipy.stats"} <= imported
    slow = {"torch", "fastai", "timm", "torchvision", "matplotlib", "sklearn"}
    assert not imported & slow
    assert "0 of 2,082 wrong" in done.stdout
    assert len(labels_of(tmp_path / "work" / "models")) == 3_469
    assert "compared: with 20 members, image by image: " in done.stdout
