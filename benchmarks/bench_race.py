"""How many runs a race takes, and how often it keeps the best row, against other ways to choose.

    python benchmarks/bench_race.py [WORLDS]

Simulated at real size: 10,407 images, of which each repeat holds out its own fifth, 2,081 drawn
one by one, the same for all rows. Some images are hard for every row: a row has each of them wrong
with its own chance, drawn anew in each run, so that the count of a run varies by 3.3 images around
the row's true one. Three cases: 13 rows whose true errors vary as little as makes two runs of them
correlate 0.40; 27 rows with a standard deviation of 8 images; 13 rows that are all equal.
`sweep race` decides by the very function that is called here.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import expit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from src.sweep.race import decide, stayed  # noqa: E402

IMAGES, HELD_OUT, REPEATS = 10_407, 2_081, 3
WRONG, NOISE, CORRELATION = 40, 3.3, 0.40  # of a run: mean, s.d., correlation with another one
CASES = {  # rows, and the s.d. of their true errors, in images
    "13 rows, two runs correlate 0.40": (13, NOISE * np.sqrt(CORRELATION / (1 - CORRELATION))),
    "27 rows, true s.d. 8 images": (27, 8.0),
    "13 equal rows": (13, 0.0),
}
World = tuple[np.ndarray, list[pd.DataFrame]]  # the true errors; for each repeat image × row
Found = tuple[list[int], int]  # the rows that are kept, the runs it took


def difficulties() -> np.ndarray:
    """The log odds of each image being wrong, for a row of WRONG errors whose s.d. is NOISE."""
    normal = np.random.default_rng(0).standard_normal(IMAGES)

    def centred(spread: float) -> np.ndarray:
        mean = brentq(lambda m: HELD_OUT * expit(m + spread * normal).mean() - WRONG, -300, 10)
        return mean + spread * normal

    def variance(spread: float) -> float:
        chances = expit(centred(spread))
        return HELD_OUT * (chances * (1 - chances)).mean()

    return centred(brentq(lambda spread: variance(spread) - NOISE**2, 0.1, 60))


def worlds(rows: int, deviation: float, count: int) -> Iterator[World]:
    """`count` worlds of so many rows, drawn one after the other."""
    random, log_odds, shifts = np.random.default_rng(1), difficulties(), np.linspace(-12, 6, 500)
    errors = [HELD_OUT * expit(log_odds + shift).mean() for shift in shifts]
    for _ in range(count):
        true = np.maximum(random.normal(WRONG, deviation, rows), 2)
        chances, repeats = expit(log_odds[:, None] + np.interp(true, errors, shifts)), []
        for _ in range(REPEATS):
            images = random.choice(IMAGES, HELD_OUT, replace=False)
            right = random.random((HELD_OUT, rows)) >= chances[images]
            repeats.append(pd.DataFrame(right, images))
        yield true, repeats


def race(world: World) -> dict[str, Found]:
    """The race, for two numbers of rows that end it, which is all they change."""
    rows, runs, found = list(range(len(world[0]))), 0, {}
    for number in range(1, REPEATS + 1):
        runs += len(rows)
        rows = stayed(decide(pd.concat([table[rows] for table in world[1][:number]])))
        for keep in (3, 1):
            if len(rows) <= keep or number == REPEATS:
                found.setdefault(f"race --keep {keep}", (rows, runs))
        if len(rows) == 1:
            break
    return found


def bootstrap(world: World) -> Found:
    """The same race, --keep 3, by a paired bootstrap over images instead of the exact test."""
    random, rows, runs = np.random.default_rng(0), list(range(len(world[0]))), 0
    for number in range(1, REPEATS + 1):
        runs += len(rows)
        right = pd.concat([table[rows] for table in world[1][:number]]).groupby(level=0).sum()
        leader = right.sum().idxmax()
        stayed = []
        for row in rows:
            gains, counts = np.unique(right[row] - right[leader], return_counts=True)
            sums = random.multinomial(len(right), counts / len(right), 1_000) @ gains
            if np.quantile(sums, 0.95) >= 0:
                stayed.append(row)
        if len(rows := stayed) <= 3:
            break
    return rows, runs


def grid(repeats: int, kept: Callable[[int], int]) -> Callable[[World], Found]:
    """Every row so many times; the best by the mean are kept, as many as `kept` of all says."""

    def run(world: World) -> Found:
        right = sum(table.sum() for table in world[1][:repeats])
        return [*right.nlargest(kept(len(right))).index], repeats * len(right)

    return run


def halving(world: World) -> Found:
    """The better half goes on, by the mean of all runs so far; three are kept at last."""
    rows, runs, right = list(range(len(world[0]))), 0, 0
    for number, table in enumerate(world[1], 1):
        runs += len(rows)
        right = right + table.sum()
        kept = 3 if number == REPEATS else max(3, half(len(rows)))
        rows = [*right[rows].nlargest(kept).index]
    return rows, runs


def half(rows: int) -> int:
    """The larger half of so many rows."""
    return (rows + 1) // 2


WAYS = {
    "full grid × 1, best three": grid(1, lambda rows: 3),
    "full grid × 1, better half": grid(1, half),
    "full grid × 3, best three": grid(3, lambda rows: 3),
    "halving, three kept": halving,
    "race --keep 3, by a bootstrap": bootstrap,
}


def measure(name: str, rows: int, deviation: float, count: int) -> None:
    """A table of one case: a line for each way."""
    start, found = time.process_time(), {}
    for world in worlds(rows, deviation, count):
        best = world[0].min()
        for way, (kept, runs) in ({w: way(world) for w, way in WAYS.items()} | race(world)).items():
            error = world[0][kept].min()
            line = (runs, len(kept), len(kept) == 1, error <= best + 1, error <= best)
            found.setdefault(way, []).append(line)
    print(f"\n{name}, {count:,} worlds, {time.process_time() - start:.0f} s of one core\n")
    print("| | runs | rows kept | a single one | within one image of the best | the best |")
    print("|---|---:|---:|---:|---:|---:|")
    for way, lines in found.items():
        runs, kept, single, near, best = np.mean(lines, axis=0)
        shares = " | ".join(f"{100 * share:.1f} %" for share in (single, near, best))
        print(f"| {way} | {runs:.1f} | {kept:.1f} | {shares} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("worlds", nargs="?", type=int, default=1_000, metavar="WORLDS")
    count = parser.parse_args().worlds
    for name, (rows, deviation) in CASES.items():
        measure(name, rows, deviation, count)
