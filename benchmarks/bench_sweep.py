"""How well a sweep keeps its places busy, and what it costs itself; what a bundle's way costs.

    python -m src.demo /tmp/demo/data
    python benchmarks/bench_sweep.py --data /tmp/demo/data
    PADDY_DATA=/tmp/demo/data ray start --head --num-cpus 2
    python benchmarks/bench_sweep.py --data /tmp/demo/data --address auto
    python benchmarks/bench_sweep.py --data /tmp/demo/data --bundle 800

Equal rows, one for each seed, on places of one core each. Start-up, the checks before the first
row, is told apart. With --bundle a made-up bundle of so many MiB comes from one of two Ray nodes in
this machine, which do not see the driver's folders.
"""

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from src import bundle, competition, sweep
from src.core import cores, make_variant, models_dir, sha256, sha256_lines, sweep_dir
from src.sweep.cluster import Nodes, cluster, connected
from src.sweep.node import Wanted

MIB = 2**20


def parse() -> argparse.Namespace:
    """The words of the command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", required=True, help="the competition's folder")
    parser.add_argument("--jobs", type=int, default=6)
    parser.add_argument("--places", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--address", default="", help="of a Ray cluster with so many places")
    parser.add_argument("--bundle", type=int, default=0, metavar="MIB")
    return parser.parse_args()


def main() -> None:
    """Work in a folder of its own and print the figures."""
    args = parse()
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PADDY_WORK"] = str(Path(folder, "driver"))
        if args.bundle:
            bring(args.bundle, Path(args.data).resolve(), Path(folder))
        else:
            train(args)


def train(args: argparse.Namespace) -> None:
    """Train the rows and print how busy the places were."""
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


def bring(mib: int, data: Path, folder: Path) -> None:
    """Bring a bundle of `mib` MiB from a node and print by how much the driver grew meanwhile."""
    from ray.cluster_utils import Cluster

    nodes, variant = Cluster(initialize_head=True, head_node_args={"num_cpus": 0}), make_variant()
    fingerprint = competition.train_fingerprint(data)
    recipe = sha256_lines([json.dumps(variant.recipe, sort_keys=True, default=str)])
    for node in ("a", "b"):
        env = {"PADDY_DATA": str(data), "PADDY_WORK": str(folder / node)}
        nodes.add_node(num_cpus=1, env_vars=env)
        make_bundle(folder / node / "sweep" / recipe[:16], variant, fingerprint, mib)
    row = sweep.Row(variant, data, models_dir())
    with connected(nodes.address) as (ray, out):
        wanted = Wanted(fingerprint, bundle.versions.installed(), False, "/nowhere/at/all", "")
        engine = Nodes(ray, wanted, 1)
        place, *_ = engine.places()
        before, began = psutil.Process().memory_info().rss / MIB, time.perf_counter()
        outcome = engine.work(row, place)
        seconds, grown = time.perf_counter() - began, peak() - before
    nodes.shutdown()
    assert outcome.state == sweep.State.DONE and row.done, outcome
    assert not list(sweep_dir().glob("*.json"))
    print(f"{mib} MiB in {seconds:.1f} s; at most {grown:.0f} MiB more at the driver")


def make_bundle(models: Path, variant: object, data: str, mib: int) -> None:
    """Random bytes under the name of `variant`, with a card that says it is finished."""
    models.mkdir(parents=True)
    pkl = bundle.pkl_path(models, variant.name)
    with open(pkl, "wb") as file:
        for _ in range(mib):
            file.write(os.urandom(MIB))
    bundle.write_card(models, {
        "name": variant.name, "family": "made up", "notebook": "none", "commit": "none",
        "data": data, "held_out": "", "sha256": sha256(pkl), "bytes": pkl.stat().st_size,
        "variant": variant.recipe, "versions": {}, "classes": [],
        "holdout": bundle.holdout_counts(0, 0, 0),
    })  # fmt: skip


def peak() -> float:
    """The most memory that this process has had so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
