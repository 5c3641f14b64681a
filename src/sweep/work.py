"""One row at one place: a notebook in a process of its own, and how it ended."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from threading import Thread
from typing import NamedTuple

import psutil
from nbclient.exceptions import DeadKernelError

from src import bundle, competition, core
from src.core import ROOT, UserError, Variant, make_variant
from src.run import run_notebook
from src.sweep.folder import file_of, lock, note, now

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
    node: str = ""  # of a cluster; the others are of places there, too
    gpus: int = 0
    shared: bool = False  # its logs and locks are those of the driver


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
    started, begun = now(), time.monotonic()
    try:
        state, reason, retry = _attempt(row, place)
        if state == State.FAILED:
            note(row.name, place.name, started, reason)
    except (UserError, OSError) as error:
        state, reason, retry = State.FAILED, str(error), isinstance(error, OSError)
    return Outcome(row.name, place.name, state, reason, time.monotonic() - begun, retry)


def _attempt(row: Row, place: Place) -> tuple[State, str, bool]:
    """State, reason and retry of one attempt."""
    with lock(row.name) as held:
        if held is None:
            return State.BUSY, "", False
        if row.done:
            return State.DONE, "", False
        file_of(row.name, "progress").unlink(missing_ok=True)
        code, stopped = _run(row, place, held)
        if row.done:
            return State.DONE, "", False
    if stopped:
        return State.INTERRUPTED, "", False
    if code < 0:
        return State.FAILED, f"killed by {signal.Signals(-code).name}, often for memory", True
    if code == 0:
        return State.FAILED, "the notebook ended, its model is not finished", False
    return State.FAILED, _last_line(row.name), RETRIED.get(code, True)


def _run(row: Row, place: Place, held: int) -> tuple[int, bool]:
    """The exit code of the notebook's process, and whether it got a signal to stop.

    It keeps the lock should this process die, and reads its row from a pipe that ends then.
    """
    progress, given = file_of(row.name, "progress"), {"variant": row.variant.recipe}
    given |= {"data": str(row.data), "models": str(row.models)}
    with open(file_of(row.name, "log"), "ab") as log:
        log.write(f"\n{now()}, {place.name}\n".encode())
        log.flush()
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD], cwd=ROOT, stdin=subprocess.PIPE, stdout=log, stderr=log,
            env=os.environ | place.env | {PROGRESS: str(progress), "PADDY_WORK": str(core.work())},
            pass_fds=[held],
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


def _last_line(name: str) -> str:
    """Where the process or Python said why it ended: the log's last error, else its last line."""
    text = file_of(name, "log").read_text(encoding="utf-8", errors="replace")
    lines = [line for line in text.splitlines() if line.strip()][-5:]
    errors = [line for line in lines if line.startswith("error: ")]
    return (errors or lines or [""])[-1].removeprefix("error: ")
