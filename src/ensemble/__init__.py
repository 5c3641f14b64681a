"""Finished models are averaged: the members, their weights, the hold-out error, the submission.

Only tables; torch is loaded when predictions are missing.
"""

from src.ensemble import figures, report
from src.ensemble.ensemble import (
    PARAMETERS, Ensemble, average_of, ensemble_probs, lacking, open_ensemble, out_of_fold, typed,
    write_ensemble,
)  # fmt: skip
from src.ensemble.members import find_members
from src.ensemble.report import (
    agreement, contributions, holdout_text, members_sentence, members_table,
)  # fmt: skip
from src.ensemble.search import find_trials, reweigh, search_text, trials_table
from src.ensemble.submitted import again, open_submission, submissions
from src.ensemble.weights import fit_temperature, with_temperature
