"""Finished models vote: members, weights, the average, and what it is worth on the hold-out.

Only tables; torch is loaded when predictions are missing.
"""

from src.ensemble.members import members_sentence, members_table
from src.ensemble.search import trials_table
from src.ensemble.vote import (
    PARAMETERS, ensemble_probs, find_trials, open_vote, reweigh, search_text, write_vote,
)  # fmt: skip
from src.ensemble.worth import alike
