"""The known labels of identical images: off unless chosen, measured, recorded."""

import shutil

import pytest
from conftest import refusal
from small_bundles import call, labels_of, record, three_in

from src import competition
from src.ensemble import ensemble_probs, open_ensemble
from src.ensemble.__main__ import main


@pytest.fixture
def copied(family, data):
    """A test image made the file of a training image, and its label; predicted is another."""
    truth = competition.train_table(data).label
    assert call(main).returncode == 0
    picks = labels_of(family)
    test = picks.index[0]
    train = truth.index[truth != picks[test]][0]
    shutil.copyfile(competition.train_paths(data)[train], data / "test_images" / test)
    three_in(family, data)  # for these test images
    return test, truth[train]


def test_the_label_of_an_identical_training_image_is_taken_only_if_chosen(copied, family, data):
    test, label = copied
    done = call(main)
    assert done.returncode == 0, done.stderr
    assert labels_of(family)[test] != label and "test images take" not in done.stdout
    assert record(family)["twins"] == "none" and record(family)["twin_labels"] == {}
    before = labels_of(family)
    done = call(main, "--twins", "identical")
    assert done.returncode == 0, done.stderr
    after = labels_of(family)
    assert after[test] == label and after.drop(test).equals(before.drop(test))
    assert record(family)["twins"] == "identical"
    assert record(family)["twin_labels"] == {test: label}
    assert "1 test images take the label of an identical training image, 1 of them" in done.stdout


def test_the_effect_is_measured_on_held_out_images_with_an_identical_one(family, data):
    paths, labels = competition.train_paths(data), competition.train_table(data).label
    ids = open_ensemble().valid.index
    one, other = ids[0], labels.index[(labels == labels[ids[0]]) & ~labels.index.isin(ids)][0]
    shutil.copyfile(paths[other], paths[one])
    three_in(family, data)
    done = call(main, "--twins", "identical")
    assert done.returncode == 0, done.stderr
    assert "0 test images take" in done.stdout
    assert "1 of 6 held-out images have such a twin: 0 of 6 images" in done.stdout
    assert "no evidence that the label of an identical image helps there" in done.stdout


def test_probabilities_of_known_labels_are_certain_and_others_stay(copied, family, data):
    test, label = copied
    plain, known = ensemble_probs(open_ensemble()), ensemble_probs(open_ensemble(twins="identical"))
    assert known.loc[test].to_dict() == {c: float(c == label) for c in known.columns}
    assert known.drop(index=test).equals(plain.drop(index=test))


def test_an_unknown_word_is_refused(family):
    assert "did you mean" in refusal(open_ensemble, twins="identicall")
