"""What a search decides: equal weights and TTA stay unless the evidence is against them."""

import re

import numpy as np
import pandas as pd
import pytest
from small_tables import table

from src.core import UserError
from src.ensemble import search
from src.ensemble.report import as_text
from src.ensemble.search import STRICT, Trial
from src.evidence import comparison_of


def compared(gained, lost):
    """A comparison of 1,000 images at the level that a search wants."""
    gains = np.repeat([1, -1, 0], [gained, lost, 1000 - gained - lost])
    return comparison_of(gains, alpha=STRICT)


def trials_of(**comparisons):
    """Trials as a search returns them, with these comparisons."""
    probs = table([[0.9, 0.1]])
    trials = {"equal": Trial(probs, None, {"m": 1.0})}
    return trials | {name: Trial(probs, c, {"m": 1.0}) for name, c in comparisons.items()}


def test_one_chance_in_twenty_is_not_enough_for_the_best_of_six():
    lucky = trials_of(families=compared(13, 3), greedy=compared(8, 10))  # p 0.021
    assert search.choose(lucky)[0] == "equal"
    sure = trials_of(families=compared(16, 2), greedy=compared(13, 3))  # p 0.0013
    assert search.choose(sure)[0] == "families"


def test_the_largest_of_several_proven_gains_is_taken():
    trials = trials_of(families=compared(16, 2), simplex=compared(25, 5), greedy=compared(90, 60))
    name, why = search.choose(trials)
    assert name == "simplex"
    assert why == (
        "the weights by simplex are taken: +20 of 1,000 images (99.2 % +6 … +27, p 0.00032): "
        "evidence that weighing by simplex helps against equal weights "
        "(the best of 6 needs p below 0.05 / 6)"
    )


def test_a_mean_or_temperatures_that_prove_better_are_taken_by_their_name():
    for method, taken in (("geometric", "the geometric mean is"),
                          ("temperature", "a temperature for each model is")):
        trials = trials_of(families=compared(6, 4), **{method: compared(25, 5)})
        name, why = search.choose(trials)
        assert name == method and why.startswith(f"{taken} taken: +20 of 1,000")


def test_a_proven_loss_keeps_equal_weights_and_is_called_worse():
    trials = trials_of(families=compared(2, 16))
    name, why = search.choose(trials)
    assert name == "equal" and "hurts against equal weights" in why
    labels = pd.Series({"0.jpg": "a"})
    assert as_text(search.trials_table(trials, labels)).splitlines()[-1].endswith("worse")


def test_no_verdict_contradicts_the_interval_beside_it():
    for lost in range(21):
        trials = trials_of(families=compared(10, lost))
        row = search.trials_table(trials, pd.Series({"0.jpg": "a"})).iloc[1]
        texts = [search.choose(trials, select)[1] for select in ("auto", "families")]
        for text in (f"{row['more right than equal']} {row.verdict}", *texts):
            low, high = re.search(r"99.2 % (\S+) … ([^,]+),", text).groups()
            proven = not int(low.replace("−", "-")) <= 0 <= int(high.replace("−", "-"))
            assert proven == ("no evidence" not in text), text


def test_what_no_weights_express_is_never_chosen():
    trials = trials_of(families=compared(3, 3), stacking=compared(50, 0))
    trials["stacking"] = trials["stacking"]._replace(weights=None)
    assert search.choose(trials)[0] == "equal"
    text = as_text(search.trials_table(trials, pd.Series({"0.jpg": "a"})))
    assert text.splitlines()[-1].endswith("better; a yardstick, no plain weights express it")


def test_what_is_asked_for_is_taken_without_proof():
    trials = trials_of(families=compared(8, 9))
    name, why = search.choose(trials, "families")
    assert name == "families" and "as asked for" in why and "no evidence" in why
    assert search.choose(trials, "equal") == ("equal", "equal weights are taken as asked for")


def test_an_unknown_choice_names_the_known_ones():
    with pytest.raises(UserError, match="greedy"):
        search.choose(trials_of(), "gredy")


def test_the_table_says_everything_in_images():
    trials = trials_of(families=compared(3, 6))
    lines = as_text(search.trials_table(trials, pd.Series({"0.jpg": "a"}))).splitlines()
    assert lines[0].split()[0] == "method"
    assert "0 of 1 wrong" in lines[1] and lines[1].endswith("the incumbent")
    assert "−3 (99.2 % −8 … +5, p 0.51)" in lines[2] and lines[2].endswith("no evidence")


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
