"""How long the ensemble search takes at full size, and how often it is right.

    python benchmarks/bench_search.py [SIMULATIONS]

20 models of 4 families, 10,407 images, 10 classes. Four simulated competitions, those of
tests/simulated.py: all models equally good, so that equal weights are right; mixed families;
two good models beside eighteen weak ones; and the same where the weak families err together.
"""

import argparse
import sys
import time
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from simulated import DESERVING, EQUAL, MIXED, SUBTLE, simulate  # noqa: E402

from src.ensemble import search  # noqa: E402
from src.ensemble.report import (  # noqa: E402
    disagreement,
    error_correlation,
    gain_sentence,
)
from src.ensemble.weights import WEIGHTS  # noqa: E402
from src.evidence import as_text, average, compare, signed, wrong_of  # noqa: E402

SIZE = 10_407
FRESH = 1_000_000  # seeds from here on draw images that no search has seen


def whole_search() -> None:
    """One search with everything that belongs to it, each part timed."""
    tables, families, labels = simulate(0, DESERVING)
    names = list(tables)
    parts = {
        "search": lambda: search.search(tables, families, labels),
        "disagreement": lambda: disagreement(tables),
        "error correlation": lambda: error_correlation(tables, labels),
        "gain": lambda: gain_sentence(tables, labels, average(tables.values())),
        "TTA of 20 models": lambda: [
            compare(tables[a], tables[b], labels)
            for a, b in zip(names, names[1:] + names[:1], strict=True)
        ],
    }
    wall, cpu, results = time.perf_counter(), time.process_time(), {}
    print(f"{'part':<20}{'wall s':>8}{'CPU s':>8}")
    for name, part in parts.items():
        start, busy = time.perf_counter(), time.process_time()
        results[name] = part()
        print(f"{name:<20}{time.perf_counter() - start:8.1f}{time.process_time() - busy:8.1f}")
    whole = time.perf_counter() - wall
    print(f"{'whole':<20}{whole:8.1f}{time.process_time() - cpu:8.1f}")
    print(f"{60 / whole:.1f} x as fast as the 60 s allowed\n")
    print(as_text(search.trials_table(results["search"], labels)))
    print(search.choose(results["search"])[1])
    print(results["gain"] + "\n")


def how_often_right(name: str, families: dict, simulations: int) -> None:
    """Draw competitions, let `auto` choose, and count on as many images that nobody has seen."""
    rows = []
    for seed in range(simulations):
        tables, family_of, labels = simulate(seed, families)
        trials = search.search(tables, family_of, labels, methods=WEIGHTS)
        chosen = search.choose(trials)[0]
        fresh, _, answers = simulate(FRESH + seed, families)
        averages = {n: average(fresh.values(), [trial.weights[model] for model in fresh])
                    for n, trial in trials.items()}
        wrong = {n: wrong_of(table, answers)[0] for n, table in averages.items()}
        gains = {n: wrong["equal"] - count for n, count in wrong.items()}
        nested = {f"nested {n}": t.comparison.difference for n, t in trials.items() if t.comparison}
        rows.append({"chosen": chosen, "auto": gains[chosen], "equal wrong": wrong["equal"]}
                    | gains | nested)
    table = pd.DataFrame(rows)
    taken = table.chosen.ne("equal").sum()
    counts = ", ".join(f"{method} {count}" for method, count in table.chosen.value_counts().items())
    print(f"{name}: the equal mean has {table['equal wrong'].mean():.0f} of {SIZE:,} fresh images "
          f"wrong; auto took a challenger {taken} times of {simulations} ({counts})")
    print(f"  {'':<12}{'nested':>9}{'fresh':>9}{'worst':>7}   more images right than equal, mean")
    for method in [*WEIGHTS, "auto"]:
        nested = f"{table[f'nested {method}'].mean():+.1f}" if method in WEIGHTS else ""
        gain, worst = table[method].mean(), signed(int(table[method].min()))
        print(f"  {method:<12}{nested:>9}{gain:>+9.1f}{worst:>7}", flush=True)
    print()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("simulations", nargs="?", type=int, default=20, metavar="SIMULATIONS")
    simulations = parser.parse_args().simulations
    whole_search()
    cases = {"equal": EQUAL, "mixed": MIXED, "subtle": SUBTLE, "deserving": DESERVING}
    for name, families in cases.items():
        how_often_right(name, families, simulations)
