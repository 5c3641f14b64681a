"""Tables of probabilities and what they prove: joins, errors in images, paired tests.

And how results look: text, tables and figures in a notebook. Never torch.
"""

from src.evidence.display import (
    BLUE, FAMILIES, GREY, ORANGE, PALE, as_table, as_text, new_figure, note, printed_as_text,
    show_text,
)  # fmt: skip
from src.evidence.phrases import (
    INTERVAL, error_both_ways, error_cell, error_phrase, gain_phrase, interval_phrase,
    log_loss_phrase, p_phrase, score_in_images, sentence, signed,
)  # fmt: skip
from src.evidence.probabilities import (
    FLOOR, average, blend, check_probs, is_fresh, join, mean_of, read_probs, write_probs,
)  # fmt: skip
from src.evidence.statistics import (
    ALPHA, FEWEST_IMAGES, Comparison, LogLoss, columns_of, compare, compare_repeats,
    comparison_of, images_right, log_losses, right, same_mix, too_few, wilson, wrong_of,
)  # fmt: skip
