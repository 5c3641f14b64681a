"""Rows against each other, round by round: what is clearly worse is not repeated.

    python -m src.sweep race --all [--repeats 3] [--keep 3] [--hours 9]

Round 1 trains every row with its seed, round 2 those still in with the next one, and so on; each
seed has its own split, the same for all rows. After a round a row leaves when it is worse than the
leader, the row with the fewest wrong, with 95 % one-sided. The race ends when --keep rows or fewer
are left, after --repeats rounds, or when the --hours are spent: then no row starts any more, and a
round that lacks some decides nothing. Repeats are written to models/compare/ and join no ensemble;
what is finished there or in models/ is not trained again, so the same command, or one with more
repeats or hours, goes on. sweep/race.txt has it all.
"""

import argparse
import time
from collections.abc import Callable
from math import inf
from pathlib import Path

import pandas as pd

from src import bundle, compare, competition, core, evidence
from src.compare import Repeat
from src.core import UserError, Variant
from src.sweep import rows, table
from src.sweep.folder import now
from src.sweep.work import Outcome, Row, State

ALPHA = 0.10  # two-sided: each end of such an interval is a bound of 95 %
HOUR = 3600
Gains = dict[str, evidence.Comparison]  # row → what it has right more than the leader, the first
Train = Callable[[list[Row]], list[Outcome]]
Plans = dict[str, list[Repeat]]  # row → its repeats, one for each round


def decide(right: pd.DataFrame) -> Gains:
    """How rows stand against their leader: `right` says which predictions were, image × row.

    By the exact sign test over images that `src.compare` has. A paired bootstrap would draw random
    numbers, train a run less and lose the best row more often (docs/benchmarks.md).
    """
    counts = right.sum().sort_values(ascending=False, kind="stable")
    gains = right.astype(int).sub(right[counts.index[0]].astype(int), axis=0)
    return {name: evidence.comparison_of(gains[name], ALPHA) for name in counts.index}


def stayed(gains: Gains) -> list[str]:
    """The leader, and the rows that are not worse: the images do not separate them from it."""
    return [name for name, gain in gains.items() if gain.high >= 0]


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
    end, names, failed, last = time.monotonic() + HOUR * hours, [*plans], {}, []
    seen, spent = [], []  # by round: which predictions were right, the hours of its runs
    try:
        while len(seen) < len(plans[names[0]]):
            repeats = {name: plans[name][len(seen)] for name in names}
            ended = _train(repeats, folder, train)
            failed |= {name: one.reason for name, one in ended.items() if one.state == State.FAILED}
            if late := [name for name, one in ended.items() if one.state == State.WAITING]:
                last.insert(0, f"the {hours:g} hours are spent before {len(late)} of the "
                               f"{len(repeats)} runs of round {len(seen) + 1}")
                break
            finished = {name: row for name, row in repeats.items() if name not in failed}
            if not finished:
                break
            seen.append(_right(finished, folder))
            spent.append([_hours(row) for row in finished.values()])
            gains = decide(right := pd.concat(seen, join="inner"))
            names, wrong = stayed(gains), int((~right).sum().min())
            _say(_round_lines(len(seen), gains, wrong))
            last = _last_lines(gains, spent, plans)
            if len(names) <= keep:
                break
            if time.monotonic() >= end:
                last.insert(0, f"the {hours:g} hours are spent")
                break
    finally:  # Ctrl-C too loses nothing
        _say(last)
    return failed


def _say(lines: list[str]) -> None:
    """Print `lines`, and append them to what this race and earlier ones have stored."""
    if lines:
        print("\n".join(lines), flush=True)
        path = core.sweep_dir() / "race.txt"
        before = path.read_text(encoding="utf-8") if path.is_file() else ""
        core.write_text(path, "\n".join([before + now(), *lines, ""]))


def _train(repeats: dict[str, Repeat], folder: Path, train: Train) -> dict[str, Outcome]:
    """Have those of `repeats` trained that are not done; row → how that ended."""
    new = {name: repeat for name, repeat in repeats.items() if not repeat.done}
    for repeat in new.values():
        compare.share_split(repeat, folder)
    outcomes = train([Row(repeat.variant, folder, repeat.models) for repeat in new.values()])
    if State.INTERRUPTED in [outcome.state for outcome in outcomes]:
        raise KeyboardInterrupt
    return dict(zip(new, outcomes, strict=True))


def _right(repeats: dict[str, Repeat], folder: Path) -> pd.DataFrame:
    """Whether these finished ones were right, image × row."""
    labels = competition.train_table(folder).label
    tables = [compare.holdout_of(row._replace(done=True), folder) for row in repeats.values()]
    right = [evidence.right(table, labels) for table in evidence.join(tables)]
    return pd.DataFrame(dict(zip(repeats, right, strict=True)), tables[0].index)


def _hours(repeat: Repeat) -> float:
    return bundle.read_card(repeat.models, repeat.variant.name).get("seconds", 0) / HOUR


def _round_lines(number: int, gains: Gains, wrong: int) -> list[str]:
    """Who leads after a round, and who left by how many images."""
    leader = next(iter(gains))
    return [f"round {number}: {len(gains)} rows; {leader} has the fewest wrong, {wrong:,} of "
            f"{gains[leader].images:,} images, with TTA where a row has it",
            *(f"  {name} leaves, worse with 95 % one-sided: {evidence.gain_phrase(gain)} images"
              for name, gain in gains.items() if name not in stayed(gains))]


def _last_lines(gains: Gains, spent: list[list[float]], plans: Plans) -> list[str]:
    """Who stayed, and what it took; the full grid is the first run of each row, repeated."""
    (leader, *others), repeats = stayed(gains), len(next(iter(plans.values())))
    return [f"{1 + len(others)} rows stayed, none clearly worse; against {leader}:" if others
            else f"only {leader} stayed",
            *(f"  {name}: {evidence.gain_phrase(gains[name])}" for name in others),
            f"{sum(map(len, spent))} runs, {sum(map(sum, spent)):.2f} hours of training; the full "
            f"grid would have taken {repeats * len(plans)} runs, about "
            f"{repeats * sum(spent[0]):.2f} hours"]


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
    if args.hours <= 0:
        raise UserError(f"--hours {args.hours:g} must be more than 0")
    if len(variants := rows.checked(args)) < 2:
        raise UserError("one row cannot race; name two or more")
    folder = competition.find(args.data)
    plans = plan(variants, args.repeats, folder)
    args.end = time.monotonic() + HOUR * args.hours

    def train(new: list[Row]) -> list[Outcome]:
        """Train a round; from the second one on a card is waited for, as far as the hours go."""
        outcomes = table.train(new, args)
        args.until = args.end
        return outcomes

    if failed := race(plans, folder, train, args.keep, args.hours):
        name, reason = next(iter(failed.items()))
        raise UserError(f"{len(failed)} of {len(variants)} rows failed; first: {name}: {reason}")
