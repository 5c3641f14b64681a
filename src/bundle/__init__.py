"""A bundle on disk: the exported model, its card, and whether its predictions are fresh.

torch is loaded by the functions that open a model.
"""

from src.bundle.card import (
    TTA_FIELDS, card_path, checkpoint_path, expected_meta, has_fresh, has_fresh_valid,
    holdout_counts, holdout_facts, holdout_line, is_done, load, load_pkl, make_card, names,
    pkl_path, probs_path, read_card, redo, survey, tta_settings, write_card,
)  # fmt: skip
