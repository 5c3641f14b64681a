"""Diagnosis: what is wrong is counted by label, by group and by image."""

import numpy as np
import pandas as pd
import pytest
from small_bundles import sure, variant_in

from src import competition
from src.ensemble import open_ensemble
from src.evidence import wrong_of
from src.looking import diagnosis

CLASSES = list("abcdef")


def predictions(pairs):
    """Probabilities and labels of images whose (label, prediction) are the `pairs`."""
    ids = [f"{number}.jpg" for number in range(len(pairs))]
    labels = pd.Series([label for label, _ in pairs], ids)
    return sure({image: pick for image, (_, pick) in zip(ids, pairs, strict=True)}, CLASSES), labels


def some_wrong(images=400, share=0.1, seed=0):
    """Random predictions, of which a `share` is wrong."""
    random = np.random.default_rng(seed)
    labels = random.choice(CLASSES[:2], images)
    wrong = random.random(images) < share
    return predictions([(label, "ab"[(label == "a") ^ (not no)] if no else label)
                        for label, no in zip(labels, wrong, strict=True)])


def test_confusion_counts_labels_in_rows_with_confused_classes_side_by_side():
    right = [(name, name) for name in CLASSES for _ in range(9)]
    probs, labels = predictions([*right, *[("a", "e")] * 4, *[("e", "a")] * 2, *[("f", "c")] * 5])
    counts = diagnosis.confusion(probs, labels)
    assert counts.loc["a", "e"] == 4 and counts.loc["e", "a"] == 2 and counts.loc["f", "c"] == 5
    assert counts.to_numpy().sum() == len(labels) and (np.diag(counts) == 9).all()
    place = {name: number for number, name in enumerate(counts.index)}
    assert list(counts.index) == list(counts.columns) and {*place} == {*CLASSES}
    assert abs(place["a"] - place["e"]) == 1 == abs(place["f"] - place["c"])
    pairs = diagnosis.confused_pairs(counts, most=2)
    assert pairs.iloc[:, :2].to_numpy().tolist() == [["f", "c"], ["a", "e"]]
    assert pairs.iloc[1, 2].startswith("4 of 13 wrong: 30.77 % (")


@pytest.mark.parametrize("pairs", [[("a", "a")], [("a", "b")], [("c", "c")] * 5])
def test_one_image_and_one_class_are_enough(pairs):
    probs, labels = predictions(pairs)
    counts = diagnosis.confusion(probs, labels)
    assert counts.to_numpy().sum() == len(pairs)
    assert len(diagnosis.confused_pairs(counts)) == wrong_of(probs, labels)[0]
    diagnosis.confusion_plot(counts)
    errors = diagnosis.group_errors(probs, labels, labels.to_frame("label"))
    assert "no groups to compare" in diagnosis.group_sentence(errors)
    alone = probs[[pairs[0][0]]]
    assert diagnosis.confusion(alone / alone, labels).shape == (1, 1)


def test_a_group_that_is_wrong_more_often_is_named_with_its_interval():
    probs, labels = some_wrong()
    group = pd.Series("usual", labels.index)
    group.iloc[:20] = "<odd>"
    probs.iloc[:20] = probs.iloc[:20].to_numpy()[:, [1, 0, 2, 3, 4, 5]]  # nearly all wrong
    table = pd.DataFrame({"label": labels, "camera": group, "same": "x"})
    errors = diagnosis.group_errors(probs, labels, table)
    assert set(errors.kind) == {"label", "camera"}  # `same` has no other to compare with
    wrong = int(errors[errors.group == "<odd>"].wrong.iloc[0])
    said = diagnosis.group_sentence(errors)
    assert wrong >= 15 and said.startswith("2 of 4 groups differ from")
    assert f"camera <odd>, {wrong} of 20 wrong" in said and "95 % interval" in said
    assert errors.wrong[errors.kind == "camera"].sum() == wrong_of(probs, labels)[0]
    assert diagnosis.group_table(errors).iloc[:, 2].str.contains("of 20 wrong").any()


def test_as_many_looks_find_nothing_where_there_is_nothing():
    found = 0
    for seed in range(40):
        probs, labels = some_wrong(seed=seed)
        random = np.random.default_rng(1000 + seed)
        groups = {f"kind {k}": random.choice(list("uvwxy"), len(labels)) for k in range(6)}
        errors = diagnosis.group_errors(probs, labels, pd.DataFrame(groups, labels.index))
        found += not diagnosis.group_sentence(errors).startswith("none of 30 groups differs")
    assert found <= 5  # expected are 2 at most; one look each at 0.05 finds something in most


def twins_are(folder, rows):
    pairs = pd.DataFrame(rows, columns=["a", "b", "kind"]).assign(inliers=20)
    competition.write_twins(folder, pairs.assign(group=competition.groups_of(pairs)))


def test_a_twin_counts_where_the_model_was_trained_on_it(models, data):
    variant_in(models, data)
    folds = competition.get_folds(data, 42, models)
    a, b, c, d = folds.index[folds == 0][:4]
    far, other, third = folds.index[folds != 0][:3]
    test = competition.sample(data).image_id[0]
    twins_are(data, [(a, far, "leaf"), (a, other, "identical"), (b, third, "leaf"),
                     (c, d, "picture"), (d, test, "identical"), (c, "nobody", "leaf")])
    assert diagnosis.trained_twins(ensemble := open_ensemble()).to_dict() == {
        a: "identical file", b: "same leaf"}
    twins_are(data, [(a, b, "identical"), (a, far, "picture"), (d, c, "leaf"), (c, third, "leaf")])
    assert diagnosis.trained_twins(ensemble).to_dict() == {
        a: "same picture", b: "same picture", c: "same leaf", d: "same leaf"}
    twins_are(data, [])
    assert diagnosis.trained_twins(ensemble).empty


def test_each_member_has_the_folds_of_its_own_split(models, data):
    for seed in (42, 43):
        variant_in(models, data, seed=seed)
    one, two = (competition.get_folds(data, seed, models) for seed in (42, 43))
    held = two.index[two == 0]
    pairs = [(a, b) for a in held for b in two.index[two != 0] if one[a] == one[b]]
    twins_are(data, [(*pairs[0], "leaf")])
    assert diagnosis.trained_twins(open_ensemble()).to_dict() == {pairs[0][0]: "same leaf"}


def test_top_losses_begin_with_the_surest_mistake():
    probs, labels = predictions([("a", "a"), ("b", "c"), ("a", "d")])
    probs.loc["2.jpg"] = [0.05, 0, 0, 0.95, 0, 0]
    losses = diagnosis.top_losses(probs, labels, 2)
    assert list(losses.index) == ["1.jpg", "2.jpg"]
    assert losses.of_label.to_list() == pytest.approx([0.04, 0.05])
    assert losses.predicted.to_list() == ["c", "d"]
    assert losses.of_predicted.to_list() == pytest.approx([0.8, 0.95])
    assert len(diagnosis.top_losses(probs, labels)) == 3
