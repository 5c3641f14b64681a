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

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from full_size import full_size_in  # noqa: E402

LIMIT = 2.0  # seconds by the clock


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
