"""What is seen of a sweep: the live table, a line for each change on a pipe, status."""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.table import Table as Drawn

from src import bundle, core
from src.core import UserError
from src.sweep.analyse.record import rebuild
from src.sweep.cluster import cluster
from src.sweep.engines import Engine, here, places, run
from src.sweep.folder import attempts_at, file_of, is_busy, place_of, progress_of
from src.sweep.work import Outcome, Row, State

COLUMNS = ("name", "place", "state", "epoch", "hold-out wrong", "min left")
FIRST_TO_FALL = ("place", "min left", "epoch", "hold-out wrong")  # where a terminal is narrow
GAP = 2  # columns between two


class Table:
    """How the rows of a sweep stand: live on a terminal, one line per change on a pipe.

    Used as a context manager; `notice` is what an engine is given.
    """

    def __init__(self, rows: list[Row], places: int, out: TextIO | None = None) -> None:
        self.states = {row.name: Outcome(row.name, "", State.WAITING) for row in rows}
        self.places, self.used, self.began = places, 0.0, time.monotonic()
        self.console = Console(file=out or sys.stdout, markup=False, highlight=False)
        self.live = Live(console=self.console, get_renderable=self._drawn,
                         refresh_per_second=0.5)  # a drawing takes some hundredths of a second

    def __enter__(self) -> "Table":
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()
        if not self.console.is_terminal:
            self.console.print(self._drawn())

    def notice(self, outcome: Outcome) -> None:
        """Show that a row's state is now that of `outcome`."""
        self.used += outcome.seconds
        if outcome.name:
            self.states[outcome.name] = outcome
        if line := _line(outcome, self.console.is_terminal):
            self.console.print(line, soft_wrap=True)

    def summary(self) -> str:
        """`5 done, 1 failed; places were busy for 1.2 of 1.4 hours`."""
        states = Counter(outcome.state for outcome in self.states.values())
        rest = states.total() - states[State.DONE] - states[State.FAILED]
        rows = f"{states[State.DONE]} done, {states[State.FAILED]} failed"
        rows += f", {rest} not finished" * (rest > 0)
        had = self.places * (time.monotonic() - self.began)
        return f"{rows}; places were busy for {self.used / 3600:.2f} of {had / 3600:.2f} hours"

    def _drawn(self) -> Drawn:
        return _draw(self.states.values(), self.console.width)


def _line(outcome: Outcome, terminal: bool) -> str:
    """What is written about a change; beneath a live table only what it has no room for."""
    if not outcome.name:
        return outcome.reason
    if terminal and not outcome.reason:
        return ""
    line = f"{outcome.name}: {outcome.state}" + (f", {outcome.place}" if outcome.place else "")
    line += f": {outcome.reason}" if outcome.reason else ""
    if outcome.state in (State.FAILED, State.AGAIN):
        line += f"; see {file_of(outcome.name, 'log')}"
    return line


def _draw(outcomes: Iterable[Outcome], width: int) -> Drawn:
    """The table in at most `width` columns; what trains stands first, a long table is cut below."""
    outcomes = sorted(outcomes, key=lambda outcome: outcome.state != State.TRAINING)
    cells = [dict(zip(COLUMNS, _cells(outcome), strict=True)) for outcome in outcomes]
    widths = {c: max([len(c), *(len(row[c]) for row in cells)]) for c in COLUMNS}
    for column in FIRST_TO_FALL:
        if sum(widths.values()) + GAP * (len(widths) - 1) > width:
            del widths[column]
    drawn = Drawn(box=None, pad_edge=False, padding=(0, GAP, 0, 0))
    for column in widths:
        side = "left" if column in ("name", "place", "state") else "right"
        drawn.add_column(column, justify=side, no_wrap=True, overflow="ellipsis")
    for row in cells:
        drawn.add_row(*(row[column] for column in widths))
    return drawn


def _cells(outcome: Outcome) -> tuple[str, ...]:
    """The cells of a row, by COLUMNS."""
    name, place, state, *_ = outcome
    seen = {} if state == State.WAITING else progress_of(name)
    if not seen:
        return name, place, state, "", "", ""
    epoch = f"{seen['epoch']}/{seen['epochs']}"
    wrong = "" if seen["wrong"] is None else f"{seen['wrong']:,} of {seen['images']:,}"
    gone = (datetime.now(UTC) - datetime.fromisoformat(seen["ended"])).total_seconds()
    left = max(0.0, (seen["epochs"] - seen["epoch"]) * seen["seconds"] - gone) / 60
    return name, place, state, epoch, wrong, f"{left:.0f}" if state == State.TRAINING else ""


def train(rows: list[Row], args: argparse.Namespace) -> list[Outcome]:
    """Train `rows` where and until `args` say, seen in a table; one Outcome for each."""
    if not rows:
        return []
    with _engine(rows, args) as engine, Table(rows, len(engine.places()), engine.out) as table:
        outcomes = run(rows, engine, table.notice, args.end)
    print(table.summary(), flush=True)
    try:
        rebuild()
    except UserError as error:  # the rows are what counts; python -m src.record makes it again
        print(f"record.sqlite is not new: {error}", flush=True)
    return outcomes


def require_done(outcomes: list[Outcome]) -> None:
    """KeyboardInterrupt if a row was interrupted, UserError if one failed."""
    if any(outcome.state == State.INTERRUPTED for outcome in outcomes):
        raise KeyboardInterrupt
    if failed := [outcome for outcome in outcomes if outcome.state == State.FAILED]:
        first = f"{failed[0].name}: {failed[0].reason}"
        raise UserError(f"{len(failed)} of {len(outcomes)} rows failed; first: {first}")


def _engine(rows: list[Row], args: argparse.Namespace) -> AbstractContextManager[Engine]:
    """The cluster at `--address`, else this machine."""
    if args.address and (args.gpus or args.jobs_per_gpu != 1):
        raise UserError("--gpus and --jobs-per-gpu are for this machine, not for --address")
    if args.address:
        return cluster(args.address, rows, args.cores, args.mixed_versions)
    return nullcontext(here(places(args)[: len(rows)]))


def status_command(words: list[str]) -> None:
    """`status`: what ran, runs, failed and why, from the files in the sweep's folder."""
    parser = argparse.ArgumentParser(prog="python -m src.sweep status",
                                     description=status_command.__doc__)
    parser.parse_args(words)
    names = sorted(path.stem for path in core.sweep_dir().glob("*.log"))
    names = [name for name in names if file_of(name, "lock").is_file()]  # ray.log is of no row
    if not names:
        raise UserError(f"no sweep has run in {core.sweep_dir()}",
                        "start one: python -m src.sweep --all")
    outcomes = [_standing(name) for name in names]
    console = Console(file=sys.stdout, markup=False, highlight=False)
    console.print(_draw(outcomes, console.width))
    for outcome in outcomes:
        if outcome.reason:
            console.print(_line(outcome, True), soft_wrap=True)


def _standing(name: str) -> Outcome:
    """How the row `name` stands now, by its lock, its card and its attempts."""
    attempts, place = attempts_at(name), place_of(name)
    if is_busy(name):
        return Outcome(name, place, State.TRAINING)
    models = core.models_dir()
    if any(bundle.card_path(folder, name).is_file() for folder in (models, models / "compare")):
        return Outcome(name, place, State.DONE)
    if attempts:
        return Outcome(name, attempts[-1]["place"], State.FAILED, attempts[-1]["reason"])
    return Outcome(name, place, State.INTERRUPTED)
