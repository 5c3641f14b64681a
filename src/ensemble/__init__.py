"""Finished models are averaged: the members, their weights, the hold-out error, the submission.

Only tables; torch is loaded when predictions are missing.
"""

from src.ensemble.ensemble import PARAMETERS, ensemble_probs, open_ensemble, write_ensemble
from src.ensemble.report import (
    agreement, contributions, holdout_text, members_sentence, members_table,
)  # fmt: skip
from src.ensemble.search import find_trials, reweigh, search_text, trials_table
