"""What the sweep's folder has of each row: its lock, log, progress and failed attempts."""

import fcntl
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from src.core import sweep_dir, write_json


@contextmanager
def lock(name: str) -> Iterator[int | None]:
    """The descriptor that holds the lock of row `name`; None if somebody else has it.

    Children that inherit it hold it too. Without locks in the file system it holds nothing.
    """
    path = file_of(name, "lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            taken = False
        except OSError as error:
            taken = isinstance(error, BlockingIOError)
        yield None if taken else file.fileno()


def is_busy(name: str) -> bool:
    """Whether somebody trains the row `name` now: its lock is held."""
    with lock(name) as held:
        return held is None


def file_of(name: str, kind: str) -> Path:
    """The `log`, `lock`, `progress` or `json` (failed attempts) of the row `name`."""
    return sweep_dir() / f"{name}.{kind}"


def place_of(name: str) -> str:
    """Where the row `name` was trained last, by its log; empty without one."""
    path = file_of(name, "log")
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    return "".join(re.findall(r"^20\S+, (.*?)(?:: the log is there)?$", text, re.MULTILINE)[-1:])


def progress_of(name: str) -> dict[str, Any]:
    """epoch, epochs, wrong, images, seconds (of the epoch), ended; {} before the first epoch."""
    return _read(name, "progress")


def attempts_at(name: str) -> list[dict[str, Any]]:
    """The failed attempts at `name`, oldest first: started, ended, place, reason, epoch, epochs."""
    return _read(name, "json").get("attempts", [])


def note(name: str, place: str, started: str, reason: str) -> None:
    """Append a failure to the attempts at `name`."""
    attempt = {"started": started, "ended": now(), "place": place, "reason": reason}
    attempt |= {key: progress_of(name).get(key) for key in ("epoch", "epochs")}
    attempts = [*attempts_at(name), attempt | {"log": str(file_of(name, "log"))}]
    write_json(file_of(name, "json"), {"name": name, "attempts": attempts})


def _read(name: str, kind: str) -> dict[str, Any]:
    try:
        return json.loads(file_of(name, kind).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # half of it, on a disk that was full
        return {}


def now() -> str:
    """The time, as the attempts and the logs have it."""
    return datetime.now(UTC).isoformat(timespec="seconds")
