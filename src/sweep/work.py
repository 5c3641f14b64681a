"""One row at one place: a notebook in a process of its own, and how it ended."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

import psutil
from nbclient.exceptions import DeadKernelError

from src import bundle, competition
from src.core import ROOT, UserError, Variant, make_variant, sweep_dir, write_json
from src.run import run_notebook

PROGRESS = "PADDY_PROGRESS"  # names the file that the notebook replaces after each epoch
CHILD = "from src.sweep.work import child; child()"
RETRIED = {os.EX_USAGE: False, os.EX_SOFTWARE: True}  # exit code → try again?
_children: dict[subprocess.Popen, int] = {}  # in work, and the last signal each was sent


class Row(NamedTuple):
    """A variant to be trained, from which data, into which folder of models; both absolute."""

    variant: Variant
    data: Path
    models: Path

    @property
    def name(self) -> str:
        """The name of its bundle, its log, its lock, its progress and its attempts."""
        return self.variant.name

    @property
    def done(self) -> bool:
        """Whether it is finished; UserError where another recipe has its name."""
        data = competition.train_fingerprint(self.data)
        return bundle.is_done(self.variant, self.models, data)


class State(StrEnum):
    """What a row can be: in the notices of an engine, and at last in its Outcomes."""

    WAITING, TRAINING = "waiting", "training"
    BUSY = "elsewhere"  # another sweep trains it
    AGAIN = "again"  # failed, and will be tried again
    DONE, FAILED, INTERRUPTED = "done", "failed", "interrupted"


class Place(NamedTuple):
    """Where a row can be trained: `gpu 1`, `cpu 2`; `env` is what the notebook sees of it."""

    name: str
    env: dict[str, str]


class Outcome(NamedTuple):
    """How a row stands now, or stood when its process ended."""

    name: str  # of the row; empty in a notice that is of no row: the table writes its reason
    place: str
    state: State
    reason: str = ""  # one line: why it failed
    seconds: float = 0.0
    retry: bool = False  # the system's failure, not the user's: another attempt may go well


def work(row: Row, place: Place) -> Outcome:
    """Train `row` at `place` in a process of its own, and say how it ended; it never raises.

    DONE is what `bundle.is_done` says is done, BUSY what another sweep has the lock of. A
    failure is appended to the row's attempts. All that the process started has ended with it.
    """
    started, begun = _now(), time.monotonic()
    try:
        state, reason, retry = _attempt(row, place)
        if state == State.FAILED:
            _note(row, place, started, reason)
    except (UserError, OSError) as error:
        state, reason, retry = State.FAILED, str(error), isinstance(error, OSError)
    return Outcome(row.name, place.name, state, reason, time.monotonic() - begun, retry)


def _attempt(row: Row, place: Place) -> tuple[State, str, bool]:
    """State, reason and retry of one attempt."""
    with _lock(row.name) as lock:
        if lock is None:
            return State.BUSY, "", False
        if row.done:
            return State.DONE, "", False
        file_of(row.name, "progress").unlink(missing_ok=True)
        code, stopped = _run(row, place, lock)
        if row.done:
            return State.DONE, "", False
    if stopped:
        return State.INTERRUPTED, "", False
    if code < 0:
        return State.FAILED, f"killed by {signal.Signals(-code).name}, often for memory", True
    if code == 0:
        return State.FAILED, "the notebook ended, its model is not finished", False
    return State.FAILED, _last_line(row.name), RETRIED.get(code, True)


def _run(row: Row, place: Place, lock: int) -> tuple[int, bool]:
    """The exit code of the notebook's process, and whether it got a signal to stop.

    It keeps the lock should this process die, and reads its row from a pipe that ends then.
    """
    progress, given = file_of(row.name, "progress"), {"variant": row.variant.recipe}
    given |= {"data": str(row.data), "models": str(row.models)}
    with open(file_of(row.name, "log"), "ab") as log:
        log.write(f"\n{_now()}, {place.name}\n".encode())
        log.flush()
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD], cwd=ROOT, stdin=subprocess.PIPE, stdout=log, stderr=log,
            env=os.environ | place.env | {PROGRESS: str(progress)}, pass_fds=[lock],
            start_new_session=True,  # a terminal's Ctrl-C is for the sweep, which passes it on
        )
    _children[child] = 0
    try:
        with suppress(BrokenPipeError):  # dead already
            child.stdin.write(json.dumps(given).encode() + b"\n")
            child.stdin.flush()
        return child.wait(), _children[child] != 0
    finally:
        del _children[child]
        _end_rest(progress)
        with suppress(BrokenPipeError):
            child.stdin.close()


def child() -> None:
    """What that process does; it ends with the one that started it, and its kernel with it."""
    given, progress = json.loads(sys.stdin.readline()), Path(os.environ[PROGRESS])
    Thread(target=_end_with_parent, args=[progress], daemon=True).start()
    try:
        _end_rest(progress)  # whatever a killed sweep may have left
        variant = make_variant(**given["variant"])
        run_notebook(variant, Path(given["data"]), Path(given["models"]))
    except UserError as error:
        print(f"\nerror: {error}", file=sys.stderr)
        cause = error.__cause__
        system = getattr(cause, "ename", "UserError") != "UserError"  # raised in the notebook
        system = system or isinstance(cause, DeadKernelError)
        sys.exit(os.EX_SOFTWARE if system else os.EX_USAGE)
    except KeyboardInterrupt:
        sys.exit("interrupted")


def _end_with_parent(progress: Path) -> None:
    os.read(sys.stdin.fileno(), 1)  # returns when the pipe ends
    _end_rest(progress)
    os._exit(1)


def _end_rest(progress: Path) -> None:
    """Kill the other processes of a row: its kernel, its loaders."""
    killed = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # gone, or another user's
            if process.environ().get(PROGRESS) == str(progress) and process.pid != os.getpid():
                process.kill()
                killed.append(process)
    psutil.wait_procs(killed, timeout=10)


def stop(number: int) -> None:
    """Send signal `number`, once, to the process of every row in work."""
    for child, sent in list(_children.items()):
        if sent != number:
            _children[child] = number
            child.send_signal(number)


@contextmanager
def _lock(name: str) -> Iterator[int | None]:
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
    with _lock(name) as lock:
        return lock is None


def has_locks() -> bool:
    """Whether the file system of the sweep's folder has locks: one that is held is refused."""
    with _lock("locks"):
        return is_busy("locks")


def file_of(name: str, kind: str) -> Path:
    """The `log`, `lock`, `progress` or `json` (failed attempts) of the row `name`."""
    return sweep_dir() / f"{name}.{kind}"


def progress_of(name: str) -> dict[str, Any]:
    """epoch, epochs, wrong, images, seconds (of the epoch), ended; {} before the first epoch."""
    return _read(name, "progress")


def attempts_at(name: str) -> list[dict[str, Any]]:
    """The failed attempts at `name`, oldest first: started, ended, place, reason, epoch, epochs."""
    return _read(name, "json").get("attempts", [])


def _read(name: str, kind: str) -> dict[str, Any]:
    try:
        return json.loads(file_of(name, kind).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}


def _note(row: Row, place: Place, started: str, reason: str) -> None:
    """Append a failure to the attempts at `row`."""
    attempt = {"started": started, "ended": _now(), "place": place.name, "reason": reason}
    attempt |= {key: progress_of(row.name).get(key) for key in ("epoch", "epochs")}
    attempts = [*attempts_at(row.name), attempt | {"log": str(file_of(row.name, "log"))}]
    write_json(file_of(row.name, "json"), {"name": row.name, "attempts": attempts})


def _last_line(name: str) -> str:
    """The last line of the log, where the process or Python said why it ended."""
    lines = file_of(name, "log").read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "").removeprefix("error: ")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
