"""Which models are members, why others are left out, and what their files must be."""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from conftest import run
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
    sure,
    weights_of,
)

from src import bundle
from src.competition import dataset as competition
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


def test_an_unknown_model_stops_with_those_that_are_finished(family):
    line = refused(call(main, "vit_three"))
    assert "vit_three" in line and "resnet_one, vit_one, vit_two" in line


def test_members_of_several_notebooks_ask_for_a_name(family, data):
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


def foreign_bundles(models, data):
    """Finished bundles that cannot be a member on this data, name → a word of the reason."""
    bundle_in(models, data, "classes", classes=["disease_a", "disease_b", "rust"])
    bundle_in(models, data, "images", data="0" * 64)
    return {"classes": "disease_c, rust", "images": "other images"}


def damaged_bundles(models, data):
    """Bundles of which something is missing or wrong, name → a word of the reason."""
    bundle_in(models, data, "no_pkl")
    bundle.pkl_path(models, "no_pkl").unlink()
    bundle_in(models, data, "other_pkl")
    bundle.pkl_path(models, "other_pkl").write_bytes(b"a longer file than the card tells")
    bundle_in(models, data, "no_card")
    bundle.card_path(models, "no_card").unlink()
    (models / "junk.json").write_text("[]")
    for key in ("held_out", "holdout", "versions", "variant"):
        content = bundle_in(models, data, f"without_{key}")
        del content[key]
        bundle.card_path(models, f"without_{key}").write_text(json.dumps(content))
    return {
        "no_pkl": "missing",
        "other_pkl": "not the file its card describes", "junk": "no model card",
        "no_card": "without a card", "without_held_out": "held_out", "without_holdout": "holdout",
        "without_versions": "versions", "without_variant": "variant",
    }


def test_what_is_left_out_is_listed_with_the_reason(family, data):
    reasons = foreign_bundles(family, data)
    done = call(main)
    assert done.returncode == 0, done.stderr
    for name, reason in reasons.items():
        assert re.search(f"^left out: {name}: .*{reason}", done.stdout, re.M), done.stdout
    assert set(weights_of(family)) == {"vit_one", "vit_two", "resnet_one"}


def test_what_cannot_be_a_member_is_refused_when_named(family, data):
    reasons = foreign_bundles(family, data) | damaged_bundles(family, data)
    before = snapshot(family.parent)
    for name in reasons:
        assert name in refused(call(main, "vit_one", name))
    assert snapshot(family.parent) == before


def test_a_damaged_model_stops_an_ensemble_of_all_but_not_of_those_named(family, data):
    reasons = damaged_bundles(family, data)
    kept = family.rename(family.with_name("all_damaged"))
    for name, reason in reasons.items():
        family.mkdir()
        for path in kept.iterdir():
            if path.name.partition(".")[0] in (name, "vit_one", "vit_two"):
                shutil.copy(path, family)
        before = snapshot(family.parent)
        line = refused(call(main))
        assert name in line and re.search(reason, line) and "name the models" in line
        assert snapshot(family.parent) == before
        assert call(main, "vit_one", "vit_two").returncode == 0
        shutil.rmtree(family)


def test_several_damaged_models_are_named_in_one_line(family, data):
    reasons = sorted(damaged_bundles(family, data))
    line = refused(call(main))
    assert all(name in line for name in reasons[:4]) and f"{len(reasons) - 4}" in line


def test_a_copy_under_another_name_is_refused(family):
    for path in list(family.glob("vit_one.*")):
        path.with_name(path.name.replace("vit_one", "copy")).write_bytes(path.read_bytes())
    for names in ([], ["copy"]):
        assert re.search("copy.json is a copy .*vit_one", refused(call(main, *names)))


def test_no_model_at_all_tells_how_to_train(models):
    assert "python -m src.run --all" in refused(call(main))


# What the members' files must be


def normalised_no_more(table):
    return table * 2


def with_a_nan(table):
    table.iloc[3, 1] = np.nan
    return table


def one_image_less(table):
    return table.iloc[:-1]


def with_a_foreign_image(table):
    return table.rename(index={"200003.jpg": "999999.jpg"})


def with_another_class(table):
    return table.rename(columns={"disease_b": "rust"})


@pytest.mark.parametrize(
    "change, told",
    [
        (normalised_no_more, "sum 2"),
        (with_a_nan, "sum nan"),
        (one_image_less, "images"),
        (with_a_foreign_image, "999999.jpg"),
        (with_another_class, "rust"),
    ],
)
def test_a_spoilt_file_is_refused_in_one_line_and_nothing_written(family, change, told):
    spoil(bundle.probs_path(family, "vit_one", "test"), change)
    before = snapshot(family.parent)
    line = refused(call(main))
    assert told in line and "vit_one" in line
    assert snapshot(family.parent) == before


def test_a_stale_file_is_not_used_even_when_it_cannot_be_made_again(family, data):
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


# At full size


def kaggle_sized(folder):
    """The tables of the real competition and a byte for each photograph, ten classes."""
    classes = [f"disease_{letter}" for letter in "abcdefghij"]
    (folder / "test_images").mkdir(parents=True)
    train, test = range(100001, 110408), range(200001, 203470)
    rows = [f"{n}.jpg,{classes[n % 10]},ADT45,45" for n in train]
    for name in classes:
        (folder / "train_images" / name).mkdir(parents=True)
    for n in train:
        (folder / "train_images" / classes[n % 10] / f"{n}.jpg").write_bytes(b"x")
    for n in test:
        (folder / "test_images" / f"{n}.jpg").write_bytes(b"x")
    (folder / "train.csv").write_text("\n".join(["image_id,label,variety,age", *rows, ""]))
    rows = [f"{n}.jpg," for n in test]
    (folder / "sample_submission.csv").write_text("\n".join(["image_id,label", *rows, ""]))
    return folder, classes


def test_twenty_finished_models_at_full_size_need_no_torch(tmp_path, monkeypatch):
    folder, classes = kaggle_sized(tmp_path / "competition")
    models = tmp_path / "work" / "models"
    truth = competition.train_table(folder).label
    for name in ("train_table", "sample", "classes", "train_fingerprint", "test_fingerprint"):
        known = getattr(competition, name)(folder)  # once, not for each of the twenty
        monkeypatch.setattr(competition, name, lambda folder, known=known: known)
    ids = competition.sample(folder).image_id
    alike = sure({name: classes[number % 10] for number, name in enumerate(ids)}, classes)
    for seed in range(20):  # as sure of the hold-out as of the test set
        bundle_in(models, folder, f"model_{seed}", f"family_{seed % 4}",
                  valid=sure(dict(truth.iloc[:2082]), classes),
                  test=(alike + random_table(folder, seed, classes)) / 2)
    done = run("-X", "importtime", "-m", "src.ensemble", "--weights", "family_1=2",
               PADDY_WORK=str(tmp_path / "work"), PADDY_DATA=str(folder))
    assert done.returncode == 0, done.stderr[-2000:]
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert {"pandas", "pyarrow", "scipy.stats"} <= imported
    slow = {"torch", "fastai", "timm", "torchvision", "matplotlib", "sklearn"}
    assert not imported & slow
    assert "0 of 2,082 wrong" in done.stdout
    assert len(labels_of(models)) == 3_469
    assert "compared: with 20 members, image by image: " in done.stdout
