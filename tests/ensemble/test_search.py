"""The search for weights: right where the truth is known, judged on images it did not see."""

import numpy as np
import pandas as pd
import pytest
from simulated import ALIKE, DESERVING, few, holdout, simulate
from small_tables import table
from threadpoolctl import threadpool_info, threadpool_limits

from src.core import UserError
from src.ensemble import search, weights
from src.ensemble.report import error_correlation
from src.ensemble.search import STACKING, STRICT, choose, nested
from src.ensemble.weights import METHODS, WEIGHTS, Holdout
from src.evidence import average, wrong_of

# The claim, at full size: 20 models, 10,407 images, 10 classes


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_equal_weights_are_kept_where_they_are_right(seed):
    tables, families, labels = simulate(seed, ALIKE)
    trials = search.search(tables, families, labels, WEIGHTS, repeats=1)
    chosen, why = choose(trials)
    assert chosen == "equal"
    assert why.startswith("equal weights are kept")
    assert set(trials["equal"].weights.values()) == {1.0}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_family_that_deserves_more_gets_more_and_it_pays(seed):
    tables, families, labels = simulate(seed, DESERVING)
    trials = search.search(tables, families, labels, WEIGHTS, repeats=1)
    chosen, why = choose(trials)
    assert chosen != "equal" and "is taken" in why
    weights = pd.Series(trials[chosen].weights)
    by_family = weights.groupby(pd.Series(families)).mean()
    assert by_family["vit"] > 2 * by_family.drop("vit").max()
    fresh, _, answers = simulate(1000 + seed, DESERVING, images=4_000)
    weighted = average(fresh.values(), weights[list(fresh)])
    assert wrong_of(weighted, answers) < wrong_of(average(fresh.values()), answers)


def test_the_simulation_is_as_hard_as_the_competition():
    tables, _, labels = simulate(0, DESERVING)
    errors = [wrong_of(probs, labels)[0] / len(labels) for probs in tables.values()]
    assert 0.013 < min(errors) and max(errors) < 0.032
    correlation = error_correlation(tables, labels)
    assert correlation.loc["swin_0", "swin_1"] > correlation.loc["swin_0", "vit_0"] > 0.3


# The nested estimate


def test_nested_predictions_come_from_fits_that_did_not_see_the_image():
    held, seen = holdout(), []

    def spy(held, rows):
        seen.append(rows)
        return weights.equal(held, rows)

    nested(spy, held, repeats=2, seed=0)
    assert len(seen) == 2 * search.PARTS
    everything = np.arange(len(held.images))
    for repeat in (seen[: search.PARTS], seen[search.PARTS :]):
        predicted = np.concatenate([np.setdiff1d(everything, rows) for rows in repeat])
        assert sorted(predicted) == everything.tolist()
    assert any(set(a) != set(b) for a, b in zip(*np.split(np.array(seen, object), 2), strict=True))


def test_each_part_has_its_share_of_each_class():
    truth = np.repeat([0, 1, 2], [50, 20, 7])
    for part in search._parts(truth, 2, seed=0):
        assert np.abs(np.bincount(truth[part], minlength=3) - [10, 4, 1.4]).max() < 1


def test_weights_that_only_remember_do_not_look_better():
    # Many models on few images: what greedy finds on these images is not there on others.
    held = holdout(images=400, models=30)
    everything = np.arange(len(held.images))
    fitted = weights.apply(weights.greedy(held, everything), held.stack)
    probs, _ = nested(weights.greedy, held, repeats=3, seed=0)
    wrong = [(probs.argmax(axis=1) != held.truth).sum() for probs in (fitted, probs)]
    assert wrong[0] < wrong[1]


def test_equal_weights_predict_what_the_ensemble_predicts(monkeypatch):
    tables, families, labels = few()
    monkeypatch.setitem(METHODS, "same", weights.equal)
    trials = search.search(tables, families, labels, ["same"], repeats=1)
    pd.testing.assert_frame_equal(trials["equal"].probs, average(tables.values()))
    pd.testing.assert_frame_equal(trials["same"].probs, average(tables.values()))
    assert trials["same"].comparison.difference == 0
    assert trials["same"].comparison.alpha == STRICT == 0.05 / 5


@pytest.mark.parametrize("name", METHODS)
def test_what_is_passed_back_predicts_what_was_judged(name):
    tables, families, labels = few()
    held = weights.gather(tables, families, labels)
    trial = search.search(tables, families, labels, [name], repeats=1)[name]
    _, blend = nested(METHODS[name], held)
    stack = [tables[n].to_numpy() for n in tables]
    heats = [trial.temperatures.get(n, 1.0) for n in tables]
    heated = [weights.with_temperature(t, h) if h != 1 else t for t, h in
              zip(stack, heats, strict=True)]
    heated = [pd.DataFrame(values, held.images, held.classes) for values in heated]
    typed = [float(f"{trial.weights[n]:g}") for n in tables]
    again = average(heated, typed, trial.mean == "geometric")
    assert np.abs(again.to_numpy() - weights.apply(blend, held.stack)).max() < 1e-3
    assert (trial.mean == "geometric") == (name == "geometric")
    assert (1 not in heats) == (name == "temperature")


def test_the_order_of_models_images_and_classes_changes_nothing():
    tables, families, labels = few(200, 4)
    turned = {name: tables[name].iloc[::-1, ::-1] for name in reversed(tables)}
    ours = search.search(tables, families, labels, WEIGHTS, repeats=1)
    theirs = search.search(turned, families, labels.iloc[::-1], WEIGHTS, repeats=1)
    for name in ours:
        assert ours[name].comparison == theirs[name].comparison
        assert ours[name].weights == pytest.approx(theirs[name].weights, abs=1e-3)


def test_the_fits_run_on_one_thread_which_is_several_times_faster(monkeypatch):
    seen = []

    def spy(held, rows):
        seen.extend(pool["num_threads"] for pool in threadpool_info())
        return weights.equal(held, rows)

    monkeypatch.setitem(METHODS, "spy", spy)
    with threadpool_limits(2):
        search.search(*few(50, 2), ["spy"], repeats=1)
    assert set(seen) == {1}


def test_one_model_keeps_its_one_weight():
    tables, families, labels = few(200, models=1)
    trials = search.search(tables, families, labels, repeats=1)
    assert list(trials) == ["equal", *METHODS, STACKING]
    assert all(trials[name].weights == {"family0_0": 1.0} for name in METHODS)
    assert trials[STACKING].weights is None
    assert choose(trials)[0] == "equal"


def test_models_that_are_never_wrong_are_weighed_equally():
    right = table([[0.9, 0.1], [0.2, 0.8]] * 30)
    labels = pd.Series(["a", "b"] * 30, index=right.index)
    both = {"one": right, "other": right}
    trials = search.search(both, {"one": "x", "other": "y"}, labels, repeats=1)
    assert choose(trials)[0] == "equal"
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


def test_stacking_learns_what_weights_cannot():
    held = sharp()
    probs = search.stacking(held)
    assert probs.sum(axis=1) == pytest.approx(1)
    assert (held.stack[0].argmax(axis=1) != held.truth).sum() == 100
    assert (probs.argmax(axis=1) != held.truth).sum() == 0
    assert probs.max() < 0.9  # though larger weights would always lower the loss of separable data


def test_stacking_does_not_learn_from_the_image_it_predicts():
    held = holdout(300, 2)
    random = held._replace(truth=np.random.default_rng(0).permutation(held.truth))
    right = (search.stacking(random).argmax(axis=1) == random.truth).mean()
    assert right < 1.2 * np.bincount(held.truth).max() / 300


def test_a_class_too_rare_for_every_part_is_no_failure():
    held = sharp(60)
    truth = np.where(np.arange(60) == 0, 2, held.truth % 2)
    assert np.isfinite(search.stacking(held._replace(truth=truth))).all()


# What is refused


def test_a_label_that_is_no_class_is_refused():
    tables, families, labels = few(60, 2)
    with pytest.raises(UserError, match="no class"):
        search.search(tables, families, labels.replace(labels.iloc[0], "weeds"))
