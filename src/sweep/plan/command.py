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
from collections.abc import Mapping
from math import inf
from pathlib import Path

import pandas as pd

from src import bundle, competition, core
from src.core import UserError, Variant
from src.sweep import engines, rows
from src.sweep.plan import estimate
from src.sweep.table import train
from src.sweep.work import Place, State

NEAR = 0.15  # a row that takes at most this much more than planned, or less, was planned well
COLUMNS = ["arch", "here", "gb", "seconds", "planned"]  # `seconds` by the probes alone


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
    seconds = planned.planned[[row.name for row in todo]].to_dict()
    assigned = estimate.assign(seconds, places, args.hours)
    print(report(variants, planned, assigned))
    print(summary(seconds, assigned, args.hours))
    if args.run:
        fitting = [row for row in todo if row.name in sum(assigned.values(), [])]
        began = time.time()
        outcomes = train(sorted(fitting, key=lambda row: -seconds[row.name]), args)
        longest = max(estimate.busy(seconds, assigned).values())
        print(report(variants, planned, {}))
        print(f"in all {(time.time() - began) / 3600:.2f} hours, planned {longest / 3600:.2f}")
        if failed := sum(outcome.state != State.DONE for outcome in outcomes):
            raise UserError(f"{failed} of {len(fitting)} rows are not done",
                            "python -m src.sweep status says why")


def make_plan(variants: list[Variant], data: Path, places: list[Place]) -> pd.DataFrame:
    """All that was planned so far, `variants` anew; it is stored in the sweep's folder."""
    path, here = core.sweep_dir() / "planned.json", estimate.here(data, places)
    probes = estimate.probes_of(variants, data, places)
    stored = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    old = pd.DataFrame.from_dict(stored, "index", columns=None if stored else COLUMNS)
    own = old[old.here == here]
    ratios = (real_seconds(own.index) / own.seconds).groupby(own.arch).median().dropna()
    new = {}
    for v in variants:
        parts, batch = [probes[part] for part in estimate.parts_of(v)], v.bs // v.accum
        if (bs := min(part["bs"] for part in parts)) < batch:
            print(f"{v.name}: out of memory with {batch} images a step; the smallest accum that "
                  f"fits is {v.bs // bs}")
        images = competition.train_paths(data).index
        images = len(images.difference(competition.read_corrections(v, data).exclude))
        seconds = estimate.estimate(v, probes, images)
        new[v.name] = [v.arch, here, max(part["gb"] for part in parts), seconds,
                       seconds * ratios.get(v.arch, 1)]
    new = pd.DataFrame.from_dict(new, "index", columns=COLUMNS)
    planned = pd.concat([old.drop(new.index, errors="ignore"), new])
    core.write_json(path, planned.to_dict("index"))
    return planned


def real_seconds(names: pd.Index) -> pd.Series:
    """What the notebooks of finished rows took; NaN where that is not known, or they resumed."""
    return pd.Series([_real_seconds(name) for name in names], names, dtype=float)


def _real_seconds(name: str) -> float | None:
    notebook, models = core.runs_dir() / f"{name}.ipynb", core.models_dir()
    if not (notebook.is_file() and bundle.card_path(models, name).is_file()):
        return None
    took = json.loads(notebook.read_text(encoding="utf-8"))["metadata"]["papermill"]["duration"]
    return took if took and took > bundle.read_card(models, name)["seconds"] else None


def report(
    variants: list[Variant], planned: pd.DataFrame, assigned: Mapping[str, list[str]]
) -> str:
    """A line for each row, in their order, and how near the plan was to what is finished."""
    table = planned.reindex([v.name for v in variants])
    real, left = real_seconds(table.index), "dropped" if assigned else "not done"
    places = {name: place for place, names in assigned.items() for name in names}
    places |= {name: "done" for name in table.index
               if bundle.card_path(core.models_dir(), name).is_file()}
    where = [places.get(name, left) for name in table.index]
    shown = pd.DataFrame({"GB": table.gb, "minutes": table.planned / 60, "real": real / 60,
                          "place": where})
    ratios = (real / table.planned).dropna()
    near = ((ratios - 1).abs() <= NEAR).sum()
    below = f"\n{near} of {len(ratios)} within {NEAR:.0%} of the plan" if len(ratios) else ""
    return shown.to_string(float_format="{:.1f}".format, na_rep="") + below


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
