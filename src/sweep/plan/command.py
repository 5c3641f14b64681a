"""What rows will take, measured beforehand, and whether it fits into the hours there are.

    python -m src.sweep plan --all --hours 9          measures and says what fits; trains nothing
    python -m src.sweep plan --all --hours 9 --run    and trains that

The last rows are dropped first. Where a row that was planned is finished, its real minutes stand
beside the planned ones; they correct the next plan of rows of its arch.
"""

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from math import inf
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd

from src import bundle, competition, core
from src.core import UserError, Variant
from src.sweep import engines, rows
from src.sweep.plan import estimate
from src.sweep.table import train
from src.sweep.work import Place, State

NEAR = 0.15  # a row that takes at most this much more than planned, or less, was planned well

Planned = dict[str, dict[str, Any]]  # name → arch, here, gb, seconds by its probes, planned ones


def plan_command(words: list[str]) -> None:
    """`plan`: see the module's first lines."""
    parser = argparse.ArgumentParser(prog="python -m src.sweep plan", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    rows.add_arguments(parser)
    parser.add_argument("--hours", type=float, default=inf, help="how many there are")
    parser.add_argument("--run", action="store_true", help="train what fits")
    args = parser.parse_args(words)
    if args.address:
        raise UserError("plan measures this machine; leave --address out")
    data, models, variants = competition.find(args.data), core.models_dir(), rows.chosen(args)
    if complaints := rows.check(variants, data, models):
        print("\n".join(complaints), file=sys.stderr)
        raise UserError(f"nothing was measured; lines above that say why: {len(complaints)}")
    todo, places = rows.rows_for(variants, data, models), engines.places(args)
    planned = make_plan([row.variant for row in todo], data, places)
    seconds = {row.name: planned[row.name]["planned"] for row in todo}
    assigned = estimate.assign(seconds, places, args.hours)
    print(report(variants, planned, assigned))
    print(summary(seconds, assigned, args.hours))
    if args.run:
        fitting = [row for row in todo if row.name in sum(assigned.values(), [])]
        fitting.sort(key=lambda row: seconds[row.name], reverse=True)
        began = time.time()
        outcomes = train(fitting, args)
        took = time.time() - began
        print(report(variants, planned, {}))
        longest = max(estimate.busy(seconds, assigned).values())
        print(f"in all {took / 3600:.2f} hours, planned {longest / 3600:.2f}")
        if failed := [outcome for outcome in outcomes if outcome.state != State.DONE]:
            reason = failed[0].reason or failed[0].state
            raise UserError(f"{len(failed)} of {len(fitting)} rows are not done; first: "
                            f"{failed[0].name}: {reason}")


def make_plan(variants: list[Variant], data: Path, places: list[Place]) -> Planned:
    """All that was planned so far, `variants` anew; it is stored in the sweep's folder."""
    path, here = core.sweep_dir() / "planned.json", estimate.here(data, places)
    planned = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    probes, ratios = estimate.probes_of(variants, data, places), defaultdict(list)
    for name, old in planned.items():
        if old["here"] == here and (real := real_seconds(name)):
            ratios[old["arch"]].append(real / old["seconds"])
    for v in variants:
        own = [probes[part] for part in estimate.parts_of(v)]
        if (bs := min(probe["bs"] for probe in own)) < v.bs // v.accum:
            print(f"{v.name}: out of memory with {v.bs // v.accum} images a step; the smallest "
                  f"accum that fits is {v.bs // bs}")
        images = competition.train_paths(data).index
        images = len(images.difference(competition.read_corrections(v, data).exclude))
        seconds = estimate.estimate(v, probes, images)
        planned[v.name] = {"arch": v.arch, "here": here, "gb": max(probe["gb"] for probe in own),
                           "seconds": seconds, "planned": seconds * median(ratios[v.arch] or [1])}
    core.write_json(path, planned)
    return planned


def real_seconds(name: str) -> float:
    """What the notebook of a finished row took; 0 where that is not known, or it had to resume."""
    notebook, models = core.runs_dir() / f"{name}.ipynb", core.models_dir()
    if not (notebook.is_file() and bundle.card_path(models, name).is_file()):
        return 0.0
    took = json.loads(notebook.read_text(encoding="utf-8"))["metadata"]["papermill"]["duration"]
    return took if took and took > bundle.read_card(models, name)["seconds"] else 0.0


def report(variants: list[Variant], planned: Planned, assigned: Mapping[str, list[str]]) -> str:
    """A line for each row, in their order, and how near the plan was to what is finished."""
    place_of, lines, ratios = {n: p for p, names in assigned.items() for n in names}, {}, []
    for name in (v.name for v in variants):
        plan, real = planned.get(name, {}), real_seconds(name)
        done = bundle.card_path(core.models_dir(), name).is_file()
        where = "done" if done else place_of.get(name, "dropped" if assigned else "not done")
        ratios += [real / plan["planned"]] if plan and real else []
        minutes = [f"{taken / 60:.1f}" if taken else "" for taken in (plan.get("planned"), real)]
        lines[name] = [f"{plan['gb']:.1f}" if plan else "", *minutes, where]
    table = pd.DataFrame.from_dict(lines, "index", columns=["GB", "minutes", "real", "place"])
    near = sum(abs(ratio - 1) <= NEAR for ratio in ratios)
    below = f"\n{near} of {len(ratios)} within {NEAR:.0%} of the plan" if ratios else ""
    return table.to_string() + below


def summary(seconds: Mapping[str, float], assigned: Mapping[str, list[str]], hours: float) -> str:
    """The hours of each place, how full it is, and whether the rows fit into `hours`."""
    busy = estimate.busy(seconds, assigned)
    longest = max(busy.values())
    lines = [f"{place}: {taken / 3600:.2f} hours, {taken / (longest or 1):.0%} full"
             for place, taken in busy.items()]
    lines.append(f"in all {longest / 3600:.2f} hours")
    if dropped := [name for name in seconds if name not in sum(assigned.values(), [])]:
        lines.append(f"{hours:g} hours, with 10% in hand, are too few; dropped from the end: "
                     + ", ".join(reversed(dropped)))
    elif hours < inf:
        lines.append(f"it fits into {hours:g} hours with 10% in hand")
    return "\n".join(lines)
