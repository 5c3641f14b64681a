"""How long `python -m src.report` takes with many members, and how large its page is.

    python benchmarks/bench_report.py [--members 30]

Simulated members of the real size: 2,081 held-out and 3,469 test images, 10 classes; every
photograph is the same drawn one. The maps of places are there, so no torch is needed. Of the
command the seconds by the clock, which a busy machine stretches, and those of the processor.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from bench_ensemble import full_size_in, processor_seconds  # noqa: E402
from simulated import simulate  # noqa: E402
from small_bundles import bundle_in, random_table  # noqa: E402

from src import competition  # noqa: E402
from src.core import sha256  # noqa: E402
from src.looking.occlusion import PLACES  # noqa: E402

CODE = "import sys; from src.report import main; sys.argv = ['report']; main(); " \
       "print('torch loaded:', 'torch' in sys.modules)"


def photographs_in(data: Path, images: list[str]) -> str:
    """Give these training `images` a photograph; its sha256."""
    random, photo = np.random.default_rng(0), data.parent / "photo.jpg"
    small = Image.fromarray(random.integers(0, 255, (40, 30, 3), np.uint8))
    small.resize((480, 640), Image.BICUBIC).save(photo, quality=90)
    for path in competition.train_paths(data)[images]:
        path.unlink()
        os.link(photo, path)
    return sha256(photo)


def members_in(folder: Path, members: int) -> dict[str, str]:
    """The environment that names a competition and `members` finished models with their maps."""
    environment = full_size_in(folder, 0)
    data, work = Path(environment["PADDY_DATA"]), Path(environment["PADDY_WORK"])
    truth, classes = competition.train_table(data).label, competition.classes(data)
    families = {name: (-(-members // 4), 0, 0.35, 0.4) for name in ("convnext", "swin", "vit", "x")}
    tables, family_of, known = simulate(0, families, 2081)
    ids = {label: iter(truth.index[truth == label]) for label in classes}
    names = [next(ids[classes[int(label.split()[1])]]) for label in known]
    photo = photographs_in(data, names)
    readers = ("train_table", "sample", "classes", "train_fingerprint", "test_fingerprint")
    read = {name: getattr(competition, name)(data) for name in readers}  # once for all bundles
    with patch.multiple(competition, **{n: lambda _, table=t: table for n, t in read.items()}):
        for seed, name in enumerate([*tables][:members]):
            valid = tables[name].set_axis(names).set_axis(classes, axis=1).rename_axis("image_id")
            test = random_table(data, seed, classes)
            card = bundle_in(work / "models", data, name, family_of[name], valid, test)
            maps = work / "cache" / "occlusion" / f"{card['sha256'][:16]}_{photo[:16]}.npy"
            maps.parent.mkdir(parents=True, exist_ok=True)
            np.save(maps, np.random.default_rng(seed).dirichlet(np.ones(10), 1 + PLACES**2))
    return environment


def main(members: int) -> None:
    """Print the seconds of one page and its size."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | members_in(Path(folder), members)
        wall, busy = time.perf_counter(), processor_seconds()
        done = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, env=environment, check=True,
                              capture_output=True, text=True)
        wall, busy = time.perf_counter() - wall, processor_seconds() - busy
        size = (Path(environment["PADDY_WORK"]) / "report.html").stat().st_size
        print(done.stdout.splitlines()[-1])
    print(f"{members} members: wall {wall:.1f} s, user + sys {busy:.1f} s (limit 20), "
          f"{size / 1e6:.1f} MB (limit 5)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, default=30)
    main(parser.parse_args().members)
