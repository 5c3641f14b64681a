"""A bundle on disk: the exported model, its card, and whether its predictions are fresh.

torch is loaded by the functions that open a model.
"""

from src.bundle import versions
from src.bundle.arrival import put, read_whole
from src.bundle.card import (
    card_path, checkpoint_path, holdout_counts, holdout_facts, holdout_line, make_card, names,
    pkl_path, probs_path, read_card, read_cards, retrain_remedy, write_card,
)  # fmt: skip
from src.bundle.fresh import (
    TTA_FIELDS, expected_meta, is_done, read_predictions, splits, stale, tta_settings,
)  # fmt: skip
from src.bundle.load import load, load_pkl
