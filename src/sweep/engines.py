"""The places of this machine, and the engines that bring rows to places.

`run` gives one Outcome for each row, in their order. It calls `notice(Outcome)` whenever the state
of a row changes, tries a failure with `retry` again up to RETRIES times, and at Ctrl-C has the
engine send the signal on once.
"""

import argparse
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache
from math import inf
from typing import Any, NamedTuple, TextIO

from src.core import UserError, cores
from src.sweep.folder import is_busy
from src.sweep.work import Outcome, Place, Row, State, stop, work

RETRIES = 2
MOST = 256  # rows in work at once
SMI, PAUSE = 30, 60  # seconds that nvidia-smi may take, and until a card is looked for again
VISIBLE = "CUDA_VISIBLE_DEVICES"
Notice = Callable[[Outcome], None]


def places(args: argparse.Namespace) -> list[Place]:
    """The free GPUs by nvidia-smi, else one place per `args.cores` cores; says what is left out.

    Where no card is free one is waited for until `args.until`; then that is refused.
    """
    if args.cores < 1 or args.jobs_per_gpu < 1:
        raise UserError("--cores and --jobs-per-gpu must be 1 or more")
    cards, own = _cards(args.gpus, args.until)
    if not cards:
        each, count = args.cores, cores() // args.cores
        if not count:
            raise UserError(f"--cores {each} are more than the {cores()} there are")
        return [Place(f"cpu {number + 1}", {VISIBLE: "", **threads(each)})
                for number in range(count)]
    jobs = [(card, f" ({job + 1})" if job else "")
            for job in range(args.jobs_per_gpu) for card in cards]
    env = threads(max(1, cores() // len(jobs)))
    # CUDA's own order is by speed, nvidia-smi's is by slot; names that were given keep theirs.
    order = {} if own else {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    return [Place(f"gpu {card[:12]}{job}", {VISIBLE: card, **order, **env})
            for card, job in jobs]


def threads(count: int) -> dict[str, str]:
    """`count` threads, and loader processes as on a machine of `count` cores."""
    return {"OMP_NUM_THREADS": str(count), "LOKY_MAX_CPU_COUNT": str(count)}


def _cards(named: str, until: float) -> tuple[list[str], bool]:
    """The free ones of the cards; and whether their names are the user's own CUDA_VISIBLE_DEVICES.

    Without nvidia-smi nobody knows who uses a card: those that the user named are taken.
    """
    uuids = dict(nvidia_smi("gpu", "index,uuid"))
    own = os.environ.get(VISIBLE)
    cards = list(uuids) if own is None else [n.strip() for n in own.split(",") if n.strip()]
    if "-1" in cards:  # for CUDA the end of the list
        cards = cards[: cards.index("-1")]
    wanted = [name.strip() for name in named.split(",")] if named else cards
    if unknown := [name for name in wanted if name not in cards]:
        raise UserError(f"--gpus: no card {', '.join(unknown)}",
                        f"known: {', '.join(cards) or 'none'}")
    while True:
        users, free = nvidia_smi("compute-apps", "gpu_uuid,pid") if uuids else [], []
        for card in dict.fromkeys(wanted):
            used = [pid for uuid, pid in users if uuid.startswith(uuids.get(card, card))]
            if used:
                say(f"gpu {card} is used by process {', '.join(used)}: left alone")
            else:
                free.append(card)
        if free or not wanted:
            return free, own is not None
        if time.monotonic() >= until:
            raise UserError("no card is free", f"wait, or train without: {VISIBLE}= in front")
        say("no card is free: waiting for one")
        time.sleep(PAUSE)


@cache
def say(line: str) -> None:
    """Print `line`, once only however often it is looked."""
    print(line, flush=True)


def nvidia_smi(what: str, fields: str) -> list[tuple[str, ...]]:
    """A table of nvidia-smi's; without a driver, or where that hangs, no rows."""
    words = ["nvidia-smi", f"--query-{what}={fields}", "--format=csv,noheader"]
    try:
        process = subprocess.Popen(words, text=True, encoding="utf-8", stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        out, problem = process.communicate(timeout=SMI)
    except FileNotFoundError:
        return []
    except subprocess.TimeoutExpired:
        process.kill()  # nobody waits for it: inside a driver that hangs it does not even die
        out, problem = "", f"no answer in {SMI} seconds, as if there were none"
    if process.returncode != 0:
        print(f"nvidia-smi: {(out + problem).strip()}", flush=True)
        return []
    return [tuple(cell.strip() for cell in line.split(",")) for line in out.splitlines()]


class Engine(NamedTuple):
    """Where rows are trained and how: on this machine, or on a cluster (src/sweep/cluster.py)."""

    places: Callable[[], list[Place]]  # all there are now
    work: Callable[[Row, Place], Outcome]
    stop: Callable[[int], None]  # sends a signal to every row in work
    news: Callable[[], list[str]] = list  # lines on its places since the last time
    out: TextIO | None = None  # where to print meanwhile, if not to stdout


def here(places: list[Place]) -> Engine:
    """The engine of this machine: a process for each row."""
    return Engine(lambda: places, work, stop)


def run(rows: list[Row], engine: Engine, notice: Notice, end: float = inf) -> list[Outcome]:
    """Bring each row to a place that is free, until all have ended; none starts after `end`."""
    waiting, running, tries, elsewhere, ended = list(rows), {}, Counter(), set(), {}
    with ThreadPoolExecutor(MOST) as pool, interrupts() as signals:
        while running or (waiting and not signals and time.monotonic() < end):
            taken = [place for _, place in running.values()]
            places = engine.places()
            for line in engine.news():
                notice(Outcome("", "", State.WAITING, line))
            free = [place for place in places if place not in taken]
            if signals:
                engine.stop(signals[-1])
            elif not places and not running:
                ended |= {row.name: Outcome(row.name, "", State.FAILED, "no place is left")
                          for row in waiting}
                break
            elif free and time.monotonic() < end and (row := _next(waiting, elsewhere, notice)):
                notice(Outcome(row.name, free[0].name, State.TRAINING))
                running[pool.submit(engine.work, row, free[0])] = row, free[0]
                continue
            for future in _ended(running):
                row, place = running.pop(future)
                outcome = judged(_result(future, row, place), tries, bool(signals))
                notice(outcome)
                if outcome.state in (State.AGAIN, State.BUSY):
                    waiting.append(row)
                else:
                    ended[row.name] = outcome
    state = State.INTERRUPTED if signals else State.WAITING
    return [ended.get(row.name, Outcome(row.name, "", state)) for row in rows]


def _next(waiting: list[Row], elsewhere: set[str], notice: Notice) -> Row | None:
    """Take the first row of `waiting` that no other sweep trains."""
    for row in waiting:
        if not is_busy(row.name):
            waiting.remove(row)
            return row
        if row.name not in elsewhere:
            elsewhere.add(row.name)
            notice(Outcome(row.name, "", State.BUSY, "another sweep trains it"))
    return None


def _ended(running: dict[Future, Any]) -> set[Future]:
    """Those of `running` that have ended, after a second at most."""
    if not running:  # all that wait are trained by another sweep
        time.sleep(1)
        return set()
    return wait(running, 1, FIRST_COMPLETED).done


def _result(future: Future, row: Row, place: Place) -> Outcome:
    try:
        return future.result()
    except Exception as error:  # an engine's `work` raises nothing; a fault in it costs one row
        reason = f"{type(error).__name__}: {error}"
        return Outcome(row.name, place.name, State.FAILED, reason, retry=True)


def judged(outcome: Outcome, tries: Counter, stopping: bool) -> Outcome:
    """`outcome`, AGAIN if the row is to be tried again; `tries` counts the system's failures."""
    tries[outcome.name] += outcome.retry
    again = outcome.retry and tries[outcome.name] <= RETRIES and not stopping
    return outcome._replace(state=State.AGAIN) if again else outcome


@contextmanager
def interrupts() -> Iterator[list[int]]:
    """The signals to pass on: empty, at the first Ctrl-C SIGINT, SIGKILL at the second."""
    signals = []

    def remember(*_: Any) -> None:
        """Remember it: an exception could be raised between any two lines."""
        signals.append(signal.SIGKILL if signals else signal.SIGINT)

    before = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
