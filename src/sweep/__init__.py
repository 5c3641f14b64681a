"""Many variants on one machine or a cluster: the sweep itself, its plan, its race, its record.

A room for what is trained, one for how a single row is, one for where, one for what is seen of it.
"""

from src.sweep.rows import add_arguments, check, chosen, rows_for
from src.sweep.folder import attempts_at, file_of, progress_of
from src.sweep.work import Outcome, Place, Row, State
from src.sweep.engines import here, places, run
from src.sweep.table import Table, status_command, train
from src.sweep.analyse.record import query, rebuild
