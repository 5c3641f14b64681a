"""The competition's files: found, checked and read; its folds and label corrections.

Only tables and image files; never torch.
"""

from src.competition import folds, mounts
from src.competition.corrections import digests, file_of, read_corrections
from src.competition.dataset import (
    candidates, classes, find, is_drawn, missing_parts, sample, solution, test_fingerprint,
    test_paths, train_fingerprint, train_paths, train_table,
)  # fmt: skip
from src.competition.folds import FOLDS, digest, folds_path, get_folds, holdout_digest
from src.competition.images import identical_files, problem_of, require_images, to_rgb
from src.competition.tables import internal_names, own_names, read_csv, some
from src.competition.twins import (
    TWIN_COLUMNS, both_ways, groups_of, identical_labels, leaking, read_twins, twins_path,
    write_twins,
)  # fmt: skip
