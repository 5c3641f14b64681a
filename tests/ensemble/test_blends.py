"""The methods: which weights and temperatures each finds, against answers worked by hand."""

import numpy as np
import pandas as pd
import pytest
from simulated import DESERVING, few, holdout, simulate
from small_tables import table

from src.ensemble import blends, search
from src.ensemble.blends import PLAIN
from src.evidence import average


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
