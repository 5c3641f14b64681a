"""A training notebook of a second or two, in a repository of its own; sweeps that run it."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
import psutil
from conftest import ROOT
from nbformat import v4
from small_bundles import variant_in

from src.core import config, make_variant
from src.sweep import Row

# What a row does is said by its desc.
CODE = r"""
import json, os, shutil, signal, sys, time
from pathlib import Path
folder = Path(os.environ["PADDY_WORK"])
mark, first = folder / f"{{desc}}.pid", not (folder / f"{{desc}}.pid").exists()
with open(folder / "started", "a") as file:
    file.write(f"{{desc}}\n")
Path(os.environ["PADDY_PROGRESS"]).write_text(json.dumps(dict(
    epoch=1, epochs=3, wrong=2, images=6, seconds=60, ended="2030-01-01T00:00:00+00:00")))
if desc == "user":
    sys.path.insert(0, {root!r})
    from src.core import UserError
    raise UserError("no rice in the field; sow some")
if desc == "crash":
    raise RuntimeError("CUDA error:\nunspecified launch failure")
if desc == "memory":
    bytes(2**62)
if desc == "once_killed" and first:
    mark.touch()
    os.kill(os.getpid(), signal.SIGKILL)
if desc == "good":
    (folder / "given").write_text(os.environ["OMP_NUM_THREADS"] + os.environ.get("A_CARD", ""))
if desc == "hang_deaf":
    signal.signal(signal.SIGINT, lambda *_: (folder / "heard").touch())
mark.write_text(str(os.getpid()))
while desc.startswith("hang") and not (folder / "go").exists():
    time.sleep(0.05)
for path in sorted((folder / "ready").glob(f"test_vit_{{desc}}.*")):
    if desc != "nothing":
        shutil.copy(path, models)
"""


def row_of(desc: str, data: Path) -> Row:
    """A row whose notebook does what `desc` says: in the end it copies a bundle that is ready."""
    variant = make_variant(arch="test_vit", size=32, tta="none", desc=desc)
    models = config.work() / "models"
    models.mkdir(parents=True, exist_ok=True)
    variant_in(config.work() / "ready", data, **variant.recipe)
    return Row(variant, data, models)


def write_repository(folder: Path) -> str:
    """A repository with the short notebook; returns the code that makes a process use it."""
    variant = make_variant()
    names = "\n".join(f"{name} = None" for name in [*variant.recipe, *config.PLACES])
    code = CODE.format(root=str(ROOT))
    cells = [v4.new_code_cell(names, metadata={"tags": ["parameters"]}), v4.new_code_cell(code)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    (folder / "notebooks").mkdir(parents=True)
    path = folder / "notebooks" / "paddy_train.ipynb"
    nbformat.write(v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    return f"import pathlib; from src import run; run.ROOT = pathlib.Path({str(folder)!r}); "


# A sweep of the rows of these descs on so many cores, checked and printed as the command does.
COMMAND = """
import sys; sys.path[:0] = {tests!r}
from src.core import command
from src.sweep import __main__ as sweep
from small_sweep import row_of
from pathlib import Path
sys.modules["src.sweep.work"].CHILD = {child!r}
rows = [row_of(desc, Path({data!r})) for desc in {descs!r}]
sweep.checked = lambda args: [row.variant for row in rows]
sys.argv[1:] = ["some", "--cores", "1"]
command(sweep.main)
"""


def start(child: str, data: Path, descs: list[str], places: int = 2) -> subprocess.Popen:
    """A sweep in a process of its own, in its own session as on a terminal of its own."""
    tests = [str(ROOT / "tests" / "sweep"), str(ROOT / "tests")]
    code = COMMAND.format(tests=tests, child=child, data=str(data), descs=descs)
    env = os.environ | {"CUDA_VISIBLE_DEVICES": "", "LOKY_MAX_CPU_COUNT": str(places)}
    env["PADDY_PROGRESS"] = str(config.work())  # for `left`, should the test fail
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=env, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)


def until(condition: Callable[[], object], seconds: float = 60) -> object:
    """What `condition` returns as soon as it is true; fails after so many seconds."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.05)
    return found


def kernel_of(desc: str) -> psutil.Process:
    """The kernel of the row with this desc, once its notebook has begun."""
    mark = config.work() / f"{desc}.pid"
    until(lambda: mark.exists() and mark.read_text())
    return psutil.Process(int(mark.read_text()))


def runs(process: psutil.Process) -> bool:
    """Whether it runs; one that is dead and that nobody has waited for yet does not."""
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def started(desc: str) -> int:
    """How often the notebook of a row has been started."""
    path = config.work() / "started"
    return path.read_text().split().count(desc) if path.exists() else 0


def left(work: Path | None = None) -> list[psutil.Process]:
    """Processes that work for a row of this test's folder, or of the folder `work`."""
    found, folder = [], str(work or config.work())
    for process in psutil.process_iter():
        try:
            if process.environ().get("PADDY_PROGRESS", "").startswith(folder):
                found.append(process)
        except psutil.Error:
            continue
    return found
