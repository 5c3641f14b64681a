"""Exports that have an accident: a script prepares one and forks it into each of them.

    python tests/export_accidents.py COMPETITION PLACES ACCIDENT …    prints {accident: exit code}

Each happens in the models folder PLACES/ACCIDENT: `full`, `torn`, or a kill at file 1, 2, 3.
"""

import json
import os
import resource
import signal
import sys
from pathlib import Path

import torch
from conftest import TINY
from small_training import run_of, untrained

from src.core import UserError, make_variant
from src.training import export, holdout_probs

VARIANT = make_variant(**TINY)


def prepare(accident: str) -> None:
    """Arrange what shall happen to this process."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if accident in ("full", "torn"):  # a file may have 100 kB: not enough for a model
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    if accident == "torn":  # the signal that Python ignores kills in the midst of a write
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    if accident.isdigit():
        replace, countdown = os.replace, iter(range(int(accident) - 1, -1, -1))
        os.replace = lambda *paths: (
            replace(*paths) if next(countdown) else os.kill(os.getpid(), signal.SIGKILL)
        )


def attempt(folder: Path, models: Path, accident: str, learn, tables) -> int:
    """The exit code of a process that exports into `models` and has this `accident`."""
    if pid := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    place = run_of(folder, models, VARIANT)
    prepare(accident)
    try:
        export(learn, VARIANT, tables, place)
        os._exit(0)
    except UserError as error:
        os.write(2, f"error: {error}\n".encode())
        os._exit(1)
    finally:
        os._exit(2)


if __name__ == "__main__":
    torch.set_num_threads(1)  # a fork of a process whose threads have worked would hang
    folder, places = map(Path, sys.argv[1:3])
    learn = untrained(folder, places, VARIANT)
    tables = holdout_probs(learn, VARIANT)
    codes = {name: attempt(folder, places / name, name.removeprefix("new-"), learn, tables)
             for name in sys.argv[3:]}
    print(json.dumps(codes))
