"""Doubtful labels: their order, the pages' facts, what is refused, what the lists are worth."""

from html import escape
from pathlib import Path

import pandas as pd
import pytest
from small_bundles import call, refused, sure
from small_labels import HOSTILE, LABELS, competition_in, doubting, model_in, page_in
from small_tables import table

from src import compare, competition, core, review
from src.core import make_variant
from src.looking import labels


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Such a competition and an empty models folder."""
    monkeypatch.setenv("PADDY_WORK", str(tmp_path / "work"))
    monkeypatch.setenv("PADDY_DATA", str(competition_in(tmp_path / "data")))
    return tmp_path / "data", tmp_path / "work" / "models"


def page(place) -> str:
    return (place[1].parent / "review" / "labels.html").read_text(encoding="utf-8")


def test_the_least_credible_label_is_first_by_the_mean_of_those_that_held_it_out():
    one, two = (table(rows) for rows in ([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]], [[0.1, 0.9]]))
    mean, ranked = labels.rank([one, two], pd.Series("a", one.index))
    assert mean.loc["0.jpg"].round(6).tolist() == [0.5, 0.5]
    assert list(ranked.index) == ["2.jpg", "1.jpg", "0.jpg"]
    assert list(ranked.models) == ["b", "b", "a"] and list(ranked.of) == [1, 1, 2]
    assert ranked.agree["0.jpg"] == 1 and ranked.quality["2.jpg"] == pytest.approx(0.2)


def test_classes_are_joined_by_name():
    one = table([[0.9, 0.1]])
    mean, _ = labels.rank([one, one[["b", "a"]]], pd.Series("a", one.index))
    assert mean.a["0.jpg"] == pytest.approx(0.9)


def test_the_nearest_pictures_are_those_whose_label_the_models_confirm():
    probs = table([[0.3, 0.7], [0.6, 0.4], [0.9, 0.1], [0.35, 0.65], [0.32, 0.68]])
    given = pd.Series(["a", "a", "a", "b", "a"], probs.index)
    near = labels.nearest(probs, given, probs.index[:1])
    assert set(near["0.jpg"]) == {"a", "b"}
    assert set(near["0.jpg"]["a"]) == {"1.jpg", "2.jpg"}  # not 4.jpg, which is doubted itself
    assert near["0.jpg"]["b"] == ["3.jpg"]


def test_the_page_says_what_was_looked_at_and_how_to_see_the_rest(place):
    folder, models = place
    held = list(competition.train_table(folder).index[:6])
    variant = make_variant(arch="test_vit")
    model_in(models, folder, variant.name, doubting(folder, {}, held), variant=variant.recipe)
    done = call(review.main, "labels", "--top", "2")
    assert done.stdout.startswith("6 of 18 training photographs were held out, by 1 model; by the "
                                  "given labels 0 of 6 wrong: 0.00 %")
    grid = "arch=test_vit resize=squish size=224 fold=1,2,3,4"
    assert f"python -m src.sweep --grid {grid}\n" in done.stdout
    assert "2 candidates" in done.stdout and page(place).count("<article") == 2
    assert "Nobody has looked for the same leaf twice" in page(place)
    assert "Labels of the test set may be wrong in the same way" in page(place)


def test_a_model_that_is_too_sure_of_itself_does_not_outvote_another(place):
    folder, models = place
    truth, classes = competition.train_table(folder).label, competition.classes(folder)
    wrong = {name: LABELS[truth[name] == LABELS[0]] for name in truth.index[:6]}
    model_in(models, folder, "loud", sure({**truth, **wrong}, classes, 0.98))
    model_in(models, folder, "modest", sure(dict(truth), classes, 0.6))
    done = call(review.main, "labels")
    assert "by 2 models; by the given labels 0 of 18 wrong" in done.stdout, done.stderr


def test_hostile_names_are_text(tmp_path, monkeypatch):
    text = page_in(tmp_path, monkeypatch).read_text(encoding="utf-8")
    assert "<script>window" not in text and "<b>tungro" not in text and "49.jpg" not in text
    assert text.count("<script>") == 1 and "ADT&lt;45&gt;" in text


def test_twins_of_different_labels_come_first_whether_held_out_or_not(place):
    folder, models = place
    truth = competition.train_table(folder).label
    names = list(truth.index)
    other = next(name for name in names[9:] if truth[name] != truth[names[5]])
    model_in(models, folder, "one", doubting(folder, {names[3]: LABELS[0]}, names[:9]))
    twins_are(folder, pd.DataFrame([[names[5], other, "leaf"], [names[1], "20000.jpg", "picture"]]))
    assert call(review.main, "labels").returncode == 0
    text = page(place)
    assert text.count("<article") == 10 and "before them photographs with a twin" in text
    assert text.index(f'alt="{other}') < text.index(f'alt="{names[3]}')
    assert "no model held it out" in text and "a test photograph" in text
    assert f"Twin (leaf) {other}: <b>{escape(truth[other])}" in text


def test_copies_of_a_file_have_its_twins_of_another_label(place):
    folder, models = place
    truth = competition.train_table(folder).label.drop([*HOSTILE])
    first, copy = truth.index[truth == LABELS[0]][:2]
    other = truth.index[truth == LABELS[1]][0]
    model_in(models, folder, "one", doubting(folder, {}))
    twins_are(folder, pd.DataFrame([[first, copy, "identical"], [first, other, "leaf"]]))
    assert call(review.main, "labels").returncode == 0
    cards = page(place).split("<article")[1:4]  # those with a twin of another label
    (card,) = [card for card in cards if f'alt="{copy}, labelled' in card]
    assert f"Twin (leaf) {other}" in card and f"Twin (identical) {first}" in card


def test_a_table_of_twins_that_does_not_fit_is_refused(place):
    folder, models = place
    model_in(models, folder, "one", doubting(folder, {}))
    twins_are(folder, pd.DataFrame(columns=range(3)))
    assert call(review.main, "labels").returncode == 0  # a search that found none
    twins_are(folder, pd.DataFrame([["1.jpg", "2.jpg", "leaf"]]))
    core.write_text(core.review_dir() / "twins.csv", "picture\n")
    assert "python -m src.review twins" in refused(call(review.main, "labels"))
    facts = competition.twins_path().with_suffix(".json")
    core.write_json(facts, {"images": "others", "pairs": 0})
    assert "is of other images than" in refused(call(review.main, "labels"))


def twins_are(folder: Path, pairs: pd.DataFrame) -> None:
    """Write the table that the search for twins leaves."""
    pairs = pairs.set_axis(["a", "b", "kind"], axis=1).assign(group=0, inliers=14)
    competition.write_twins(folder, pairs)


def test_without_held_out_photographs_nothing_is_known(place):
    folder, models = place
    assert "train one: python -m src.run" in refused(call(review.main, "labels"))
    model_in(models, folder, "all", doubting(folder, {}).iloc[:0],
             variant=make_variant(arch="test_vit", fold="all").recipe)
    assert "held out" in refused(call(review.main, "labels"))
    assert not (core.review_dir() / "labels.html").exists()


def test_one_image_one_class_and_wishes_without_sense(place):
    folder, models = place
    name = competition.train_table(folder).index[0]
    model_in(models, folder, "one", doubting(folder, {}, [name]))
    assert call(review.main, "labels").returncode == 0
    assert page(place).count("<article") == 1
    assert "--top 0" in refused(call(review.main, "labels", "--top", "0"))
    with pytest.raises(core.UserError, match="one class"):
        labels.rank([table([[1.0]], "a")], pd.Series("a", ["0.jpg"]))


def test_models_of_another_competition_say_nothing(place):
    folder, models = place
    model_in(models, folder, "foreign", doubting(folder, {}), data="0" * 64)
    assert "no finished model held out" in refused(call(review.main, "labels"))


def test_missing_and_damaged_pictures(place):
    folder, models = place
    model_in(models, folder, "one", doubting(folder, {}))
    path = competition.train_paths(folder)["100001.jpg"]
    path.write_bytes(b"x" * path.stat().st_size)  # the same size: the same fingerprint
    assert call(review.main, "labels").returncode == 0
    assert page(place).count("This picture cannot be read") == 1
    path.unlink()
    assert "100001.jpg" in refused(call(review.main, "labels"))


def test_a_page_takes_no_more_than_its_most(place, monkeypatch):
    folder, models = place
    model_in(models, folder, "one", doubting(folder, {}))
    monkeypatch.setattr(labels, "MOST", 5)
    done = call(review.main, "labels", "--top", "10407")
    assert "18 candidates would be a page of 0 MB or more: it has the first 5" in done.stdout
    assert page(place).count("<article") == 5


# What the lists are worth


@pytest.fixture
def lists(place, monkeypatch, tmp_path):
    """Two lists, a finished model, and trainings that make the hold-out right or wrong."""
    folder, models = place
    truth = competition.train_table(folder).label
    row = make_variant(arch="test_vit", tta="none", pretrained=False)
    monkeypatch.setattr("src.core.variant.load_variants", lambda: {row.name: row})

    def train(variant, folder, models):
        folds = competition.get_folds(folder, variant.seed, models, variant.split)
        held = list(folds.index[folds == variant.fold])
        wrong = {} if variant.exclude else {name: LABELS[truth[name] == LABELS[0]] for name in held}
        model_in(models, folder, variant.name, doubting(folder, wrong, held),
                 variant=variant.recipe, corrections=competition.digests(variant))

    monkeypatch.setattr(compare, "run_notebook", train)
    train(row, folder, models)
    core.write_text(tmp_path / "exclude.csv", "image_id\n100001.jpg\n")
    core.write_text(tmp_path / "relabel.csv", "image_id,label\n100002.jpg,blast\n")
    return tmp_path


def test_effect_compares_a_row_with_and_without_the_lists(lists, monkeypatch):
    words = "--exclude", lists / "exclude.csv", "--relabel", lists / "relabel.csv", "--seeds", "2"
    done = call(review.main, "effect", *words)
    assert done.returncode == 0, done.stderr
    every, verdict, others = done.stdout.strip().splitlines()[-3:]
    assert "test_vit_squish_224 → test_vit_squish_224_reviewed_" in every
    assert "is better than test_vit_squish_224" in verdict
    assert "photographs that nobody marked: +" in others
    monkeypatch.setattr("src.core.variant.load_variants", dict)  # a finished model needs no row
    again = call(review.main, "effect", "test_vit_squish_224", *words)
    assert "training" not in again.stdout and again.stdout.endswith(others + "\n")
    (lists / "elsewhere").mkdir()
    moved = [lists / "elsewhere" / path.name if isinstance(path, Path) else path for path in words]
    for old, new in zip(words, moved, strict=True):
        new is old or old.rename(new)
    again = call(review.main, "effect", *moved)  # the same lists are the same row
    assert "training" not in again.stdout and again.stdout.endswith(others + "\n"), again.stderr
    words = moved
    core.write_text(moved[1], "image_id\n100003.jpg\n")
    assert "training" in call(review.main, "effect", *words).stdout  # another list is another row


def test_the_effect_on_photographs_that_nobody_marked_counts_no_others(lists, place):
    folds, said = competition.get_folds(place[0], 42, place[1]), []
    one, *others = folds.index[folds == 0]
    pd.DataFrame([[one, "blast"]], columns=["image_id", "label"]).to_csv(
        lists / "relabel.csv", index=False)
    words = "--exclude", lists / "exclude.csv", "--relabel", lists / "relabel.csv", "--seeds", "1"
    for dropped in (others[:1], others):
        pd.Series(dropped, name="image_id").to_csv(lists / "exclude.csv", index=False)
        said.append(call(review.main, "effect", *words).stdout)
        assert "4 predictions of 4 images" in said[-1]
    assert "the 2 of them of photographs that nobody marked: +2 predictions" in said[0]
    assert "nobody marked" not in said[1]


@pytest.mark.parametrize(("text", "why"), [
    ("image_id\n7.jpg\n", "no image of train.csv"), ("image_id\n", "no rows"),
    ("image_id\n100002.jpg\n", "excluded by"), ("name\n100001.jpg\n", "image_id"),
])  # fmt: skip
def test_lists_of_another_competition_and_contradicting_ones_are_refused(lists, text, why):
    core.write_text(lists / "exclude.csv", text)
    words = "--exclude", lists / "exclude.csv", "--relabel", lists / "relabel.csv"
    assert why in refused(call(review.main, "effect", *words))


def test_effect_needs_a_list(lists):
    assert "add --exclude FILE" in refused(call(review.main, "effect"))
