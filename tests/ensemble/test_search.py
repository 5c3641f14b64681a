"""The search for weights: right where the truth is known, judged on images it did not see."""


import numpy as np
import pandas as pd
import pytest
from simulated import DESERVING, EQUAL, few, holdout, simulate
from small_tables import table
from threadpoolctl import threadpool_info, threadpool_limits

from src.ensemble import search, weights
from src.ensemble.report import error_correlation
from src.ensemble.search import STRICT, Trial, choose, nested, trials_table
from src.ensemble.weights import METHODS, WEIGHTS, Holdout
from src.evidence import average, comparison_of, wrong_of

# The claim, at full size: 20 models, 10,407 images, 10 classes


@pytest.mark.parametrize("seed", [0, 1])
def test_equal_weights_are_kept_where_they_are_right(seed):
    tables, families, labels = simulate(seed, EQUAL)
    trials = search.search(tables, families, labels, WEIGHTS, repeats=1)
    assert choose(trials)[0] == "equal"
    assert trials["equal"].weights == dict.fromkeys(sorted(tables), 1.0)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_family_that_deserves_more_gets_more_and_it_pays(seed):
    tables, families, labels = simulate(seed, DESERVING)
    if seed == 0:  # the simulation is as hard as the competition
        errors = [wrong_of(probs, labels)[0] / len(labels) for probs in tables.values()]
        assert 0.013 < min(errors) and max(errors) < 0.032
        correlation = error_correlation(tables, labels)
        assert correlation.loc["swin_0", "swin_1"] > correlation.loc["swin_0", "vit_0"] > 0.3
    trials = search.search(tables, families, labels, WEIGHTS, repeats=1)
    chosen, _ = choose(trials)
    assert chosen != "equal"
    found = pd.Series(trials[chosen].weights)
    by_family = found.groupby(pd.Series(families)).mean()
    assert by_family["vit"] > 2 * by_family.drop("vit").max()
    fresh, _, answers = simulate(1000 + seed, DESERVING, images=4_000)
    weighted = average(fresh.values(), found[list(fresh)])
    assert wrong_of(weighted, answers) < wrong_of(average(fresh.values()), answers)


# The nested estimate


def test_nested_predictions_come_from_fits_that_did_not_see_the_image():
    held, seen = holdout(), []

    def spy(held, rows):
        seen.append(rows)
        return weights.equal(held, rows)

    nested(spy, held, repeats=2)
    assert len(seen) == 2 * search.PARTS
    everything = np.arange(len(held.images))
    for repeat in (seen[: search.PARTS], seen[search.PARTS :]):
        predicted = np.concatenate([np.setdiff1d(everything, rows) for rows in repeat])
        assert sorted(predicted) == everything.tolist()
    assert set(seen[0]) != set(seen[search.PARTS])  # each time other parts


def test_each_part_has_its_share_of_each_class():
    truth = np.repeat([0, 1, 2], [50, 20, 7])
    for part in search._parts(truth, 2):
        assert np.abs(np.bincount(truth[part], minlength=3) - [10, 4, 1.4]).max() < 1


def test_weights_that_only_remember_do_not_look_better():
    # Many models on few images: what greedy finds on these images is not there on others.
    held = holdout(images=400, models=30)
    fitted = weights.apply(weights.greedy(held, np.arange(400)), held.stack)
    probs, _ = nested(weights.greedy, held, repeats=3)
    wrong = [(probs.argmax(axis=1) != held.truth).sum() for probs in (fitted, probs)]
    assert wrong[0] < wrong[1]


def test_equal_weights_predict_what_the_ensemble_predicts_on_one_thread(monkeypatch):
    threads = []

    def spy(held, rows):
        threads.extend(pool["num_threads"] for pool in threadpool_info())
        return weights.equal(held, rows)

    tables, families, labels = few()
    monkeypatch.setitem(METHODS, "same", spy)
    with threadpool_limits(2):
        trials = search.search(tables, families, labels, ["same"], repeats=1)
    assert set(threads) == {1}  # which is several times faster
    for name in ("equal", "same"):
        pd.testing.assert_frame_equal(trials[name].probs, average(tables.values()))
    assert trials["same"].comparison.difference == 0
    assert trials["same"].comparison.alpha == STRICT == 0.05 / 5


def test_the_order_of_models_images_and_classes_changes_nothing():
    tables, families, labels = few(200, 4)
    turned = {name: tables[name].iloc[::-1, ::-1] for name in reversed(tables)}
    ours = search.search(tables, families, labels, WEIGHTS, repeats=1)
    theirs = search.search(turned, families, labels.iloc[::-1], WEIGHTS, repeats=1)
    for name in ours:
        assert ours[name].comparison == theirs[name].comparison
        assert ours[name].weights == pytest.approx(theirs[name].weights, abs=1e-3)


def test_models_that_are_never_wrong_are_weighed_equally():
    right = table([[0.9, 0.1], [0.2, 0.8]] * 30)
    labels = pd.Series(["a", "b"] * 30, index=right.index)
    both = {"one": right, "other": right}
    trials = search.search(both, {"one": "x", "other": "y"}, labels, ["greedy"], repeats=1)
    assert trials["greedy"].weights == {"one": 1.0, "other": 1.0}


# The yardstick


def sharp(images=300):
    """One model that is right but for a class it gives to its neighbour; all three are common."""
    truth = np.arange(images) % 3
    probs = np.full((1, images, 3), 0.15)
    probs[0, np.arange(images), np.where(truth == 2, 1, truth)] = 0.7
    probs[0, truth == 2] = [0.05, 0.6, 0.35]
    names = pd.Index([f"{n}.jpg" for n in range(images)])
    return Holdout(["x"], ["x"], names, pd.Index(list("abc")), probs, truth)


def test_stacking_learns_what_weights_cannot_also_of_a_class_too_rare_for_every_part():
    held = sharp()
    probs = search.stacking(held)
    assert probs.sum(axis=1) == pytest.approx(1)
    assert (held.stack[0].argmax(axis=1) != held.truth).sum() == 100
    assert (probs.argmax(axis=1) != held.truth).sum() == 0
    assert probs.max() < 0.9  # though larger weights would always lower the loss of separable data
    rare = np.where(np.arange(60) == 0, 2, sharp(60).truth % 2)
    assert np.isfinite(search.stacking(sharp(60)._replace(truth=rare))).all()


def test_stacking_does_not_learn_from_the_image_it_predicts():
    held = holdout(300, 2)
    random = held._replace(truth=np.random.default_rng(0).permutation(held.truth))
    right = (search.stacking(random).argmax(axis=1) == random.truth).mean()
    assert right < 1.2 * np.bincount(held.truth).max() / 300


# The choice


def trials_of(**counts):
    """Trials as a search returns them, method → images (gained, lost) of 1,000."""
    trials = {"equal": Trial(table([[0.9, 0.1]]), None, {"m": 1.0})}
    for name, (gained, lost) in counts.items():
        gains = pd.Series(np.repeat([1, -1, 0], [gained, lost, 1000 - gained - lost]))
        trials[name] = trials["equal"]._replace(comparison=comparison_of(gains, STRICT))
    return trials


@pytest.mark.parametrize(
    ("counts", "chosen"),
    [
        ({"families": (13, 3), "greedy": (8, 10)}, "equal"),  # p 0.021: one chance in twenty
        ({"families": (16, 2), "greedy": (13, 3)}, "families"),  # p 0.0013
        ({"families": (16, 2), "greedy": (90, 60), "temperature": (25, 5)}, "temperature"),
        ({"families": (2, 16)}, "equal"),
    ],
)
def test_the_largest_proven_gain_is_taken_or_equal_weights(counts, chosen):
    name, why = choose(trials_of(**counts))
    assert name == chosen and ("is taken: " in why) == (chosen != "equal")
    assert "(99 % " in why and "best of 5 needs p below 0.05 / 5" in why


def test_what_no_weights_express_is_never_chosen_and_a_choice_of_the_user_always():
    trials = trials_of(families=(3, 3), greedy=(2, 16), stacking=(50, 0))
    trials["stacking"] = trials["stacking"]._replace(weights={})
    assert choose(trials)[0] == "equal" and choose(trials, "greedy")[0] == "greedy"
    rows = trials_table(trials, pd.Series({"0.jpg": "a"}))
    assert [text.partition(";")[0] for text in rows.verdict] == [
        "the incumbent", "no evidence", "worse", "better"
    ]
    assert "yardstick" in rows.verdict[3] and rows.iloc[2, 2].startswith("−14 (99 % ")
