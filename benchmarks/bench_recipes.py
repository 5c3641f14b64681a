"""What a recipe gains: out of fold, paired with the first of recipes.yaml, and its seconds.

    python benchmarks/bench_recipes.py DATA WORK --arch tf_efficientnet_lite0 --size 96 [NAME ...]

Each recipe of benchmarks/recipes.yaml, or those named and the first, is trained on the five folds
of each seed, as many trainings at a time as there are cores, each on one. All images are predicted
by the models that did not train on them: as they are, with TTA, and as a second camera would have
photographed them (src/demo/camera.py, without other grounds). What is finished is read from WORK.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import pandas as pd
import yaml
from PIL import Image

from src import competition, core, evidence

RECIPES = Path(__file__).with_name("recipes.yaml")
WAYS = ("with TTA", "plain", "second camera")


def main() -> None:
    """The command: see the module's first lines."""
    words = parser(__doc__)
    words.add_argument("names", nargs="*", help="recipes; all by default")
    words.add_argument("--seeds", type=int, default=2)
    args = words.parse_intermixed_args()
    if args.job:
        return train(args, json.loads(args.job))
    recipes = yaml.safe_load(RECIPES.read_text(encoding="utf-8"))
    names = [next(iter(recipes)), *args.names]
    names = list(dict.fromkeys(names if args.names else recipes))
    jobs = [{"name": n, "fields": recipes[n], "seed": 42 + k}
            for k in range(args.seeds) for n in names]
    run_all([job for job in jobs if not is_finished(args, job)])
    print_table(args, names)


def parser(description: str) -> argparse.ArgumentParser:
    """The command line of this, and of bench_effects.py without recipes and seeds."""
    words = argparse.ArgumentParser(description=description,
                                    formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("data", type=Path, help="a competition's folder")
    words.add_argument("work", type=Path, help="a folder for what is finished")
    words.add_argument("--arch", default="tf_efficientnet_lite0")
    words.add_argument("--pretrained", default="true", help="true, or a file of weights")
    words.add_argument("--size", default="96")
    words.add_argument("--folds", type=int, default=5, help="held out in turn, of five (5)")
    words.add_argument("--job", help=argparse.SUPPRESS)  # of one process
    return words


def finished(args: argparse.Namespace, job: dict) -> Path:
    """The file of a finished job."""
    return args.work / f"{args.arch}_{args.size}_{job['name']}_{job['seed']}.pkl"


def is_finished(args: argparse.Namespace, job: dict) -> bool:
    """Whether that file is there; UserError if it is of another recipe, or of fewer folds."""
    if not (file := finished(args, job)).exists():
        return False
    made = pd.read_pickle(file).attrs
    if made["fields"] != job["fields"] or made["folds"] < args.folds:
        was = f"{made['fields']} and {made['folds']} folds"
        raise core.UserError(f"{file} was trained with {was}, asked for are {job['fields']} and "
                             f"{args.folds}", "delete it, or give another WORK")
    return True


def run_all(jobs: list[dict]) -> None:
    """Each job in a process of its own, on one of the cores."""
    free: SimpleQueue = SimpleQueue()
    for number in sorted(os.sched_getaffinity(0)):
        free.put(number)

    def run(job: dict) -> None:
        """One job on the next free core."""
        number = free.get()
        command = [sys.executable, *sys.argv, "--job", json.dumps(job)]
        start = time.perf_counter()
        done = subprocess.run(["taskset", "-c", str(number), *command], text=True, encoding="utf-8",
                              env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True)
        free.put(number)
        if done.returncode:
            reason = done.stderr.strip().splitlines()[-1:] or ["killed"]
            raise core.UserError(f"{job['name']}, seed {job['seed']}: {reason[0]}")
        print(f"{job['name']}, seed {job['seed']}: {time.perf_counter() - start:.0f} s", flush=True)

    with ThreadPoolExecutor(free.qsize()) as pool:
        list(pool.map(run, jobs))


def train(args: argparse.Namespace, job: dict, change: Callable = lambda learn: None) -> None:
    """All folds of one recipe and seed: predictions by way, and seconds of a processor.

    `change` is called with each Learner before its training.
    """
    core.reuse_memory()
    folder, parts, seconds = competition.find(str(args.data)), [], 0.0
    file = finished(args, job)
    models = args.work / file.stem
    models.mkdir(parents=True, exist_ok=True)
    for fold in range(args.folds):
        variant = core.make_variant(arch=args.arch, pretrained=args.pretrained, size=args.size,
                                    fold=fold, seed=job["seed"], **job["fields"])
        tables, took = train_fold(folder, models, args.work, variant, change)
        parts.append(pd.concat(tables, axis=1))
        seconds += took
    table = pd.concat(parts)
    table.attrs |= {"seconds": seconds, "fields": job["fields"], "folds": args.folds}
    with core.atomic_path(file) as temporary:
        table.to_pickle(temporary)


def train_fold(
    folder: Path, models: Path, work: Path, variant: core.Variant, change: Callable
) -> tuple[dict[str, pd.DataFrame], float]:
    """The hold-out's predictions by way, and the seconds of a processor of the training."""
    from src import vision
    from src.predict import predict
    from src.training import Run, fit, get_learner, holdout_probs

    folds = competition.get_folds(folder, variant.seed, models, variant.split)
    start = processor()
    run = Run(folder, models, "bench", folds, time.monotonic())
    learn = get_learner(vision.get_dls(folder, folds, variant), variant)
    change(learn)
    learn = fit(learn, variant, run)
    took = processor() - start
    tables = holdout_probs(learn, variant)
    files = shifted(competition.train_paths(folder)[folds == variant.fold], work / "shifted")
    plain = replace(variant, tta="none")
    other = predict({"model": learn}, {"model": plain}, files)["model"]["plain"]
    for left in models.glob(".*.checkpoint"):
        left.unlink()
    ways = evidence.blend(tables, variant.beta), tables["plain"], other
    return dict(zip(WAYS, ways, strict=True)), took


def processor() -> float:
    """Seconds of a processor of this process and those it has waited for, its loaders."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(part.ru_utime + part.ru_stime for part in used)


def shifted(files: pd.Series, folder: Path) -> dict[str, Path]:
    """The second camera's photographs of `files`, always the same, made once."""
    from src.demo.camera import photographed_again

    copies = {name: folder / f"{Path(name).stem}.jpg" for name in files.index}
    folder.mkdir(exist_ok=True)
    for name, copy in copies.items():
        if not copy.exists():
            rng = np.random.default_rng([2, int(Path(name).stem)])
            photo = Image.open(files[name]).convert("RGB")
            image, quality = photographed_again(photo, rng, rng.uniform(1, 1.3))
            with core.atomic_path(copy) as temporary:
                image.save(temporary, "JPEG", quality=quality)
    return copies


def print_table(args: argparse.Namespace, names: list[str]) -> None:
    """Wrong by way, the paired difference to the first recipe, and the seconds of each."""
    labels = competition.train_table(competition.find(str(args.data))).label
    runs = {n: [pd.read_pickle(finished(args, {"name": n, "seed": 42 + number}))
                for number in range(args.seeds)] for n in names}
    first = runs[names[0]]
    predictions = sum(len(run) for run in first)
    print(f"{args.arch} at {args.size} px, {predictions:,} predictions of {len(labels):,} images\n")
    print(f"| recipe | {' | '.join(f'wrong, {way}' for way in WAYS)} | processor time |")
    print("|---|" + "---|" * (len(WAYS) + 1))
    for name, found in runs.items():
        cells = [cell([(new[way], old[way]) for new, old in zip(found, first, strict=True)],
                      labels, name == names[0]) for way in WAYS]
        seconds, least = (sum(run.attrs["seconds"] for run in each) for each in (found, first))
        time_cell = f"{seconds:,.0f} s, {seconds / least:.2f} ×"
        print(f"| {name} | {' | '.join(cells)} | {time_cell} |")


def cell(pairs: list[tuple[pd.DataFrame, pd.DataFrame]], labels: pd.Series, first: bool) -> str:
    """The wrong predictions of the new ones; unless it is the first, what they gain."""
    wrong = f"{sum(evidence.wrong_of(new, labels)[0] for new, _ in pairs):,}"
    gain = evidence.gain_phrase(evidence.compare_repeats(pairs, labels)[0])
    return wrong if first else f"{wrong}, {gain}"


if __name__ == "__main__":
    core.command(main)
