"""submissions/sent/: every CSV that was sent, byte for byte and read-only, with its provenance.

A copy is <time>_<digest>_<file>: the UTC time it was sent at, as 20260501T120000Z, the first 8
digits of its sha256, and the name it was sent under. It is made before the upload, and of what the
next ensemble replaces, which the plain client may have sent; its .json gets `submitted`, `ref`
(Kaggle's number) and `sent` (Kaggle's time) when Kaggle's list shows it, else the copy is removed.
The CSV beside sent/ stays the current one.
"""

import json
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from src.core import atomic_path, sha256, submissions_dir, write_json

STAMP = "%Y%m%dT%H%M%SZ"
NAME = re.compile(r"(\d{8}T\d{6}Z)_([0-9a-f]{8})_(.+)\.json")
# A file's clock and Kaggle's differ a little; a file from later than this was not the one sent.
CLOCKS = timedelta(minutes=5)


def sent_dir() -> Path:
    """Where the sent files are kept."""
    return submissions_dir() / "sent"


def read_provenance(path: Path) -> dict[str, Any]:
    """The content of the .json beside a CSV, empty when there is none to be read."""
    try:
        record = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def copies() -> dict[Path, dict[str, Any]]:
    """Every copy's CSV with its provenance, oldest first."""
    names = sorted(p.name for p in sent_dir().glob("*.json") if NAME.fullmatch(p.name))
    paths = [(sent_dir() / name).with_suffix(".csv") for name in names]
    return {path: read_provenance(path) for path in paths}


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

    `forced` are the errors of the guard that were overridden to send it.
    """
    record = {"notebook": path.stem, **read_provenance(path), "submitted": False}
    record["forced"] = list(dict.fromkeys([*record.get("forced", []), *forced]))
    return _store(path, when, {k: v for k, v in record.items() if k not in ("ref", "sent")})


def _store(path: Path, when: datetime, record: Mapping[str, Any]) -> Path:
    """The .json comes first and the CSV last: a copy without its CSV was never finished."""
    digest = sha256(path)
    while (copy := _named(path, when, digest)).exists():  # the same bytes twice in one second
        when += timedelta(seconds=1)
    write_json(copy.with_suffix(".json"), {**record, "sha256": digest})
    for suffix in (".parquet", ".csv"):
        if path.with_suffix(suffix).is_file():
            _copy(path.with_suffix(suffix), copy.with_suffix(suffix))
    # Earlier versions made the sent file itself read-only, which Windows does not replace.
    path.chmod(path.stat().st_mode | 0o200)
    return copy


def _named(path: Path, when: datetime, digest: str) -> Path:
    return sent_dir() / f"{when.astimezone(UTC):{STAMP}}_{digest[:8]}_{path.name}"


def _copy(source: Path, target: Path) -> None:
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)
        temporary.chmod(0o444)


def confirm(copy: Path, entry: Mapping[str, Any]) -> None:
    """Kaggle lists `copy` as `entry`: said in its .json, and in the current one of those bytes."""
    sent = _utc(entry["time"]).isoformat(timespec="seconds")
    record = read_provenance(copy) | {"submitted": True, "ref": entry["ref"], "sent": sent}
    write_json(copy.with_suffix(".json"), record)
    current = submissions_dir() / _file(copy)
    if current.is_file() and sha256(current) == record["sha256"]:
        write_json(current.with_suffix(".json"), record)


def discard(copy: Path) -> None:
    """Remove a copy that Kaggle never got."""
    for suffix in (".csv", ".parquet", ".json"):
        if (path := copy.with_suffix(suffix)).exists():
            path.chmod(0o600)  # Windows removes nothing that is read-only
            path.unlink()


def keep(path: Path) -> None:
    """Put the CSV at `path` aside before it is replaced, unless a copy of it is there.

    Only Kaggle's list tells whether the plain client has sent it: until then the copy waits.
    """
    record, digest = read_provenance(path), sha256(path)
    if record.get("sha256") != digest:  # a run was killed before it wrote its CSV
        record = {"notebook": path.stem}
    if not record.get("drawn") and not by_digest(digest):
        _store(path, _stamp(path), {"submitted": False, **record})


def adopt(entries: Iterable[Mapping[str, Any]], digests: Mapping[str, str]) -> None:
    """Find the file of every entry of Kaggle's list and put it aside; `digests` by ref, if known.

    It is a copy that waits to be listed, for its command was killed, or a current file that the
    plain client has sent. Copies that Kaggle does not list in time were never sent: removed.
    """
    known = {str(record.get("ref")) for path, record in copies().items() if path.is_file()}
    for entry in sorted(entries, key=lambda entry: entry["time"]):
        if (ref := str(entry["ref"])) not in known:
            _adopt(entry, digests.get(ref, ""))
    for copy, record in copies().items():
        if record.get("submitted") is False and _stamp(copy) < datetime.now(UTC) - CLOCKS:
            discard(copy)


def _adopt(entry: Mapping[str, Any], digest: str) -> None:
    """Join an entry that has no copy yet to the file that was sent, if that is still here.

    Of several that could be it, the latest of those made before it was sent.
    """
    current = submissions_dir() / Path(entry["name"]).name
    waiting = [path for path, record in copies().items() if "ref" not in record]
    found = [path for path in (*waiting, current) if _was_sent(path, entry, digest)]
    time = _utc(entry["time"])
    earlier = [path for path in found if _stamp(path) <= time]
    if found:
        path = max(earlier, key=_stamp) if earlier else min(found, key=_stamp)
        confirm(put_aside(path, time) if path == current else path, entry)


def _was_sent(path: Path, entry: Mapping[str, Any], digest: str) -> bool:
    """Whether `entry` is the file at `path`: by its digest, else by name, size and time."""
    if not path.is_file() or read_provenance(path).get("drawn"):
        return False
    if digest:
        return sha256(path) == digest
    same_size = not entry["bytes"] or entry["bytes"] == path.stat().st_size
    same = _file(path) == Path(entry["name"]).name and same_size
    return same and _stamp(path) <= _utc(entry["time"]) + CLOCKS


def _file(path: Path) -> str:
    """The name under which the file at `path`, current or copy, is sent."""
    match = NAME.fullmatch(path.with_suffix(".json").name)
    return f"{match[3]}.csv" if match and path.parent == sent_dir() else path.name


def _stamp(path: Path) -> datetime:
    """When a copy was put aside; when a current file was made."""
    match = NAME.fullmatch(path.with_suffix(".json").name)
    if match and path.parent == sent_dir():
        return datetime.strptime(match[1], STAMP).replace(tzinfo=UTC)
    made = read_provenance(path).get("created")
    modified = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    return _utc(datetime.fromisoformat(made)) if made else modified


def _utc(time: datetime) -> datetime:
    """`time` in UTC; Kaggle's client gives it without a zone."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
