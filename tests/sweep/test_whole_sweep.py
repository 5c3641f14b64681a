"""The real notebook, on a terminal of 80 columns: interrupted, continued by the same command."""

import fcntl
import os
import pty
import re
import struct
import sys
import termios
import time
from pathlib import Path

from conftest import ROOT, TINY

from src import bundle, core
from src.core import make_variant
from src.sweep import file_of, progress_of

EPOCHS = 12  # so many that the signal arrives before the last one has ended
RECIPE = TINY | {"epochs": EPOCHS}
VARIANT = make_variant(**RECIPE)
GRID = [f"{name}={value}" for name, value in RECIPE.items()]


def on_terminal(words: list[str], interrupt: Path | None) -> tuple[int, str]:
    """Exit code and all that a sweep writes to a terminal; Ctrl-C as soon as there is a file."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.execv(sys.executable, [sys.executable, "-m", "src.sweep", *words])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    os.set_blocking(terminal, False)
    text, end = b"", time.monotonic() + 300
    while time.monotonic() < end:
        try:
            text += (part := os.read(terminal, 65536))
            if not part:
                break
        except BlockingIOError:
            time.sleep(0.02)
        except OSError:  # closed at the other end
            break
        if interrupt and interrupt.exists():
            os.write(terminal, b"\x03")
            interrupt = None
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code, re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text.decode())


def test_an_interrupted_sweep_is_continued_from_its_last_epoch(data, models, monkeypatch):
    for name in ("COLUMNS", "LINES", "NO_COLOR", "PYTEST_CURRENT_TEST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    name = VARIANT.name
    code, shown = on_terminal(["--grid", *GRID], file_of(name, "progress"))
    assert code == 1 and "the same command continues from there" in shown, shown
    assert re.search(rf"{name}  cpu 1  interrupted +\d+/{EPOCHS}", shown), shown
    assert not bundle.card_path(models, name).exists()
    assert bundle.checkpoint_path(models, name).exists()
    plan = {"arch": VARIANT.arch, "gb": 1.0, "seconds": 6000.0, "planned": 6000.0}
    core.write_json(core.sweep_dir() / "planned_here.json", {name: plan})
    epoch = progress_of(name)["epoch"]
    assert epoch < EPOCHS
    code, shown = on_terminal(["--grid", *GRID], None)
    assert code == 0 and "1 done, 0 failed; " in shown, shown
    assert re.search(rf"{name} +1\.0 +100\.0 +0\.\d +done", shown), shown  # planned, real minutes
    assert max(map(len, re.split(r"[\r\n]+", shown))) <= 80
    log = file_of(name, "log").read_text()
    resumed = int(re.search(rf"resuming after epoch (\d+) of {EPOCHS}", log)[1])
    assert epoch <= resumed <= epoch + 1  # the signal may fall between checkpoint and progress
    card, seen = bundle.read_card(models, name), progress_of(name)
    assert (seen["epoch"], seen["epochs"], seen["images"]) == (EPOCHS, EPOCHS, 6)
    assert seen["seconds"] > 0
    assert seen["wrong"] == card["holdout"]["wrong_plain"]
