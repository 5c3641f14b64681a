"""Rows against each other, round by round: what is clearly worse is not repeated.

    python -m src.sweep race --all [--repeats 3] [--keep 3] [--hours 9]

Round 1 trains every row with its seed, round 2 those still in with the next one, and so on; each
seed has its own split, the same for all rows. After a round a row leaves when it is worse than the
leader, the row with the fewest wrong, with 95 % one-sided. The race ends when --keep rows or fewer
are left, after --repeats rounds, or before a round for which the --hours do not suffice. Repeats
are written to models/compare/ and join no ensemble; what is finished there or in models/ is not
trained again, so the same command, or one with more repeats, goes on. Stored in sweep/race.json.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from math import inf
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from src import bundle, compare, competition, core, evidence
from src.compare import Repeat
from src.core import UserError, Variant
from src.sweep import rows, table
from src.sweep.work import Outcome, Row, State

ALPHA = 0.10  # two-sided: each end of such an interval is a bound of 95 %
HOUR = 3600
Look = Callable[[int, list[str]], pd.DataFrame | None]
Train = Callable[[list[Row]], list[Outcome]]
Plans = dict[str, list[Repeat]]  # row → its repeats, one for each round


class Round(NamedTuple):
    """How the rows of a round stand against its leader, by all their predictions so far."""

    number: int
    wrong: int  # of the leader's predictions
    gains: dict[str, evidence.Comparison]  # row → what it has right more; the leader first

    @property
    def stayed(self) -> list[str]:
        """The leader, and the rows that are not worse: the images do not separate them from it."""
        return [name for name, gain in self.gains.items() if gain.high >= 0]

    @property
    def left(self) -> list[str]:
        """The rows that are worse than the leader."""
        return [name for name, gain in self.gains.items() if gain.high < 0]


def rounds(names: list[str], look: Look, repeats: int, keep: int) -> Iterator[Round]:
    """The race of the rows `names`, each round as it is decided.

    `look(number, names)` has them trained for a round and returns whether they were right, image ×
    row, without those that failed; None ends the race.
    """
    seen = []
    for number in range(1, repeats + 1):
        if (right := look(number, names)) is None:
            return
        seen.append(right)
        decided = decide(number, pd.concat(seen, join="inner"))
        yield decided
        if len(names := decided.stayed) <= keep:
            return


def decide(number: int, right: pd.DataFrame) -> Round:
    """Round `number`: `right` says which predictions of all rounds were, image × row.

    By the exact sign test over images that `src.compare` has. A paired bootstrap would draw random
    numbers, train a run less and lose the best row more often (docs/benchmarks.md).
    """
    counts = right.sum().sort_values(ascending=False, kind="stable")
    gains = right.astype(int).sub(right[counts.index[0]].astype(int), axis=0)
    return Round(number, len(right) - int(counts.iloc[0]),
                 {name: evidence.comparison_of(gains[name], ALPHA) for name in counts.index})


def plan(variants: list[Variant], repeats: int, folder: Path) -> Plans:
    """The repeats of each row; refused before any work if they cannot be compared.

    The first is the row itself, trained in models/ like any other.
    """
    plans = {variant.name: compare.plan(variant, repeats, folder) for variant in variants}
    for others in plans.values():
        compare.require_distinct_holdouts(plans[variants[0].name], others)
    return {name: [row if row.done else row._replace(models=core.models_dir()), *later]
            for name, (row, *later) in plans.items()}


def race(
    plans: Plans, folder: Path, train: Train, keep: int, hours: float = inf
) -> dict[str, str]:
    """Race the rows of `plans`, printing and storing each round; row → why its training failed."""
    began, trained, decided_rounds, failed = time.monotonic(), [], [], {}

    def look(number: int, names: list[str]) -> pd.DataFrame | None:
        """Have these rows trained for a round; whether they were right, or None to end the race."""
        wanted = {name: plans[name][number - 1] for name in names}
        new = {name: repeat for name, repeat in wanted.items() if not repeat.done}
        spent = (time.monotonic() - began) / HOUR
        rate = spent / sum(trained) if sum(trained) else 1  # places train at the same time
        needed = rate * sum(_hours(plans[name][number - 2]) for name in new if number > 1)
        if needed > hours - spent:
            print(f"round {number} needs {needed:.2g} hours, {hours - spent:.2g} are left: the end")
            return None
        failed.update(_train(new, folder, train))
        trained.extend(_hours(new[name]) for name in new if name not in failed)
        finished = {name: wanted[name] for name in names if name not in failed}
        return _right(finished, folder) if finished else None

    record = {}
    for decided in rounds(list(plans), look, len(next(iter(plans.values()))), keep):
        decided_rounds.append(decided)
        record = _record(decided_rounds, plans, failed)
        core.write_json(core.sweep_dir() / "race.json", record)
        print("\n".join(_round_lines(decided)), flush=True)
    if decided_rounds:
        print("\n".join(_last_lines(decided_rounds[-1], record)), flush=True)
    return failed


def _train(repeats: dict[str, Repeat], folder: Path, train: Train) -> dict[str, str]:
    """Have `repeats` trained; row → why it failed."""
    for repeat in repeats.values():
        compare.share_split(repeat, folder)
    jobs = [Row(repeat.variant, folder, repeat.models) for repeat in repeats.values()]
    outcomes = dict(zip(repeats, train(jobs), strict=True))
    if State.INTERRUPTED in {outcome.state for outcome in outcomes.values()}:
        raise KeyboardInterrupt
    return {name: end.reason for name, end in outcomes.items() if end.state != State.DONE}


def _right(repeats: dict[str, Repeat], folder: Path) -> pd.DataFrame:
    """Whether these finished ones were right, image × row."""
    labels = competition.train_table(folder).label
    tables = [compare.holdout_of(row._replace(done=True), folder) for row in repeats.values()]
    right = {name: evidence.right(table, labels)
             for name, table in zip(repeats, evidence.join(tables), strict=True)}
    return pd.DataFrame(right, tables[0].index)


def _hours(repeat: Repeat) -> float:
    return bundle.read_card(repeat.models, repeat.variant.name).get("seconds", 0) / HOUR


def _record(decided_rounds: list[Round], plans: Plans, failed: dict[str, str]) -> dict[str, Any]:
    """The race so far as JSON has it; the grid's hours are those of each row, times its repeats."""
    spent = {name: [_hours(plans[name][r.number - 1]) for r in decided_rounds if name in r.gains]
             for name in decided_rounds[0].gains}
    grid = sum(sum(hours) / len(hours) * len(plans[name]) for name, hours in spent.items())
    return {
        "rounds": [{"number": r.number, "wrong": r.wrong, "left": r.left,
                    "gains": {name: gain._asdict() for name, gain in r.gains.items()}}
                   for r in decided_rounds],
        "stayed": decided_rounds[-1].stayed,
        "failed": failed,
        "runs": sum(map(len, spent.values())),
        "hours": sum(map(sum, spent.values())),
        "grid_runs": sum(map(len, plans.values())),
        "grid_hours": grid,
    }


def _round_lines(r: Round) -> Iterator[str]:
    """Who leads after a round, and who left by how many images."""
    leader, *_ = r.gains
    yield (f"round {r.number}: {len(r.gains)} rows; {leader} has the fewest wrong, {r.wrong:,} of "
           f"{r.gains[leader].images:,}")
    for name in r.left:
        yield f"  {name} leaves, worse with 95 % one-sided: {evidence.gain_phrase(r.gains[name])}"


def _last_lines(r: Round, record: dict[str, Any]) -> Iterator[str]:
    """Who stayed, and what it took."""
    leader, *others = r.stayed
    yield (f"{1 + len(others)} rows stayed and cannot be told apart; against {leader}:" if others
           else f"only {leader} stayed")
    for name in others:
        yield f"  {name}: {evidence.gain_phrase(r.gains[name])}"
    yield (f"{record['runs']} runs, {record['hours']:.2f} hours of training; the full grid would "
           f"have taken {record['grid_runs']} runs, about {record['grid_hours']:.2f} hours")


def race_command(words: list[str]) -> None:
    """`race`: see the module's first lines."""
    parser = argparse.ArgumentParser(prog="python -m src.sweep race", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    rows.add_arguments(parser)
    parser.add_argument("--repeats", type=int, default=3, help="rounds at most (3)")
    parser.add_argument("--keep", type=int, default=3, help="it ends when so few are left (3)")
    parser.add_argument("--hours", type=float, default=inf, help="how many there are")
    args = parser.parse_args(words)
    if min(args.repeats, args.keep) < 1:
        raise UserError("--repeats and --keep must be 1 or more")
    if len(variants := rows.chosen(args)) < 2:
        raise UserError("one row cannot race; name two or more")
    if complaints := rows.check(variants, args.data, core.models_dir()):
        print("\n".join(complaints), file=sys.stderr)
        raise UserError(f"nothing was started; lines above that say why: {len(complaints)}")
    folder = competition.find(args.data)
    plans = plan(variants, args.repeats, folder)
    train = partial(table.train, args=args)
    if failed := race(plans, folder, train, args.keep, args.hours):
        name, reason = next(iter(failed.items()))
        raise UserError(f"{len(failed)} of {len(variants)} rows failed; first: {name}: {reason}")
