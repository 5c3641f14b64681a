"""What a search decides: equal weights stay unless the evidence is against them."""

import re

import numpy as np
import pandas as pd
import pytest
from small_tables import table

from src.ensemble.report import as_text
from src.ensemble.search import STRICT, Trial, choose, trials_table
from src.evidence import comparison_of


def compared(gained, lost):
    """A comparison of 1,000 images at the level that a search wants."""
    gains = pd.Series(np.repeat([1, -1, 0], [gained, lost, 1000 - gained - lost]))
    return comparison_of(gains, alpha=STRICT)


def trials_of(**comparisons):
    """Trials as a search returns them, with these comparisons."""
    probs = table([[0.9, 0.1]])
    trials = {"equal": Trial(probs, None, {"m": 1.0})}
    return trials | {name: Trial(probs, c, {"m": 1.0}) for name, c in comparisons.items()}


def last_row(trials):
    return as_text(trials_table(trials, pd.Series({"0.jpg": "a"}))).splitlines()[-1]


def test_one_chance_in_twenty_is_not_enough_for_the_best_of_five():
    lucky = trials_of(families=compared(13, 3), greedy=compared(8, 10))  # p 0.021
    assert choose(lucky)[0] == "equal"
    sure = trials_of(families=compared(16, 2), greedy=compared(13, 3))  # p 0.0013
    assert choose(sure)[0] == "families"


@pytest.mark.parametrize("method", ["simplex", "geometric", "temperature"])
def test_the_largest_of_several_proven_gains_is_taken(method):
    trials = trials_of(families=compared(16, 2), greedy=compared(90, 60),
                       **{method: compared(25, 5)})
    name, why = choose(trials)
    assert name == method and why.startswith(f"{method} is taken: +20 of 1,000 images (99 % +6 ")
    assert f"evidence that {method} helps against equal weights" in why
    assert "the best of 5 needs p below 0.05 / 5" in why


def test_a_proven_loss_keeps_equal_weights_and_is_called_worse():
    trials = trials_of(families=compared(2, 16))
    name, why = choose(trials)
    assert name == "equal" and "hurts against equal weights" in why
    assert last_row(trials).endswith("worse")


def test_no_verdict_contradicts_the_interval_beside_it():
    for lost in range(21):
        trials = trials_of(families=compared(10, lost))
        texts = [choose(trials, select)[1] for select in ("auto", "families")]
        for text in (last_row(trials), *texts):
            low, high = re.search(r"99 % (\S+) … ([^,]+),", text).groups()
            proven = not int(low.replace("−", "-")) <= 0 <= int(high.replace("−", "-"))
            assert proven == ("no evidence" not in text), text


def test_what_no_weights_express_is_never_chosen():
    trials = trials_of(families=compared(3, 3), stacking=compared(50, 0))
    trials["stacking"] = trials["stacking"]._replace(weights=None)
    assert choose(trials)[0] == "equal"
    assert re.search("better; a yardstick", last_row(trials))


def test_a_choice_of_the_user_is_taken_without_proof():
    name, why = choose(trials_of(families=compared(8, 9)), "families")
    assert name == "families" and "no evidence" in why


def test_the_table_counts_in_images():
    lines = as_text(trials_table(trials_of(families=compared(3, 6)), pd.Series({"0.jpg": "a"})))
    lines = lines.splitlines()
    assert "0 of 1 wrong" in lines[1] and lines[1].endswith("the incumbent")
    assert "−3 (99 % −8 … +5, p 0.51)" in lines[2] and lines[2].endswith("no evidence")
