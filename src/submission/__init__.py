"""A submission is written with its origin, checked against what is known, and stored as sent.

Only tables; never torch.
"""

from src.submission import sent
from src.submission.form import read_submission
from src.submission.guard import check, refuse
from src.submission.members import Predicted, labels_of
from src.submission.write import submit_command, write_submission
