"""Write submissions/<notebook>.csv with its provenance beside it, and check any submission."""

import json
import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256 as sha256_of
from pathlib import Path
from typing import Any

import pandas as pd

from src.competition import COMPETITION, is_drawn, sample
from src.core import (
    UserError,
    commit,
    is_plain_name,
    models_dir,
    sha256,
    sha256_lines,
    submissions_dir,
    write_json,
    write_text,
)
from src.evidence import check_probs, is_fresh, read_probs, write_probs
from src.submission.finding import Finding, in_order, show
from src.submission.guard import guard
from src.submission.known_good import known_good
from src.submission.predicted import Members, read_members
from src.submission.sent import by_digest, keep, read_provenance


def to_labels(probs: pd.DataFrame, sample: pd.DataFrame) -> pd.DataFrame:
    """image_id and most probable label of each image, in the order of `sample`."""
    check_probs(probs, "the averaged probabilities")
    ids = pd.Index(sample.image_id)
    missing, foreign = ids.difference(probs.index), probs.index.difference(ids)
    if len(missing) or len(foreign):
        raise UserError(
            f"the probabilities lack {len(missing):,} images of the sample and have "
            f"{len(foreign):,} others ({[*missing, *foreign][0]}, …); predict this test set"
        )
    ordered = probs.loc[ids, sorted(probs.columns)]  # sorted, so that a tie is decided by name
    labels = ordered.columns[ordered.to_numpy().argmax(axis=1)]
    return pd.DataFrame({"image_id": ids, "label": labels}, dtype=object)


def write_submission(
    probs: pd.DataFrame,
    folder: Path,
    notebook: str,
    provenance: Mapping[str, Any],
    good: Sequence[str | Path] | None = None,
    force: bool = False,
    members: Members | None = None,
) -> Path:
    """Guard, then write submissions/<notebook>.csv, its .json and its .parquet; the CSV's path.

    It is compared with the files `good` and with what its `members` predicted, None: those known
    and those of models/. `force` overrides the guard and is recorded. A CSV that was sent is put
    aside first.
    """
    path = submissions_dir() / f"{_checked(notebook)}.csv"
    table = to_labels(probs, sample(folder))
    text = table.to_csv(index=False, lineterminator="\n")
    digest = sha256_of(text.encode()).hexdigest()
    now = sha256(path) if path.exists() else ""
    record = _standing(path, now, digest)
    good = known_good() if good is None else good
    members = members or read_members(provenance, folder, models_dir())
    findings = guard(table, folder, good, provenance, members, probs, path)
    show(findings)
    forced = _refuse(findings, path, force, "written")
    provenance = json.loads(json.dumps(dict(provenance), default=str))
    provenance["drawn"] = is_drawn(folder)
    if now == digest == record.get("sha256") and _says(record, provenance):
        return path
    if now not in ("", digest):
        keep(path)
    about = {"notebook": notebook, "rows": len(table), "sha256": digest, "replaces": now or None}
    record = {**provenance, **commit(), **about, **_outcome(findings, forced)}
    # A kill between .json and .csv leaves the new .json beside the CSV it says it replaces.
    write_json(path.with_suffix(".json"), record)
    _keep(probs, path, notebook, digest)
    write_text(path, text)
    return path


def check(path: Path, folder: Path, good: Sequence[str | Path] | None = None) -> list[Finding]:
    """Compare a CSV with the competition, with known good files and with its members' predictions.

    The members are those its .json names, else what models/ holds for this test set. Also found:
    a .json that describes another CSV.
    """
    record, probs = read_provenance(path), None
    table = path.with_suffix(".parquet")
    if path.is_file() and is_fresh(table, {"sha256": sha256(path)}):
        probs = read_probs(table)[0]["plain"]
    good = known_good() if good is None else good
    members = read_members(record, folder, models_dir())
    findings = guard(path, folder, good, record, members, probs)
    if record.get("submitted") and not by_digest(sha256(path)):  # else the guard names the copy
        findings += [Finding("remark", "was submitted already; it would score the same")]
    if record and record.get("sha256") != sha256(path):
        text = f"is not the CSV that {path.with_suffix('.json').name} describes (edited, or a run "
        findings.insert(0, Finding("error", f"{text}was killed); run python -m src.ensemble again"))
    return in_order(findings)


def release(path: Path, folder: Path, force: bool) -> list[str]:
    """Guard the CSV at `path` before it is sent, and return the errors that `force` overrides."""
    findings = check(path, folder)
    show(findings)
    return _refuse(findings, path, force, "sent")


def submit_command(path: Path, message: str) -> str:
    """The line that sends `path` to Kaggle, ready to paste."""
    path = Path(path).resolve()
    near = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    safe = f'"{message}"' if not set(message) & set('"$`\\!') else shlex.quote(message)
    return f"kaggle competitions submit -c {COMPETITION} -f {shlex.quote(str(near))} -m {safe}"


def _checked(notebook: str) -> str:
    """`notebook`, refused where it is no plain file name."""
    if not is_plain_name(notebook):
        raise UserError(
            f"{notebook!r} is no name for a submission; give the notebook's name without folder "
            "and extension, for example --notebook paddy_train"
        )
    return notebook


def _standing(path: Path, now: str, digest: str) -> dict[str, Any]:
    """The provenance at `path`, when the CSV there, `now`, may become the one with `digest`."""
    record = read_provenance(path)
    if now not in ("", digest, record.get("sha256"), record.get("replaces")):
        raise UserError(f"{path} was edited or is not of this project; move it away, or choose "
                        "another name with --notebook")
    return record


def _refuse(findings: Sequence[Finding], path: Path, force: bool, done: str) -> list[str]:
    """The errors that `force` overrides; without it any error stops here."""
    errors = [finding.text for finding in findings if finding.severity == "error"]
    if errors and not force:
        more = f" (and {len(errors) - 1} more)" if errors[1:] else ""
        raise UserError(f"{path} is not {done}: {errors[0]}{more}; --force does it all the same")
    return errors


def _says(record: Mapping[str, Any], provenance: Mapping[str, Any]) -> bool:
    """Whether a CSV with this `record` may stay as it is, its content being the same."""
    same = all(record.get(key) == value for key, value in provenance.items())
    return same or bool(record.get("submitted"))


def _outcome(findings: Sequence[Finding], forced: list[str]) -> dict[str, Any]:
    """When the CSV was made, what was found about it and what of that was overridden."""
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "findings": [f"{finding.severity}: {finding.text}" for finding in findings],
        "forced": forced,
        "submitted": False,
    }


def _keep(probs: pd.DataFrame, path: Path, notebook: str, digest: str) -> None:
    """Keep the probabilities beside the CSV, so that a later check can give margins."""
    images = sha256_lines(list(map(str, probs.index)))
    meta = {"split": "test", "model": notebook, "sha256": digest, "tta": {}, "images": images}
    write_probs(path.with_suffix(".parquet"), probs.rename_axis("image_id"), None, meta)
