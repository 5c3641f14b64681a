"""A training longer than Kaggle's session: it ends in time, and the next push continues it.

Kaggle keeps the output of a kernel that ends by itself; a session that it stops may lose it. The
checkpoint of an unfinished training stays in that output. The kernel that continues is a new one
with that output attached: users report that Kaggle does not attach a kernel's output to itself.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from src.bundle import checkpoint_path
from src.competition import mounts
from src.core import Variant, runs_dir, terminal, write_json

# Minutes. A session has 12 hours (https://www.kaggle.com/docs/notebooks, technical
# specifications); the last one is for the test images and for Kaggle to store the output.
LIMIT = 11 * 60


class Cut(NamedTuple):
    """A kernel that ended before its training did."""

    kernel: str  # OWNER/NAME; its output holds the checkpoint
    part: int  # 1 for the first kernel of a training
    after: str  # "after epoch 7 of 13", empty when that is not known


def limited(variant: Variant) -> Variant:
    """`variant` with a time limit that lets it end before Kaggle's session does."""
    return replace(variant, time_limit=min(variant.time_limit or LIMIT, LIMIT))


def is_cut(variant: Variant, card: Mapping[str, Any]) -> bool:
    """Whether epochs are undone because of Kaggle's session, not of the row's own time limit."""
    training = card.get("training", {})
    return limited(variant) != variant and training.get("epochs") != training.get("planned")


def _cut_path(name: str) -> Path:
    return runs_dir() / "kaggle" / f"{name}.cut.json"


def read_cut(name: str) -> Cut | None:
    """The kernel from which the training of `name` can be continued, if there is one."""
    path = _cut_path(name)
    return Cut(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def write_cut(name: str, cut: Cut | None) -> None:
    """Note where the training of `name` can be continued; None: it is finished."""
    if cut:
        write_json(_cut_path(name), cut._asdict())
    else:
        _cut_path(name).unlink(missing_ok=True)


def fetch_checkpoint(kernel: str, name: str) -> None:
    """Called in a kernel: copy the checkpoint of the attached `kernel` to where training looks."""
    path = checkpoint_path(Path("models"), name)
    attached = mounts.resolve(mounts.KAGGLE_INPUT / "notebooks" / kernel / path)
    if attached.is_file():
        shutil.copyfile(attached, path)
    else:
        print(f"no checkpoint at {attached}; training begins anew", file=terminal())
