"""How well a sweep keeps its places busy, and what it costs itself.

    python -m src.demo /tmp/demo/data
    python benchmarks/bench_sweep.py --data /tmp/demo/data
    PADDY_DATA=/tmp/demo/data ray start --head --num-cpus 2
    python benchmarks/bench_sweep.py --data /tmp/demo/data --address auto

Equal rows, one for each seed, on places of one core each. Start-up, the checks before the first
row, is told apart.
"""

import argparse
import os
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from src import sweep
from src.core import cores, models_dir
from src.sweep.cluster import cluster


def parse() -> argparse.Namespace:
    """The words of the command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", required=True, help="the competition's folder")
    parser.add_argument("--jobs", type=int, default=6)
    parser.add_argument("--places", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--address", default="", help="of a Ray cluster with so many places")
    return parser.parse_args()


def main() -> None:
    """Train the rows in a work folder of their own and print the figures."""
    args = parse()
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PADDY_WORK"] = folder
        seeds = ",".join(str(42 + job) for job in range(args.jobs))
        words = argparse.ArgumentParser()
        sweep.add_arguments(words)
        given = words.parse_args([
            "--grid", "arch=tf_efficientnet_lite0", "resize=squish", "size=96",
            f"epochs={args.epochs}", f"seed={seeds}", "--cores", str(cores() // args.places),
        ])  # fmt: skip
        began = time.perf_counter()
        data, models = Path(args.data).resolve(), models_dir()
        variants = sweep.chosen(given)
        assert sweep.check(variants, data, models) == []
        rows = sweep.rows_for(variants, data, models)
        local = nullcontext(sweep.here(sweep.places(given)[: args.places]))
        with cluster(args.address, rows, given.cores, False) if args.address else local as engine:
            places = engine.places()
            started, cpu = time.perf_counter(), time.process_time()
            with sweep.Table(rows, len(places), engine.out) as table:
                outcomes = sweep.run(rows, engine, table.notice)
            wall, cpu = time.perf_counter() - started, time.process_time() - cpu
    busy = sorted(outcome.seconds for outcome in outcomes)
    share = sum(busy) / len(places) / wall
    print(f"start-up {started - began:.1f} s; rows of {busy[0]:.0f} to {busy[-1]:.0f} s")
    print(f"{len(places)} places in {wall:.0f} s: {share:.3f} busy")
    print(f"the sweep itself: {100 * cpu / wall:.2f} % of a core")
    print(", ".join(sorted({outcome.state for outcome in outcomes})))


if __name__ == "__main__":
    main()
