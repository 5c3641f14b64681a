"""The probes that rows need: each measured once on this machine, while it is as busy as in a sweep.

Rows side by side slow each other down, by the memory and the cores they share.
"""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from src import bundle, competition, core
from src.core import FEWEST, ROOT, UserError, Variant, split_sizes
from src.sweep import engines
from src.sweep.plan.probe import NO_MEMORY, Probe, probed
from src.sweep.work import Place

UNSEEN = {"MPLBACKEND": "Agg", "PADDY_TRACK": "", "PADDY_PROGRESS": ""}  # a probe shows nothing


def parts_of(v: Variant) -> list[Variant]:
    """What is measured for `v`: one for each of its image sizes."""
    return [probed(v, size) for size in split_sizes(v.sizes) or [v.size]]


def machine(data: Path, places: list[Place]) -> str:
    """A digest of machine, places, versions and data: what was measured is true of these."""
    env = {name: value for name, value in places[0].env.items() if name != engines.VISIBLE}
    cards = engines.nvidia_smi("gpu", "name") if places[0].env.get(engines.VISIBLE) else []
    facts = [platform.node(), core.cores(), len(places), places[0].name.split()[0], cards, env,
             bundle.versions.installed(), competition.train_fingerprint(data)]
    return core.sha256_lines([json.dumps(facts, sort_keys=True)])[:8]


def probes_of(rows: list[Variant], data: Path, places: list[Place]) -> dict[Variant, Probe]:
    """The probes of all `rows`, measured at the `places` unless that was done before."""
    folder = core.sweep_dir() / f"probes_{machine(data, places)}"
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for part in (part for v in rows for part in parts_of(v)):
        digest = core.sha256_lines([json.dumps(part.recipe, sort_keys=True)])
        files[part] = folder / f"{part.name}_{digest[:8]}.json"
    new = {part: file for part, file in files.items() if not file.is_file()}
    waiting, left = iter([*new]), {*new}

    def _at(place: Place) -> None:
        for part in waiting:
            try:
                _measure(part, data, new[part], place)
            finally:
                left.discard(part)
        while left:
            _repeat([*new][-1], data, folder, place, left)

    with ThreadPoolExecutor(len(places)) as pool:
        list(pool.map(_at, places))
    return {part: json.loads(file.read_text(encoding="utf-8")) for part, file in files.items()}


def _measure(v: Variant, data: Path, file: Path, place: Place) -> None:
    """Measure `v` at a place, with parts of its batch if the whole does not fit."""
    log = file.with_suffix(".log")
    for bs in (v.bs // n for n in range(1, v.bs // FEWEST + 1) if v.bs % n == 0):
        print(f"{v.name}: measuring, {bs} images a step", flush=True)
        with _probing(replace(v, bs=bs), data, file, place) as probe:
            if (code := probe.wait()) == 0:
                return
        said = log.read_text(encoding="utf-8", errors="replace").rstrip() or "ended"
        if code != -9 and not any(word in said.lower() for word in NO_MEMORY):
            reason = said.splitlines()[-1].removeprefix("error: ")
            raise UserError(f"{v.name}: {reason}; see {log}")
    raise UserError(f"{v.name}: {NO_MEMORY[0]} even with {bs} images",
                    "choose a smaller arch or size")


def _repeat(v: Variant, data: Path, folder: Path, place: Place, left: set[Variant]) -> None:
    """Measure `v` for nothing, until it is done or nothing is `left` to be measured elsewhere."""
    with TemporaryDirectory(dir=folder) as own, \
         _probing(v, data, Path(own) / "repeat.json", place) as probe:
        while left and probe.poll() is None:
            time.sleep(0.1)


@contextmanager
def _probing(v: Variant, data: Path, file: Path, place: Place) -> Iterator[subprocess.Popen]:
    """A probe's process; it ends with the pipe it reads from, so also with this process."""
    words = [json.dumps(v.recipe), str(data), str(file)]
    with open(file.with_suffix(".log"), "wb") as log, subprocess.Popen(
        [sys.executable, "-m", "src.sweep.plan.probe", *words], cwd=ROOT, stdin=subprocess.PIPE,
        stdout=log, stderr=log, env=os.environ | place.env | UNSEEN,
    ) as probe:
        yield probe
