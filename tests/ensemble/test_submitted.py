"""A submission's ensemble opened again: as it was, or refused with the command that writes it."""

import shlex
import shutil

import pandas as pd
import pytest
from conftest import refusal
from small_bundles import (
    bundle_in,
    call,
    labels_of,
    probabilities,
    random_table,
    record,
    strong_and_weak_in,
    three_in,
    variant_in,
)  # fmt: skip

from src import competition
from src.core import submissions_dir
from src.ensemble import again, ensemble_probs, open_submission
from src.ensemble.__main__ import main

SETTINGS = ("select", "weights", "mean", "temperatures", "twins", "notebook", "sha256")


@pytest.mark.parametrize("words", [
    (), ("vit_one", "vit_two", "--weights", "vit_one=2"), ("--weights", "vit=2", "resnet=0"),
    ("--mean", "geometric", "--temperatures", "vit=1.3"), ("--twins", "identical"),
    ("--notebook", "two words"),
])  # fmt: skip
def test_a_submission_is_opened_as_it_was_written_and_its_command_writes_it_again(
    family, data, words
):
    paths, first = competition.train_paths(data), competition.sample(data).image_id[0]
    shutil.copyfile(paths.iloc[0], data / "test_images" / first)
    three_in(family, data)  # for these test images
    assert call(main, *words).returncode == 0
    name = "two words" if "two words" in words else "paddy_train"
    written, before = probabilities(family, name), record(family, name)
    ensemble = open_submission(name)
    found = ensemble_probs(ensemble).loc[written.index, written.columns]
    pd.testing.assert_frame_equal(found, written, check_dtype=False, check_names=False, atol=1e-6)
    for path in submissions_dir().glob(f"{name}.*"):
        path.unlink()
    done = call(main, *shlex.split(again(ensemble))[3:])
    assert done.returncode == 0, done.stderr
    after = record(family, name)
    assert [after[key] for key in SETTINGS] == [before[key] for key in SETTINGS]


def test_searched_weights_are_searched_again(sixty, sixty_once):
    strong_and_weak_in(sixty, sixty_once)
    assert call(main, "--select", "auto").returncode == 0
    ensemble = open_submission("paddy_train")
    assert ensemble.why and again(ensemble).endswith("--select auto --notebook paddy_train")


def test_a_submission_whose_models_predict_other_labels_is_refused(family, data):
    call(main, "--weights", "vit=2")
    test = random_table(data, 7)
    bundle_in(family, data, "vit_one", "vit", test=test)  # the same model, with other TTA
    line = refusal(open_submission, "paddy_train")
    assert "submission paddy_train is not what its models predict now: " in line
    assert "of 9 labels differ" in line
    assert line.endswith("write it again: python -m src.ensemble resnet_one vit_one vit_two "
                         "--weights resnet_one=1 vit_one=2 vit_two=2 --notebook paddy_train")
    assert call(main, "--weights", "vit=2").returncode == 0
    assert open_submission("paddy_train").notebook == "paddy_train"


def test_a_fold_that_was_trained_since_is_noticed_by_its_labels(models, data):
    variant_in(models, data, test=random_table(data, 0))
    call(main, "--force")
    open_submission("paddy_train")
    variant_in(models, data, fold=1, test=random_table(data, 1))
    assert "labels differ" in refusal(open_submission, "paddy_train")


def test_an_edited_file_a_missing_one_and_one_of_no_ensemble_are_refused(family, data):
    assert "found: none" in refusal(open_submission, "paddy_train")
    call(main)
    path = submissions_dir() / "paddy_train.csv"
    labels = labels_of(family)
    text = path.read_text()
    other = next(name for name in competition.classes(data) if name != labels.iloc[0])
    path.write_text(text.replace(f",{labels.iloc[0]}", f",{other}", 1))
    assert "1 of 9 labels differ" in refusal(open_submission, "paddy_train")
    path.unlink()
    assert "paddy_train.csv is missing" in refusal(open_submission, "paddy_train")
    path.with_suffix(".json").write_text('{"notebook": "paddy_train"}')
    assert "no submission 'paddy_train' of an ensemble" in refusal(open_submission, "paddy_train")
