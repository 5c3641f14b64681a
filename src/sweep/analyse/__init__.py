"""What the record has taught: what notebooks/paddy_analyse.ipynb shows, too few runs included."""

from src.sweep.analyse.figures import (
    epochs_plot, leaderboard_plot, memory_plot, recipe_plot, time_plot,
)  # fmt: skip
from src.sweep.analyse.tables import (
    FITS_GB, PARAMETERS, epochs_sentence, leaderboard_sentence, open_record, pivot_table,
    repeats_sentence, shortlist, shortlist_sentence,
)  # fmt: skip
