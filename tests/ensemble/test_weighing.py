"""The methods: which weights and temperatures each finds, against answers worked by hand."""

import numpy as np
import pytest
from scipy.special import softmax
from simulated import holdout, simulate

from src.ensemble import weights


def test_simplex_weights_by_hand():
    # Of four images one is known to the first only, three to the second only: 1/4 and 3/4.
    likelihood = np.array([[1, 1e-7, 1e-7, 1e-7], [1e-7, 1, 1, 1], [0.1, 0.1, 0.1, 0.1]])
    assert weights.simplex(likelihood) == pytest.approx([0.25, 0.75, 0], abs=1e-3)


def test_models_of_a_family_share_its_weight_equally():
    tables, families, labels = simulate(0, {"a": (2, 0, 0.4, 0.5), "b": (1, 0, 0.9, 0.5)}, 1000)
    held = weights.gather(tables, families, labels)
    found = weights.family_weights(held, np.arange(500, 1000)).weights
    assert found[0] == found[1] > found[2]
    assert found.sum() == pytest.approx(1)
    rest = held._replace(stack=held.stack[:, 500:], truth=held.truth[500:])
    assert found == pytest.approx(weights.family_weights(rest, np.arange(500)).weights)


def test_greedy_takes_the_pair_that_completes_each_other():
    first = [[0.9, 0.1], [0.9, 0.1], [0.55, 0.45], [0.55, 0.45]]  # right, right, wrong, wrong
    second = [[0.45, 0.55], [0.45, 0.55], [0.1, 0.9], [0.1, 0.9]]  # the other way round
    idle = [[0.4, 0.6], [0.4, 0.6], [0.6, 0.4], [0.6, 0.4]]  # always wrong
    picks = weights.forward(np.array([first, second, idle]), np.array([0, 0, 1, 1]))
    assert len(picks) == weights.PICKS
    assert np.bincount(picks, minlength=3).tolist() in ([13, 12, 0], [12, 13, 0])


def test_greedy_wants_images_right_before_log_loss():
    often = [[0.51, 0.49]] * 3 + [[0.3, 0.7]]  # three right, hardly
    surely = [[0.99, 0.01]] * 2 + [[0.49, 0.51]] * 2  # two right, surely; the others nearly
    stack = np.array([often, surely])
    assert weights.forward(stack, np.zeros(4, dtype=int))[0] == 0
    assert weights.forward(stack[:, :2], np.zeros(2, dtype=int))[0] == 1  # but for the loss


def test_a_temperature_makes_up_for_logits_that_were_doubled():
    random = np.random.default_rng(0)
    probs = softmax(random.normal(0, 2, (20_000, 5)), axis=1)
    truth = (random.random((20_000, 1)) > probs.cumsum(axis=1)).sum(axis=1)
    assert weights.fit_temperature(probs, truth) == pytest.approx(1, abs=0.05)
    doubled = weights.with_temperature(probs, 0.5)
    assert weights.fit_temperature(doubled, truth) == pytest.approx(2, abs=0.1)


def test_each_member_has_its_own_temperature_fitted_on_the_rows_to_learn_from():
    held, rows = holdout(1_000, 2), np.arange(900)
    held.stack[1] = weights.with_temperature(held.stack[1], 0.5)
    fitted = [weights.fit_temperature(probs[:900], held.truth[:900]) for probs in held.stack]
    assert weights.temperatures(held, rows).temperatures == pytest.approx(fitted)
    assert fitted[1] > 1.3 * fitted[0]
