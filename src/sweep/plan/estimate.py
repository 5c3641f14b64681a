"""What rows will take: probes, made once, and what comes of them for each row and each place."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue

from src import bundle, competition, core
from src.core import FEWEST, FIND, ROOT, UserError, Variant, split_sizes
from src.sweep.plan.probe import NO_MEMORY, Probe, probed
from src.sweep.work import Place

IN_HAND = 1.1  # the hours must hold so many times what is planned
SEARCH = 100  # steps of a search for a learning rate


def parts_of(v: Variant) -> list[Variant]:
    """What is measured for `v`: one for each of its image sizes."""
    return [probed(v, size) for size in split_sizes(v.sizes) or [v.size]]


def here(data: Path, places: list[Place]) -> str:
    """A digest of machine, places, versions and data: what was measured is true of these."""
    machine = [platform.node(), core.cores(), len(places), places[0].name.split()[0]]
    facts = [machine, bundle.versions.installed(), competition.train_fingerprint(data)]
    return core.sha256_lines([json.dumps(facts, sort_keys=True)])


def probes_of(rows: list[Variant], data: Path, places: list[Place]) -> dict[Variant, Probe]:
    """The probes of all `rows`, measured at the `places` unless that was done before."""
    files, free, machine = {}, SimpleQueue(), here(data, places)
    for part in (part for v in rows for part in parts_of(v)):
        digest = core.sha256_lines([json.dumps([part.recipe, machine], sort_keys=True)])
        files[part] = core.sweep_dir() / "probes" / f"{part.name}_{digest[:8]}.json"
    for place in places:
        free.put(place)
    new = {part: file for part, file in files.items() if not file.is_file()}
    with ThreadPoolExecutor(len(places)) as pool:
        list(pool.map(lambda part: _measure(part, data, new[part], free), new))
    return {part: json.loads(file.read_text(encoding="utf-8")) for part, file in files.items()}


def _measure(v: Variant, data: Path, file: Path, free: SimpleQueue) -> None:
    """Measure `v` at a free place, with parts of its batch if the whole does not fit."""
    place, log = free.get(), file.with_suffix(".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    try:
        for bs in (v.bs // n for n in range(1, v.bs // FEWEST + 1) if v.bs % n == 0):
            print(f"{v.name}: measuring, {bs} images a step", flush=True)
            words = [json.dumps(replace(v, bs=bs).recipe), str(data), str(file)]
            with open(log, "wb") as out:
                done = subprocess.run([sys.executable, "-m", "src.sweep.plan.probe", *words],
                                      cwd=ROOT, stdout=out, stderr=out,
                                      env=os.environ | place.env | {"MPLBACKEND": "Agg"})
            if done.returncode == 0:
                return
            said = log.read_text(encoding="utf-8", errors="replace").rstrip() or "ended"
            if done.returncode != -9 and not any(word in said.lower() for word in NO_MEMORY):
                reason = said.splitlines()[-1].removeprefix("error: ")
                raise UserError(f"{v.name}: {reason}; see {log}")
    finally:
        free.put(place)
    raise UserError(f"{v.name}: {NO_MEMORY[0]} even with {bs} images",
                    "choose a smaller arch or size")


def estimate(v: Variant, probes: Mapping[Variant, Probe], images: int) -> float:
    """Seconds that the notebook takes for `v`, with so many `images`, by the `probes`."""
    from src.training import make_plan

    held, last = 0 if v.fold == "all" else images // competition.FOLDS, probes[probed(v, v.size)]
    total, seen = last["start"] + last["tail"] + held * last["image"], set()
    for number, epoch in enumerate(make_plan(replace(v, lr=1.0))):
        probe = probes[probed(v, epoch.size)]
        step = probe["frozen" if epoch.phase.frozen else "step"]
        reading = probe["again" if epoch.size in seen else "read"]
        total += probe["rest"] + (images - held) * step + held * reading
        if v.lr == FIND and not number:
            total += SEARCH * v.bs // v.accum * step
        seen.add(epoch.size)
    return min(total, 60 * v.time_limit or total)


def busy(seconds: Mapping[str, float], assigned: Mapping[str, list[str]]) -> dict[str, float]:
    """Place → seconds until it is through with its rows."""
    return {place: sum(seconds[name] for name in names) for place, names in assigned.items()}


def assign(
    seconds: Mapping[str, float], places: list[Place], hours: float
) -> dict[str, list[str]]:
    """Place → its rows: the longest first, each to the place that is free first.

    If `hours`, with some in hand, are too few, rows are dropped from the end.
    """
    fitting = dict(seconds)
    while True:
        assigned: dict[str, list[str]] = {place.name: [] for place in places}
        for name in sorted(fitting, key=fitting.__getitem__, reverse=True):
            taken = busy(fitting, assigned)
            assigned[min(taken, key=taken.__getitem__)].append(name)
        if not fitting or IN_HAND * max(busy(fitting, assigned).values()) <= 3600 * hours:
            return assigned
        fitting.popitem()
