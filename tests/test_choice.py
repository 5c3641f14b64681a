"""What a search decides: equal weights and TTA stay unless the evidence is against them."""

import pandas as pd
import pytest
from small_tables import table

from src import search
from src.config import UserError
from src.evidence import Comparison
from src.report import as_text
from src.search import Trial


def compared(difference, low, high, p, images=1000):
    return Comparison(images, max(difference, 0), max(-difference, 0), p, low, high, 0, 0, 0)


def trials_of(**comparisons):
    """Trials as a search returns them, with these comparisons."""
    probs = table([[0.9, 0.1]])
    trials = {"equal": Trial(probs, None, {"m": 1.0})}
    return trials | {name: Trial(probs, c, {"m": 1.0}) for name, c in comparisons.items()}


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
