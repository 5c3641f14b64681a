"""How long `python -m src.ensemble` takes on finished predictions of the real size.

    python benchmarks/bench_ensemble.py [--runs 5]

20 models, 3,469 test images, 10 classes. Of each run the seconds by the clock, which a busy machine
stretches, and those of the processor, which it does not.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from unittest.mock import patch

import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from small_bundles import bundle_in, random_table, sure  # noqa: E402

from src import competition  # noqa: E402

LIMIT = 2.0  # seconds by the clock


def full_size_in(folder: Path, count: int = 20) -> dict[str, str]:
    """`count` bundles for a competition of the real size: the environment that names both.

    The photographs are one byte each; all models are right about the hold-out.
    """
    data, models = folder / "competition", folder / "work" / "models"
    classes = [f"disease_{letter}" for letter in "abcdefghij"]
    train, test = ([f"{n}.jpg" for n in numbers] for numbers in (range(100001, 110408),
                                                                range(200001, 203470)))
    labels = [classes[number % 10] for number in range(len(train))]
    for name in classes:
        (data / "train_images" / name).mkdir(parents=True)
    (data / "test_images").mkdir()
    for name, label in zip(train, labels, strict=True):
        (data / "train_images" / label / name).write_bytes(b"x")
    for name in test:
        (data / "test_images" / name).write_bytes(b"x")
    table = pd.DataFrame({"image_id": train, "label": labels, "variety": "ADT45", "age": 45})
    table.to_csv(data / "train.csv", index=False)
    sample = pd.DataFrame({"image_id": test, "label": ""})
    sample.to_csv(data / "sample_submission.csv", index=False)
    valid = sure(dict(zip(train[:2082], labels, strict=False)), classes)
    common = sure(dict(zip(test, labels, strict=False)), classes)
    readers = ("train_table", "sample", "classes", "train_fingerprint", "test_fingerprint")
    known = {name: getattr(competition, name)(data) for name in readers}  # once for all bundles
    with patch.multiple(competition, **{n: lambda _, table=t: table for n, t in known.items()}):
        for seed in range(count):
            bundle_in(models, data, f"model_{seed}", f"family_{seed % 4}", valid,
                      (common + random_table(data, seed, classes)) / 2)
    return {"PADDY_WORK": str(folder / "work"), "PADDY_DATA": str(data)}


def processor_seconds() -> float:
    """Of all ended processes that this one started, user and system together."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main(runs: int) -> None:
    """Print each run and the medians."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | full_size_in(Path(folder))
        rows = []
        for _ in range(runs):
            wall, busy = time.perf_counter(), processor_seconds()
            subprocess.run([sys.executable, "-m", "src.ensemble"], cwd=ROOT, env=environment,
                           check=True, capture_output=True)
            rows.append((time.perf_counter() - wall, processor_seconds() - busy))
            print(f"wall {rows[-1][0]:.2f} s, user + sys {rows[-1][1]:.2f} s", flush=True)
    wall, busy = (median(column) for column in zip(*rows, strict=True))
    print(f"median: wall {wall:.2f} s (limit {LIMIT}), user + sys {busy:.2f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    main(parser.parse_args().runs)
