"""Finished models vote: members, weights, the average, and what it is worth on the hold-out.

Only tables; torch is loaded when predictions are missing.
"""

from src.ensemble.members import members_sentence, members_table
from src.ensemble.search import trials_table
from src.ensemble.vote import (
    PARAMETERS,
    ensemble_probs,
    find_trials,
    open_vote,
    reweigh,
    search_text,
    write_vote,
)
from src.ensemble.worth import alike

__all__ = [
    "PARAMETERS",
    "alike",
    "ensemble_probs",
    "find_trials",
    "members_sentence",
    "members_table",
    "open_vote",
    "reweigh",
    "search_text",
    "trials_table",
    "write_vote",
]
