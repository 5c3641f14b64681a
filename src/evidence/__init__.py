"""Tables of probabilities and what they prove: joins, errors in images, paired tests.

Only tables; never torch.
"""

from src.evidence.cells import INTERVAL, error_cell
from src.evidence.paired import (
    Comparison, LogLoss, compare, compare_log_loss, compare_repeats, comparison_of, gain_phrase,
    interval_phrase, log_loss_phrase, sentence,
)  # fmt: skip
from src.evidence.probabilities import (
    FLOOR, average, blend, check_probs, is_fresh, join, read_probs, write_probs,
)  # fmt: skip
from src.evidence.sign_test import sign_test
from src.evidence.statistics import (
    ALPHA, LEAST, columns_of, error_phrase, images_right, log_losses, p_phrase,
    right, same_mix, score_in_images, signed, too_few, wilson, wrong_of,
)  # fmt: skip
