"""What rows will take, measured beforehand, and whether it fits into the hours there are.

    python -m src.sweep plan --all --hours 9          measures and says what fits; trains nothing
    python -m src.sweep plan --all --hours 9 --run    and trains that

The last rows are dropped first. Where a row that was planned is finished, its real minutes stand
beside the planned ones; they correct the next plan of rows of its arch.
"""

import argparse
import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import inf
from pathlib import Path

import pandas as pd

from src import bundle, competition, core
from src.core import FIND, UserError, Variant
from src.sweep import engines, rows, table
from src.sweep.plan.measure import machine, parts_of, probes_of
from src.sweep.plan.probe import Probe, probed
from src.sweep.work import Place

IN_HAND = 1.1  # the hours must hold so many times what is planned
NEAR = 0.15  # a row that takes at most this much more than planned, or less, was planned well
SEARCH = 100  # steps of a search for a learning rate
COLUMNS = ["arch", "gb", "seconds", "planned"]  # `seconds` are by the probes alone


def plan_command(words: list[str]) -> None:
    """`plan`: see the module's first lines."""
    parser = argparse.ArgumentParser(prog="python -m src.sweep plan", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    rows.add_arguments(parser)
    parser.add_argument("--hours", type=float, default=inf, help="of training there are")
    parser.add_argument("--run", action="store_true", help="train what fits")
    args = parser.parse_args(words)
    if args.hours <= 0:
        raise UserError(f"--hours {args.hours:g} must be more than 0")
    if args.address:
        raise UserError("plan measures this machine; leave --address out")
    variants, data, places = rows.checked(args), competition.find(args.data), engines.places(args)
    todo = rows.rows_for(variants, data, core.models_dir())
    planned = make_plan([row.variant for row in todo], data, places)
    seconds = planned.planned[[row.name for row in todo]].to_dict()
    place_of, busy = assign(seconds, places, args.hours)
    print(report(variants, planned, place_of, "dropped"))
    print(summary(seconds, place_of, busy, args.hours))
    if args.run:
        fitting, began = [row for row in todo if row.name in place_of], time.time()
        outcomes = table.train(sorted(fitting, key=lambda row: -seconds[row.name]), args)
        took = (time.time() - began) / 3600
        print(report(variants, planned, {}, "not done"))
        print(f"in all {took:.2f} hours, planned {max(busy.values()) / 3600:.2f}")
        table.require_done(outcomes)


def make_plan(variants: list[Variant], data: Path, places: list[Place]) -> pd.DataFrame:
    """All that was planned so far on this machine, `variants` anew; a file stores it."""
    path = core.sweep_dir() / f"planned_{machine(data, places)}.json"
    probes = probes_of(variants, data, places)
    old = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    old = pd.DataFrame.from_dict(old, "index").reindex(columns=COLUMNS)
    ratios = (real_seconds(old.index) / old.seconds).groupby(old.arch).median().dropna()
    new = {}
    for v in variants:
        parts, batch = [probes[part] for part in parts_of(v)], v.bs // v.accum
        if (bs := min(part["bs"] for part in parts)) < batch:
            print(f"{v.name}: out of memory with {batch} images a step; the smallest accum that "
                  f"fits is {v.bs // bs}")
        images = competition.train_paths(data).index
        images = len(images.difference(competition.read_corrections(v, data).exclude))
        seconds = estimate(v, probes, images)
        new[v.name] = [v.arch, max(part["gb"] for part in parts), seconds,
                       seconds * ratios.get(v.arch, 1)]
    new = pd.DataFrame.from_dict(new, "index", columns=COLUMNS)
    planned = pd.concat([old.drop(new.index, errors="ignore"), new])
    core.write_json(path, planned.to_dict("index"))
    return planned


def planned_before(variants: list[Variant]) -> str:
    """The report on those of `variants` that the last plan has; empty if it has none."""
    last = max(core.sweep_dir().glob("planned_*.json"), key=os.path.getmtime, default=None)
    old = json.loads(last.read_text(encoding="utf-8")) if last else {}
    known = [v for v in variants if v.name in old]
    return report(known, pd.DataFrame.from_dict(old, "index"), {}, "not done") if known else ""


def real_seconds(names: Iterable[str]) -> pd.Series:
    """What the notebooks of finished rows took; NaN where that is not known, or they resumed."""
    return pd.Series([_real_seconds(name) for name in names], names, dtype=float)


def _real_seconds(name: str) -> float | None:
    notebook, models = core.runs_dir() / f"{name}.ipynb", core.models_dir()
    if not (notebook.is_file() and bundle.card_path(models, name).is_file()):
        return None
    facts = json.loads(notebook.read_text(encoding="utf-8"))["metadata"]
    took = facts.get("papermill", {}).get("duration")
    return took if took and took > bundle.read_card(models, name)["seconds"] else None


def report(
    variants: list[Variant], planned: pd.DataFrame, place_of: Mapping[str, str], rest: str
) -> str:
    """A line for each row, in their order, and how near the plan was to what is finished."""
    plan = planned.reindex([v.name for v in variants])
    real = real_seconds(plan.index)
    stands = place_of | dict.fromkeys(bundle.read_cards(core.models_dir())[0], "done")
    where = [stands.get(name, rest) for name in plan.index]
    shown = pd.DataFrame({"GB": plan.gb, "minutes": plan.planned / 60, "real": real / 60,
                          "place": where})
    ratios = (real / plan.planned).dropna()
    near = ((ratios - 1).abs() <= NEAR).sum()
    below = f"\n{near} of {len(ratios)} within {NEAR:.0%} of the plan" if len(ratios) else ""
    return shown.to_string(float_format="{:.1f}".format, na_rep="") + below


def summary(
    seconds: Mapping[str, float], place_of: Mapping[str, str], busy: Mapping[str, float],
    hours: float,
) -> str:
    """The hours of each place, how full it is, and whether the rows fit into `hours`."""
    longest = max(busy.values())
    lines = [f"{place}: {taken / 3600:.2f} hours, {taken / (longest or 1):.0%} of the longest"
             for place, taken in busy.items()]
    lines.append(f"in all {longest / 3600:.2f} hours")
    if dropped := [name for name in seconds if name not in place_of]:
        lines.append(f"{hours:g} hours, with 10% in hand, are too few for all, which need "
                     f"{sum(seconds.values()) / len(busy) / 3600:.2f} at least; dropped from the "
                     f"end: {', '.join(reversed(dropped))}")
    elif hours < inf:
        lines.append(f"it fits into {hours:g} hours with 10% in hand")
    return "\n".join(lines)


def assign(
    seconds: Mapping[str, float], places: list[Place], hours: float
) -> tuple[dict[str, str], dict[str, float]]:
    """Row → its place, and place → seconds until it is through with its rows.

    The longest row goes first, each to the place that is free first. If `hours`, with some in hand,
    are too few, rows are dropped from the end.
    """
    fitting = dict(seconds)
    while True:
        place_of, busy = {}, dict.fromkeys((place.name for place in places), 0.0)
        for name in sorted(fitting, key=fitting.__getitem__, reverse=True):
            place_of[name] = min(busy, key=busy.__getitem__)
            busy[place_of[name]] += fitting[name]
        if not fitting or IN_HAND * max(busy.values()) <= 3600 * hours:
            return place_of, busy
        fitting.popitem()


def estimate(v: Variant, probes: Mapping[Variant, Probe], images: int) -> float:
    """Seconds that the notebook takes for `v`, with so many `images`, by the `probes`."""
    from src.training import make_plan

    held, last = 0 if v.fold == "all" else images // competition.FOLDS, probes[probed(v, v.size)]
    several = v.cycles if v.snapshots == "members" else 1
    total, seen = last["start"] + last["tail"] + several * held * last["image"], set()
    for number, epoch in enumerate(make_plan(replace(v, lr=1.0))):
        probe = probes[probed(v, epoch.size)]
        step = probe["frozen" if epoch.phase.frozen else "step"]
        reading = probe["again" if epoch.size in seen else "read"]
        if v.precompute and epoch.phase.frozen and number:  # its features are read in the first
            step = 0
        total += probe["rest"] + (images - held) * step + held * reading
        if v.lr == FIND and not number:
            total += SEARCH * v.bs // v.accum * step
        seen.add(epoch.size)
    return min(total, 60 * v.time_limit or total)
