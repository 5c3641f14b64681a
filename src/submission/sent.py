"""submissions/sent/: every CSV that was sent, byte for byte and read-only, with its provenance.

A copy, <UTC time>_<8 digits of its sha256>_<file>, is made before the upload, and of what the next
ensemble replaces, for the plain client may have sent it. When Kaggle's list shows it, its .json
gets `submitted`, `ref` (Kaggle's number) and `sent` (Kaggle's time), else the copy is removed.
"""

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from src.core import atomic_path, sha256, submissions_dir, write_json

STAMP = "%Y%m%dT%H%M%SZ"
# A file's clock and Kaggle's differ a little; a file from later than this was not the one sent.
CLOCKS = timedelta(minutes=5)
COLUMNS = [  # of the ledger
    "ref", "time", "file", "sha256", "notebook", "commit", "members", "twins", "holdout_wrong",
    "holdout_images", "holdout_error", "public", "private", "public_right", "private_right",
]  # fmt: skip


def ledger_path() -> Path:
    """submissions/ledger.csv."""
    return submissions_dir() / "ledger.csv"


def read_ledger() -> pd.DataFrame:
    """The ledger as text, indexed by Kaggle's submission number, oldest first."""
    if not ledger_path().exists():
        return pd.DataFrame(columns=COLUMNS, dtype=str).set_index("ref")
    table = pd.read_csv(ledger_path(), dtype=str, keep_default_na=False)
    return table.reindex(columns=COLUMNS, fill_value="").set_index("ref")


def sent_dir() -> Path:
    """submissions/sent/, where the copies are."""
    return submissions_dir() / "sent"


def read_provenance(path: Path) -> dict[str, Any]:
    """The content of the .json beside a CSV, empty when there is none to be read."""
    try:
        record = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def own_provenance(path: Path) -> dict[str, Any]:
    """The same, but empty where it describes other bytes: edited, or of a run that was killed."""
    record = read_provenance(path)
    return record if record.get("sha256") == sha256(path) else {}


def copies() -> dict[Path, dict[str, Any]]:
    """Every copy's CSV with its provenance, oldest first."""
    records = sorted(path for path in sent_dir().glob("*Z_????????_*.json") if _stamp(path))
    return {path.with_suffix(".csv"): read_provenance(path) for path in records}


def by_ref(ref: object) -> Path | None:
    """The copy that Kaggle's list has as `ref`."""
    found = (path for path, record in copies().items() if str(record.get("ref")) == str(ref))
    return next((path for path in found if path.is_file()), None)


def by_digest(digest: str) -> Path | None:
    """The latest copy with this sha256."""
    named = sorted(sent_dir().glob(f"*_{digest[:8]}_*.csv"), reverse=True)
    return next((path for path in named if sha256(path) == digest), None)


def put_aside(path: Path, when: datetime, forced: Sequence[str] = ()) -> Path:
    """Copy the CSV at `path`, its .json and .parquet, not confirmed yet; the copy's path.

    `forced` are the errors of the guard that were overridden to send it. The .json comes first and
    the CSV last: a copy without its CSV was never finished.
    """
    digest, record = sha256(path), {"notebook": path.stem, **own_provenance(path)}
    record["forced"] = list(dict.fromkeys([*record.get("forced", []), *forced]))
    record = {key: value for key, value in record.items() if key not in ("ref", "sent")}
    while (copy := sent_dir() / f"{when:{STAMP}}_{digest[:8]}_{path.name}").exists():
        when += timedelta(seconds=1)  # the same bytes twice in one second
    write_json(copy.with_suffix(".json"), {**record, "submitted": False, "sha256": digest})
    for suffix in (".parquet", ".csv"):
        if (source := path.with_suffix(suffix)).is_file():
            with atomic_path(copy.with_suffix(suffix)) as temporary:
                shutil.copyfile(source, temporary)
                temporary.chmod(0o444)
    return copy


def put_aside_replaced(path: Path) -> None:
    """Put the CSV at `path` aside before it is replaced, unless a copy of it is there.

    Only Kaggle's list knows whether the plain client has sent it: until then the copy waits.
    """
    if not own_provenance(path).get("drawn") and not by_digest(sha256(path)):
        put_aside(path, _origin(path)[0])


def confirm(copy: Path, entry: Mapping[str, Any]) -> None:
    """Write that Kaggle lists `copy` as `entry` into its .json, and into the current one's."""
    sent = _utc(entry["time"]).isoformat(timespec="seconds")
    record = read_provenance(copy) | {"submitted": True, "ref": entry["ref"], "sent": sent}
    write_json(copy.with_suffix(".json"), record)
    current = submissions_dir() / _origin(copy)[1]
    if current.is_file() and sha256(current) == record["sha256"]:  # it has not moved on
        write_json(current.with_suffix(".json"), record)


def discard(copy: Path) -> None:
    """Remove a copy that Kaggle never got."""
    for suffix in (".csv", ".parquet", ".json"):
        if (path := copy.with_suffix(suffix)).exists():
            path.chmod(0o600)  # Windows removes nothing that is read-only
            path.unlink()


def adopt(entries: Iterable[Mapping[str, Any]]) -> None:
    """Find the file of every entry of Kaggle's list and put it aside.

    It is a copy that waits to be listed, for its command was killed, or a current file that the
    plain client has sent. Copies that Kaggle does not list in time were never sent: removed.
    """
    known = {str(record.get("ref")) for path, record in copies().items() if path.is_file()}
    for entry in sorted(entries, key=lambda entry: entry["time"]):
        if str(entry["ref"]) not in known:
            _adopt(entry)
    for copy, record in copies().items():
        if record.get("submitted") is False and _origin(copy)[0] < datetime.now(UTC) - CLOCKS:
            discard(copy)


def _adopt(entry: Mapping[str, Any]) -> None:
    """Of the files that could be the entry's, take the latest of those made before it was sent."""
    time, current = _utc(entry["time"]), submissions_dir() / Path(entry["name"]).name
    waiting = [path for path, record in copies().items() if "ref" not in record]
    later = {path: _origin(path)[0] - time for path in (*waiting, current)
             if _was_sent(path, entry)}
    if later:
        path = min(later, key=lambda path: (later[path] > timedelta(0), abs(later[path])))
        confirm(put_aside(path, time) if path == current else path, entry)


def _was_sent(path: Path, entry: Mapping[str, Any]) -> bool:
    if not path.is_file() or read_provenance(path).get("drawn"):
        return False
    made, name = _origin(path)
    same_size = entry["bytes"] in (0, None, path.stat().st_size)
    in_time = made <= _utc(entry["time"]) + CLOCKS
    return name == Path(entry["name"]).name and same_size and in_time


def _origin(path: Path) -> tuple[datetime, str]:
    """When a copy was put aside, or a current file made; and the name it is sent under."""
    if path.parent == sent_dir():
        return _stamp(path), path.name.split("_", 2)[2]
    made = read_provenance(path).get("created")
    modified = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    return _utc(datetime.fromisoformat(made)) if made else modified, path.name


def _stamp(copy: Path) -> datetime | None:
    """The time in a copy's name; None where the name has none, for it is no copy."""
    try:
        return datetime.strptime(copy.name.partition("_")[0], STAMP).replace(tzinfo=UTC)
    except ValueError:
        return None


def _utc(time: datetime) -> datetime:
    """`time` in UTC; Kaggle's client gives it without a zone."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
