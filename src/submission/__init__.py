"""A submission is written with its origin, checked against what is known, and stored as sent.

Only tables; never torch.
"""

from src.submission.form import read_submission
from src.submission.guard import release
from src.submission.known_good import ledger_path, read_ledger
from src.submission.members import Members, Predicted, labels_of
from src.submission.sent import by_digest, by_ref, read_provenance
from src.submission.write import submit_command, write_submission
