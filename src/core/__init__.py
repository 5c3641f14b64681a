"""Errors, paths, `params.yaml`, the `Variant`, atomic files, the limits of this machine.

Every other wing stands on this one; it imports none of them and never torch.
"""

from src.core.config import (
    DEMO_MARKER, PLACES, ROOT, ROWS, UserError, cache_dir, command, load_params, models_dir,
    nearest, require_once, review_dir, runs_dir, submissions_dir, sweep_dir, work,
)  # fmt: skip
from src.core.facts import SAMPLE, load_facts
from src.core.files import (
    atomic_path, commit, entries, ignored, is_empty, is_left_by_system, is_plain_name,
    put_in_place, require_writable, sha256, sha256_lines, torch_writes, write_json, write_text,
)  # fmt: skip
from src.core.output import terminal
from src.core.parameters import check_names, notebook_name, read_flag, read_variant
from src.core.resources import SHARED, cores, free_memory, machine, reuse_memory, shared_memory
from src.core.variant import (
    BY_FAMILY, CHOICES, FEWEST, FIND, Variant, add_rows, find_variants, height_width,
    load_variants, make_variant, row_of, split_sizes,
)  # fmt: skip
