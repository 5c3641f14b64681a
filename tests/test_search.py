import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from src import blends, search
from src.blends import MEAN_METHODS, OTHERS, PLAIN
from src.config import ROOT, UserError
from src.evidence import Comparison, wrong_of
from src.probs import average
from src.report import as_text
from src.search import Trial
from src.worth import error_correlation

MIX = np.array([1764, 1738, 1594, 1442, 1088, 965, 620, 479, 380, 337]) / 10_407  # of the classes
# family → number of models, noise shared by families of one kind, by the family, by nobody
ALIKE = {family: (5, 0, 0.35, 0.4) for family in ("convnext", "swin", "swinv2", "vit")}
MIXED = {family: (5, 0, together, 0.4) for family, together in
         (("convnext", 0.5), ("swin", 0.45), ("swinv2", 0.4), ("vit", 0.3))}
WEAK = {family: (6, 0, 0.7, 0.3) for family in ("convnext", "swin", "swinv2")}
SUBTLE = WEAK | {"vit": (2, 0, 0.2, 0.4)}
KIN = {family: (6, 0.5, 0.5, 0.3) for family in WEAK}
DESERVING = KIN | {"vit": (2, 0, 0.2, 0.4)}


def simulate(seed, families, images=10_407):
    """Tables, families and labels of models that are wrong in 1.5 to 3 % of images, and alike.

    An image is hard for all models, its noise is partly shared; two labels of a thousand are wrong.
    """
    random = np.random.default_rng(seed)
    shape, truth = (images, len(MIX)), random.choice(len(MIX), images, p=MIX)
    hard = np.exp(noise(random, 0.4, (images, 1)))
    shared, of_kind = noise(random, 0.95, shape), noise(random, 1, shape)
    signal = (12.4 * np.eye(len(MIX))[truth] + np.log(MIX)).astype(np.float32)
    ids = pd.Index([f"{number:06d}.jpg" for number in range(images)], name="image_id")
    classes = [f"class {k}" for k in range(len(MIX))]
    tables, family_of = {}, {}
    for family, (count, kind, together, alone) in families.items():
        common = shared + kind * of_kind + noise(random, together, shape)
        for number in range(count):
            probs = blends.softmax(signal + 2 * hard * (common + noise(random, alone, shape)))
            family_of[f"{family}_{number}"] = family
            tables[f"{family}_{number}"] = pd.DataFrame(probs, index=ids, columns=classes)
    truth = np.where(random.random(images) < 0.002, random.choice(len(MIX), images), truth)
    return tables, family_of, pd.Series([classes[k] for k in truth], index=ids)


def noise(random, size, shape):
    return np.float32(size) * random.standard_normal(shape, dtype=np.float32)


def table(rows, columns="ab"):
    """A small table from rows of probabilities; images are named by their number."""
    return pd.DataFrame(rows, columns=list(columns), index=[f"{k}.jpg" for k in range(len(rows))])


def few(images=600, models=6, seed=0):
    """Tables, families and labels of a small competition whose models are alike."""
    families = {f"family{k}": (1, 0, 0.4, 0.8) for k in range(models)}
    return simulate(seed, families, images)


def holdout(images=600, models=6):
    return blends.gather(*few(images, models))


def compared(difference, low, high, p, images=1000):
    return Comparison(images, max(difference, 0), max(-difference, 0), p, low, high, 0, 0, 0)


def trials_of(**comparisons):
    """Trials as a search returns them, with these comparisons."""
    probs = table([[0.9, 0.1]])
    trials = {"equal": Trial(probs, None, {"m": 1.0})}
    return trials | {name: Trial(probs, c, {"m": 1.0}) for name, c in comparisons.items()}


# The claim, at full size: 20 models, 10,407 images, 10 classes


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_equal_weights_are_kept_where_they_are_right(seed):
    tables, families, labels = simulate(seed, ALIKE)
    trials = search.search(tables, families, labels, PLAIN, repeats=1)
    chosen, why = search.choose(trials)
    assert chosen == "equal"
    assert why.startswith("equal weights are kept")
    assert set(trials["equal"].weights.values()) == {1.0}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_family_that_deserves_more_gets_more_and_it_pays(seed):
    tables, families, labels = simulate(seed, DESERVING)
    trials = search.search(tables, families, labels, PLAIN, repeats=1)
    chosen, why = search.choose(trials)
    assert chosen != "equal" and "are taken" in why
    weights = pd.Series(trials[chosen].weights)
    by_family = weights.groupby(pd.Series(families)).mean()
    assert by_family["vit"] > 2 * by_family.drop("vit").max()
    fresh, _, answers = simulate(1000 + seed, DESERVING, images=4_000)
    assert wrong_of(average(fresh, dict(weights)), answers) < wrong_of(average(fresh), answers)


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
        return blends.equal(held, rows)

    search.nested(spy, held, repeats=2, seed=0)
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
    fitted = blends.apply(blends.greedy(held, everything), held.stack)
    nested, _ = search.nested(blends.greedy, held, repeats=3, seed=0)
    wrong = [(probs.argmax(axis=1) != held.truth).sum() for probs in (fitted, nested)]
    assert wrong[0] < wrong[1]


def test_equal_weights_predict_what_the_ensemble_predicts():
    tables, families, labels = few()
    trials = search.search(tables, families, labels, {"same": blends.equal}, repeats=1)
    pd.testing.assert_frame_equal(trials["equal"].probs, average(tables))
    pd.testing.assert_frame_equal(trials["same"].probs, average(tables))
    assert trials["same"].comparison.difference == 0


def test_the_weights_passed_back_predict_what_was_judged():
    tables, families, labels = few()
    held = blends.gather(tables, families, labels)
    trials = search.search(tables, families, labels, PLAIN, repeats=1)
    for name, method in PLAIN.items():
        _, blend = search.nested(method, held, repeats=1, seed=0)
        again = average(tables, trials[name].weights)
        probs = blends.apply(blend, held.stack)
        assert np.abs(again.to_numpy() - probs).max() < 1e-3
        typed = {name: float(f"{weight:g}") for name, weight in trials[name].weights.items()}
        pd.testing.assert_frame_equal(average(tables, typed), again)


def test_the_mean_and_temperatures_passed_back_predict_what_was_judged():
    tables, families, labels = few()
    trials = search.search(tables, families, labels, MEAN_METHODS, repeats=1)
    for name, method in MEAN_METHODS.items():
        held = blends.gather(tables, families, labels)
        _, blend = search.nested(method, held, repeats=1, seed=0)
        heats = trials[name].temperatures
        heated = {n: blends.temper_table(t, heats.get(n, 1.0)) for n, t in tables.items()}
        again = average(heated, trials[name].weights, trials[name].mean == "geometric")
        assert np.abs(again.to_numpy() - blends.apply(blend, held.stack)).max() < 1e-3
    assert trials["geometric"].mean == "geometric" and not trials["geometric"].temperatures
    assert trials["temperature"].mean == "arithmetic"
    assert min(map(abs, np.subtract(list(trials["temperature"].temperatures.values()), 1))) > 0


def test_the_order_of_models_images_and_classes_changes_nothing():
    tables, families, labels = few(200, 4)
    turned = {name: tables[name].iloc[::-1, ::-1] for name in reversed(tables)}
    ours = search.search(tables, families, labels, PLAIN, repeats=1)
    theirs = search.search(turned, families, labels.iloc[::-1], PLAIN, repeats=1)
    for name in ours:
        assert ours[name].comparison == theirs[name].comparison
        assert ours[name].weights == pytest.approx(theirs[name].weights, abs=1e-3)


def test_the_fits_run_on_one_thread_which_is_several_times_faster():
    seen = []

    def spy(held, rows):
        seen.extend(pool["num_threads"] for pool in threadpool_info())
        return blends.equal(held, rows)

    with threadpool_limits(2):
        search.search(*few(50, 2), {"spy": spy}, repeats=1)
    assert set(seen) == {1}


def test_one_model_keeps_its_one_weight():
    tables, families, labels = few(200, models=1)
    trials = search.search(tables, families, labels, repeats=1)
    assert list(trials) == ["equal", *PLAIN, *MEAN_METHODS, *OTHERS]
    assert all(trials[name].weights == {"family0_0": 1.0} for name in PLAIN | MEAN_METHODS)
    assert all(trials[name].weights is None for name in OTHERS)
    assert search.choose(trials)[0] == "equal"


def test_models_that_are_never_wrong_are_weighed_equally():
    right = table([[0.9, 0.1], [0.2, 0.8]] * 30)
    labels = pd.Series(["a", "b"] * 30, index=right.index)
    both = {"one": right, "other": right}
    trials = search.search(both, {"one": "x", "other": "y"}, labels, repeats=1)
    assert search.choose(trials)[0] == "equal"
    assert trials["greedy"].weights == {"one": 1.0, "other": 1.0}


# The methods


def test_simplex_weights_cannot_be_bettered():
    held = blends.gather(*simulate(0, DESERVING, images=2_000))
    likelihood = blends.own(held, np.arange(2_000))
    weights = blends.simplex(likelihood)
    assert weights.min() == 0 and weights.sum() == pytest.approx(1)
    # No step towards any one model lowers the loss: the condition of optimality on the simplex.
    assert (likelihood @ (1 / (weights @ likelihood)) / 2_000).max() < 1 + 1e-3


def test_simplex_weights_by_hand():
    # Of four images one is known to the first only, three to the second only: 1/4 and 3/4.
    likelihood = np.array([[1, 1e-7, 1e-7, 1e-7], [1e-7, 1, 1, 1]])
    assert blends.simplex(likelihood) == pytest.approx([0.25, 0.75], abs=1e-3)


def test_models_of_a_family_share_its_weight_alike():
    tables, families, labels = simulate(0, {"a": (2, 0, 0.4, 0.5), "b": (1, 0, 0.9, 0.5)}, 1000)
    held = blends.gather(tables, families, labels)
    weights = blends.family_weights(held, np.arange(1000)).weights
    assert weights[0] == weights[1] > weights[2]
    assert weights.sum() == pytest.approx(1)


def test_greedy_takes_the_pair_that_completes_each_other():
    first = [[0.9, 0.1], [0.9, 0.1], [0.55, 0.45], [0.55, 0.45]]  # right, right, wrong, wrong
    second = [[0.45, 0.55], [0.45, 0.55], [0.1, 0.9], [0.1, 0.9]]  # the other way round
    idle = [[0.4, 0.6], [0.4, 0.6], [0.6, 0.4], [0.6, 0.4]]  # always wrong
    probs = np.array([first, second, idle]).transpose(2, 0, 1)
    picks = blends.forward(probs, np.array([0, 0, 1, 1]))
    assert len(picks) == blends.PICKS
    assert np.bincount(picks, minlength=3).tolist() in ([13, 12, 0], [12, 13, 0])


def test_greedy_wants_images_right_before_log_loss():
    often = [[0.51, 0.49]] * 3 + [[0.3, 0.7]]  # three right, hardly
    surely = [[0.99, 0.01]] * 2 + [[0.49, 0.51]] * 2  # two right, surely; the others nearly
    probs = np.array([often, surely]).transpose(2, 0, 1)
    assert blends.forward(probs, np.zeros(4, dtype=int))[0] == 0
    assert blends.forward(probs[:, :, :2], np.zeros(2, dtype=int))[0] == 1  # equal but for the loss


def test_geometric_is_the_mean_of_logarithms():
    tables, families, labels = few(50, 3)
    held = blends.gather(tables, families, labels)
    probs = blends.apply(blends.geometric(held, np.arange(50)), held.stack)
    assert np.abs(probs - average(tables, geometric=True).to_numpy()).max() < 1e-12


def test_a_temperature_makes_up_for_logits_that_were_doubled():
    random = np.random.default_rng(0)
    probs = blends.softmax(random.normal(0, 2, (20_000, 5)))
    truth = (random.random((20_000, 1)) > probs.cumsum(axis=1)).sum(axis=1)
    assert blends.fit_temperature(probs, truth) == pytest.approx(1, abs=0.05)
    assert blends.fit_temperature(blends.temper(probs, 0.5), truth) == pytest.approx(2, abs=0.1)
    assert (blends.temper(probs, 3).argmax(axis=1) == probs.argmax(axis=1)).all()


def test_calibrating_lowers_the_log_loss_and_changes_no_prediction():
    tables, _, labels = few(2000, 1)
    (probs,) = tables.values()
    sure = pd.DataFrame(blends.temper(probs.to_numpy(), 0.4), probs.index, probs.columns)
    heat, mended = blends.calibrate(sure, labels)
    assert heat > 1.5
    assert search.log_losses(mended, labels).mean() < search.log_losses(sure, labels).mean()
    assert (mended.idxmax(axis=1) == sure.idxmax(axis=1)).all()


def test_members_are_tempered_one_by_one():
    tables, families, labels = few(3000, 2)
    tables["family1_0"] = tables["family1_0"].pipe(
        lambda t: pd.DataFrame(blends.temper(t.to_numpy(), 0.5), t.index, t.columns)
    )
    held = blends.gather(tables, families, labels)
    heats = blends.tempered(held, np.arange(3000)).temperatures
    assert heats[1] > 1.5 * heats[0]
    assert heats.tolist() == [blends.fit_temperature(probs, held.truth) for probs in held.stack]


def test_stacking_finds_the_better_model_and_a_bias():
    tables, families, labels = simulate(0, {"a": (1, 0, 0.3, 0.3), "b": (1, 0, 0.9, 0.9)}, 4000)
    last = list(tables["a_0"].columns)[-1]
    for name, probs in tables.items():  # both models underrate one class
        less = probs.assign(**{last: probs[last] * 0.05})
        tables[name] = less.div(less.sum(axis=1), axis=0)
    held = blends.gather(tables, families, labels)
    blend = blends.stacked(held, np.arange(4000))
    assert blend.weights[0] > 2 * blend.weights[1]
    assert held.classes[blend.biases.argmax()] == last
    before, after = (blends.apply(b, held.stack)[np.arange(4000), held.truth] for b in
                     (blends.geometric(held, []), blend))
    assert np.log(after).mean() > np.log(before).mean()


def test_a_few_images_cannot_draw_stacking_far_from_equal_weights():
    # Each image is right: without the ridge, larger weights would always lower the loss.
    right = table([[0.6, 0.4], [0.4, 0.6]] * 5)
    labels = pd.Series(["a", "b"] * 5, index=right.index)
    held = blends.gather({"x": right, "y": right}, {"x": "x", "y": "y"}, labels)
    weights = blends.stacked(held, np.arange(10)).weights
    assert weights[0] == pytest.approx(weights[1])
    assert 1 < weights.sum() < 3


@pytest.mark.parametrize("method", PLAIN)
def test_plain_weights_are_shares_of_one(method):
    weights = PLAIN[method](holdout(), np.arange(500)).weights
    assert weights.min() >= 0 and weights.sum() == pytest.approx(1)


# The decision


def test_one_chance_in_twenty_is_not_enough_for_the_best_of_six():
    lucky = trials_of(families=compared(9, 1, 17, 0.03), greedy=compared(-2, -9, 5, 0.7))
    assert search.choose(lucky)[0] == "equal"
    sure = trials_of(families=compared(14, 5, 23, 0.003), greedy=compared(9, 1, 17, 0.03))
    assert search.choose(sure)[0] == "families"


def test_the_largest_of_several_proven_gains_is_taken():
    trials = trials_of(families=compared(14, 5, 23, 1e-3), simplex=compared(20, 9, 31, 1e-4),
                       greedy=compared(30, -2, 62, 0.06))
    name, why = search.choose(trials)
    assert name == "simplex"
    assert why == (
        "the weights by simplex are taken: +20 of 1,000 images (95 % +9 … +31): evidence that "
        "weighing by simplex helps against equal weights (exact p 0.0001, below 0.0083 is wanted)"
    )


def test_a_mean_or_temperatures_that_prove_better_are_taken_by_their_name():
    for method, taken in (("geometric", "the geometric mean is"),
                          ("temperature", "a temperature for each model is")):
        trials = trials_of(families=compared(2, -3, 7, 0.5), **{method: compared(20, 9, 31, 1e-4)})
        name, why = search.choose(trials)
        assert name == method and why.startswith(f"{taken} taken: +20 of 1,000")


def test_a_proven_loss_keeps_equal_weights_and_is_called_worse():
    trials = trials_of(families=compared(-14, -23, -5, 1e-3))
    name, why = search.choose(trials)
    assert name == "equal" and "hurts against equal weights" in why
    labels = pd.Series({"0.jpg": "a"})
    assert as_text(search.trials_table(trials, labels)).splitlines()[-1].endswith("worse")


def test_what_no_weights_express_is_never_chosen():
    trials = trials_of(families=compared(0, -3, 3, 1.0), stacking=compared(50, 40, 60, 1e-9))
    trials["stacking"] = trials["stacking"]._replace(weights=None)
    assert search.choose(trials)[0] == "equal"
    text = as_text(search.trials_table(trials, pd.Series({"0.jpg": "a"})))
    assert text.splitlines()[-1].endswith("better; a yardstick, no plain weights express it")


def test_what_is_asked_for_is_taken_without_proof():
    trials = trials_of(families=compared(-1, -9, 7, 1.0))
    name, why = search.choose(trials, "families")
    assert name == "families" and "as asked for" in why and "no evidence" in why
    assert search.choose(trials, "equal") == ("equal", "equal weights are taken as asked for")


def test_an_unknown_choice_names_the_known_ones():
    with pytest.raises(UserError, match="greedy"):
        search.choose(trials_of(), "gredy")


def test_the_table_says_everything_in_images():
    trials = trials_of(families=compared(-3, -9, 3, 0.5))
    lines = as_text(search.trials_table(trials, pd.Series({"0.jpg": "a"}))).splitlines()
    assert lines[0].split()[0] == "method"
    assert "0 of 1 wrong" in lines[1] and lines[1].endswith("the incumbent")
    assert "−3 (95 % −9 … +3), p 0.5" in lines[2] and lines[2].endswith("no evidence")


# TTA


@pytest.mark.parametrize(
    ("gained", "lost", "used"),
    [(30, 5, True), (5, 5, True), (10, 16, True), (5, 30, False)],
    ids=["helps", "changes nothing", "hurts perhaps", "hurts"],
)
def test_tta_is_used_unless_the_hold_out_says_it_hurts(gained, lost, used):
    right, wrong = [0.8, 0.2], [0.3, 0.7]
    plain = table([wrong] * gained + [right] * (1000 - gained))
    tta = table([right] * gained + [wrong] * lost + [right] * (1000 - gained - lost))
    labels = pd.Series("a", index=plain.index)
    found, why = search.use_tta(plain, tta, labels, "vit_small")
    assert found is used
    assert "TTA" in why and why.endswith("vit_small")
    assert ("hurts" in why) is not used


# What is refused


def test_too_few_common_images_are_refused_with_the_remedy():
    tables, families, labels = few(4, 2)
    with pytest.raises(UserError, match="held out 4 images, a comparison needs 50; .*same fold"):
        search.search(tables, families, labels)


def test_a_model_without_a_family_is_named():
    tables, families, labels = few(20, 2)
    with pytest.raises(UserError, match="family0_0"):
        search.search(tables, {"family1_0": "x"}, labels)


def test_a_label_that_is_no_class_is_refused():
    tables, families, labels = few(20, 2)
    with pytest.raises(UserError, match="no class"):
        search.search(tables, families, labels.replace(labels.iloc[0], "weeds"))


def test_loading_the_search_loads_neither_torch_nor_scipy():
    code = "import sys, src.search; print({'torch', 'scipy', 'sklearn'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr
