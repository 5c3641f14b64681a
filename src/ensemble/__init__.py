"""Finished models are averaged: the members, their weights, the hold-out error, the submission.

Only tables; torch is loaded when predictions are missing.
"""

from src.ensemble.ensemble import (
    PARAMETERS, ensemble_probs, find_trials, open_ensemble, reweigh, search_text, write_ensemble,
)  # fmt: skip
from src.ensemble.report import (
    agreement, contributions, holdout_text, members_sentence, members_table,
)  # fmt: skip
from src.ensemble.search import trials_table
