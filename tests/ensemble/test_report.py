"""What is printed of an ensemble, and its figures: they say what the numbers say."""

import re

import numpy as np
import pandas as pd
import pytest
from simulated import ensemble_of, few
from small_bundles import CLASSES, bundle_in, call, record, strong_and_weak_in, sure
from small_tables import table

from src import competition
from src.core import make_variant
from src.ensemble import figures, open_ensemble, report, weights
from src.ensemble.__main__ import main
from src.ensemble.ensemble import lacking
from src.ensemble.search import nested
from src.evidence import FEWEST_IMAGES, wilson

A, B = [0.9, 0.1], [0.1, 0.9]


# On the command line


def test_the_hold_out_error_is_that_of_the_images_all_members_held_out(models, data):
    truth = competition.train_table(data).label  # 100001 a, 100002 b, 100003 c, 100004 a, …
    one = sure(dict(truth.iloc[:4]), CLASSES, 0.5)  # 0.5, 0.25, 0.25
    two = sure(dict(truth.iloc[2:6]), CLASSES, 0.5)
    two.loc["100003.jpg"] = [0.9, 0.05, 0.05]  # is c: (0.9 + 0.25) / 2 against (0.05 + 0.5) / 2
    bundle_in(models, data, "one", valid=one)
    bundle_in(models, data, "two", "swin", valid=two)
    out = call(main).stdout
    assert "all of them held out: 1 of 2 wrong: 50.00 %" in out
    assert record(models)["holdout"] == {"wrong": 1, "images": 2}
    assert re.search(r"^ *one +vit +0 of 4 wrong.* 0 of 4 wrong", out, re.M)
    assert re.search(r"^ *two +swin +1 of 4 wrong", out, re.M)
    # Four to one: 0.38 for a, 0.41 for c.
    assert "held out: 0 of 2 wrong" in call(main, "--weights", "vit=4").stdout


@pytest.mark.parametrize("common", [0, FEWEST_IMAGES - 1])
def test_nothing_is_claimed_of_too_few_common_images(sixty, common):
    data = competition.find("")
    labels, rest = competition.train_table(data).label, (60 - common) // 2
    held = {"vit": labels.iloc[: rest + common], "swin": labels.iloc[rest : 2 * rest + common]}
    for fold, (family, truth) in enumerate({**held, "resnet": labels}.items()):
        variant = make_variant(arch="test_vit", tta="none", fold=fold).recipe
        bundle_in(sixty, data, f"{family}_x", family, sure(dict(truth), CLASSES), variant=variant)
    out = call(main, "--weights", "vit=2").stdout
    assert ("no error is known" in out) == (common == 0)
    assert f"there are 3 and {common}: resnet_x held out fold 2 of seed 42, " in out
    for claim in ("evidence", "gain", "disagree", "contribution", "log-loss", "common images "):
        assert claim not in out


def test_gain_agreement_and_contributions_are_printed_without_a_search(sixty):
    strong_and_weak_in(sixty, competition.find(""))
    out = call(main).stdout
    assert "ensemble, on the images all of them held out: 20 of 60 wrong: 33.33 %" in out
    assert re.search(r"^gain of the ensemble: −20 of 60 .*averaging 3 models hurts against strong "
                     r"alone.*; log-loss \+0.* alone 0 of 60 wrong.*--weights NAME=0", out, re.M)
    assert re.search(r"^two members disagree on 0 … 20 of 60 images, weak_one and weak", out, re.M)
    assert re.search(r"^resnet +2 +0 of 60 wrong: .* −20 \(95 %", out, re.M)
    assert re.search(r"^strong +1 +20 of 60 wrong: .* 0 \(95 %", out, re.M)
    assert "against equal weights" not in out and "method" not in out
    alone = call(main, "strong").stdout
    assert "gain of" not in alone and "disagree" not in alone


def test_what_is_typed_is_compared_with_equal_weights_and_shown(sixty):
    strong_and_weak_in(sixty, competition.find(""))
    words = "--mean geometric --temperatures vit=1.5 weak_one=0.8 --weights strong=2"
    out = call(main, *words.split()).stdout
    assert re.search("that these weights .* against equal ones", out)
    shown = re.findall(r"^(\w+) +\w+ +\d+ of 60 .* ([\d.]+) +([\d.]+)$", out, re.M)
    assert shown == [("strong", "2", "1.5"), ("weak_one", "1", "0.8"), ("weak_two", "1", "1")]


def test_the_search_is_printed_and_how_to_repeat_it(sixty):
    strong_and_weak_in(sixty, competition.find(""))
    out = call(main, "--select", "auto").stdout
    assert re.search(r"^equal +20 of 60 wrong: .*the incumbent$", out, re.M)
    assert re.search(r"^stacking +.*; a yardstick", out, re.M)
    assert not re.search(r"^(geometric|temperature) .*yardstick", out, re.M)
    assert re.search(r"^\w+ is taken: \+\d+ of 60 images", out, re.M)
    assert re.search(r"wrong: 0.00 % \(.*\); each by what was learnt from others$", out, re.M)
    written = record(sixty)
    assert f"to repeat it: --weights {written['weights']}\n" in out


@pytest.mark.parametrize(
    ("folds", "words", "remedy"),
    [
        ((0, 1), "", "train them for the same fold"),
        ((1, 1), "", "train more of their folds"),
        ((0,), "", "train another model for the same fold"),
        (("all", "all"), "", "train models with a fold, the same for all"),
        ((0, "all"), "", "train another model for the same fold"),
        ((0, 0), "vit0=0", "give vit0_x a weight above 0"),
    ],
)
def test_a_comparison_that_is_not_possible_names_what_makes_it_so(sixty, folds, words, remedy):
    data = competition.find("")
    labels = competition.train_table(data).label
    for number, fold in enumerate(folds):
        held = {0: labels, 1: labels.iloc[:10], "all": labels.iloc[:0]}[fold]
        variant = make_variant(arch="test_vit", tta="none", fold=fold).recipe
        bundle_in(sixty, data, f"vit{number}_x", f"vit{number}", sure(dict(held), CLASSES),
                  variant=variant)
    assert lacking(open_ensemble(words)).endswith(f"; {remedy}")


# Tables and sentences


def test_contributions_by_hand():
    right, wrong = [0.9, 0.1], [0.2, 0.8]
    tables = {
        "x_0": table([right, right, right, right] * 15),
        "x_1": table([right, wrong, wrong, right] * 15),
        "y_0": table([[0.45, 0.55], wrong, [0.05, 0.95], right] * 15),
    }
    labels = pd.Series("a", index=tables["x_0"].index)
    # The mean is wrong in every second image of four (0.43) and third (0.38).
    ensemble = ensemble_of(tables, labels, {"x_0": "x", "x_1": "x", "y_0": "y"})
    rows = report.contributions(ensemble).to_numpy().tolist()
    found = [(name, models, *(cell.split()[0] for cell in cells)) for name, models, *cells in rows]
    assert found == [("x", 2, "45", "+15"), ("x_0", 1, "30", "0"), ("x_1", 1, "15", "−15"),
                     ("y_0", 1, "0", "−30")]
    assert "of 60 wrong" in rows[0][2] and "(95 % −" in rows[3][3]
    alone = report.contributions(ensemble_of(tables, labels))  # the only family has no row
    assert alone.without.tolist() == list(tables)


def test_disagreement_and_error_correlation_by_hand():
    tables = {"one": table([A, A, B, B] * 20), "two": table([A, A, B, A] * 20).iloc[::-1],
              "three": table([A, A, A, A] * 20)}
    ensemble = ensemble_of(tables, pd.Series("a", index=tables["one"].index))
    found = report.disagreement(tables).to_numpy().tolist()
    assert found == [[0, 20, 40], [20, 0, 20], [40, 20, 0]]
    correlation = report.error_correlation(tables, ensemble.labels)
    assert correlation.loc["one", "two"] == pytest.approx(1 / np.sqrt(3))
    assert np.isnan(correlation.loc["one", "three"])  # never wrong
    line = report.agreement(ensemble)
    assert line == ("two members disagree on 20 … 40 of 80 images, one and two least; "
                    "their errors correlate +0.58, those of one and two most")
    pair = ensemble_of({name: tables[name] for name in ("one", "two")}, ensemble.labels)
    line = report.agreement(pair)
    assert line == "one and two disagree on 20 of 80 images; their errors correlate +0.58"
    cells = [t.get_text() for t in figures.disagreement_map(ensemble).axes[0].texts]
    assert cells == ["20", "40", "20"]  # two and one, three and one, three and two


def test_images_are_binned_by_how_sure_the_ensemble_is():
    probs = table([[0.95, 0.05], [0.92, 0.08], [0.55, 0.45], [0.0, 1.0]])
    bins = report.confidence_bins(probs, pd.Series("a", index=probs.index))
    assert bins.images.to_dict() == {5: 1, 9: 3}
    assert bins.right.to_dict() == pytest.approx({5: 1, 9: 2 / 3})
    assert bins.sure[9] == pytest.approx((0.95 + 0.92 + 1) / 3)
    assert (bins.low[9], bins.high[9]) == wilson(2, 3)


def test_calibrated_images_have_the_temperature_of_fits_that_did_not_see_them():
    tables, families, labels = few(100, 1)
    expected, blend = nested(weights.temperatures, weights.gather(tables, families, labels))
    temperature, after = report.calibrated(ensemble_of(tables, labels))
    assert temperature == pytest.approx(blend.temperatures[0])
    assert after.to_numpy() == pytest.approx(expected)


def test_sentences_of_reliability_and_classes_come_from_the_numbers():
    probs = table([[0.9, 0.1]] * 60 + [[0.1, 0.9]] * 40)  # 90 % sure, 60 % right
    ensemble = ensemble_of({"one": probs}, pd.Series("a", index=probs.index))
    text = report.reliability_sentence(ensemble)
    assert "confidence is 90.0 %, with 40 of 100 wrong" in text
    assert float(re.search(r"temperature of ([\d.]+)", text)[1]) > 3
    assert "log-loss −" in text and text.endswith(", evidence that it helps")
    few_images = ensemble_of({"one": probs[:9]}, ensemble.labels)
    assert "there are 9" in report.reliability_sentence(few_images)
    for submission, verdict in (([95, 5], "more"), ([48, 52], "no more")):
        counts = pd.DataFrame({"training": [500, 500], "submission": submission}, index=list("ab"))
        text = report.class_sentence(counts)
        assert f"training's {verdict} than chance" in text
        assert f"furthest off is a: {submission[0]} images where 50 are expected" in text


def test_classes_are_counted_beside_training_even_those_never_predicted():
    probs = table([[0.9, 0.1, 0.0], [0.8, 0.1, 0.1], [0.5, 0.5, 0.0]], "bac")
    counts = report.class_counts(probs, pd.Series(["a", "a", "b", "c"]))
    assert counts.training.to_dict() == {"a": 2, "b": 1, "c": 1}
    assert counts.submission.to_dict() == {"a": 1, "b": 2, "c": 0}  # a tie goes by name
