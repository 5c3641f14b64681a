"""Write submissions/<notebook>.csv with its provenance and its probabilities beside it."""

import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from src import core
from src.competition import is_drawn, own_names, sample
from src.core import UserError
from src.evidence import check_probs, write_probs
from src.submission.guard import guard, refuse
from src.submission.members import Predicted, labels_of
from src.submission.sent import put_aside_replaced, read_provenance


def to_labels(probs: pd.DataFrame, sample: pd.DataFrame) -> pd.DataFrame:
    """image_id and most probable label of each image, in the order of `sample`."""
    check_probs(probs, "the averaged probabilities")
    ids = pd.Index(sample.image_id)
    missing, foreign = ids.difference(probs.index), probs.index.difference(ids)
    if len(missing) or len(foreign):
        raise UserError(f"the probabilities lack {len(missing):,} images of the sample and have "
                        f"{len(foreign):,} others; predict this test set")
    labels = labels_of(probs.loc[ids, sorted(probs.columns)])  # a tie is decided by name
    return pd.DataFrame({"image_id": ids, "label": labels.to_numpy()}, dtype=object)


def write_submission(
    probs: pd.DataFrame, folder: Path, notebook: str, provenance: Mapping[str, Any],
    good: Sequence[str | Path] | None = None, force: bool = False,
    members: Sequence[Predicted] = (),
) -> Path:
    """Guard, then write submissions/<notebook>.csv, its .json and its .parquet; the CSV's path.

    `force` overrides the guard and is recorded. The CSV there is put aside.
    """
    if not core.is_plain_name(notebook):
        raise UserError(f"{notebook!r} is no name for a submission; give the notebook's name "
                        "without folder and extension, for example --notebook paddy_train")
    path = core.submissions_dir() / f"{notebook}.csv"
    table = to_labels(probs, sample(folder))
    text = own_names(table).to_csv(index=False, lineterminator="\n")
    digest = hashlib.sha256(text.encode()).hexdigest()
    current, record = core.sha256(path) if path.exists() else "", read_provenance(path)
    if current not in ("", digest, record.get("sha256"), record.get("replaces")):
        raise UserError(f"{path} was edited or is not ours; move it away, or use --notebook")
    findings = guard(table, path, folder, good, provenance, members, probs)
    forced = refuse(findings, path, force, "written")
    facts = json.loads(json.dumps({**provenance, "drawn": is_drawn(folder)}, default=str))
    known = record.get("submitted") or facts.items() <= record.items()
    if current == digest == record.get("sha256") and known:
        return path
    if current not in ("", digest):
        put_aside_replaced(path)
    # A kill between .json and .csv leaves the new .json beside the CSV it says it replaces.
    core.write_json(path.with_suffix(".json"), {
        **facts, **core.commit(), "notebook": notebook, "rows": len(table), "sha256": digest,
        "replaces": current or None, "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "findings": [f"{finding.kind}: {finding.text}" for finding in findings],
        "forced": forced, "submitted": False,
    })  # fmt: skip
    images = core.sha256_lines(list(map(str, probs.index)))
    meta = {"split": "test", "model": notebook, "sha256": digest, "tta": {}, "images": images}
    write_probs(path.with_suffix(".parquet"), probs.rename_axis("image_id"), None, meta)
    core.write_text(path, text)
    return path


def submit_command(path: Path, message: str) -> str:
    """The line that sends `path` to Kaggle, ready to paste; the `message` is a plain sentence."""
    path = Path(path).resolve()
    near = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    slug, file = core.load_facts().slug, shlex.quote(str(near))
    return f'kaggle competitions submit -c {slug} -f {file} -m "{message}"'
