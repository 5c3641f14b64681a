"""How fast bundles are predicted with TTA, beside the loops everybody writes, and the ceiling.

    python benchmarks/bench_predict.py [CASE …]      one, six, backbone; all of them by default

On drawn photographs, with random weights, each measurement in a process of its own, twice in
turns; medians are printed. Compared are `learn.tta` for one model after the other; the same with
fixed views of what fastai resized (as the ttach package makes them); `src.predict`. All average 4
views and the plain one of 64 images, then of 256. The further images give the rate; the rest of
the time for 64 is the start, of loader processes for example. The ceiling is the cost of the same
pixels alone: reading and cutting the views, and the forward passes, each on all cores; as they
share the cores, their times add up.
"""

import argparse
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

PHOTOS = 256  # drawn; predicted several times under other names, as a real test set is larger
FEW, MANY = 64, 256  # images that each way predicts
ROUNDS = 2
VIEWS = 5
TINY = ("test_convnext", "test_vit", "test_resnet")
CASES = {  # arch, resize, size
    "one": [("test_convnext", "squish", 128)],
    "six": [(arch, way, 128) for way in ("squish", "crop") for arch in TINY],
    "backbone": [("mobilenetv2_100", "squish", 224)],
}


def learners(case: str, folder: Path) -> tuple[dict, dict]:
    """Untrained Learners and their Variants, by name."""
    from src.competition import get_folds
    from src.core import make_variant
    from src.training import get_learner
    from src.vision import get_dls

    made, variants = {}, {}
    for arch, resize, size in CASES[case]:
        variant = make_variant(arch=arch, resize=resize, size=size, pretrained=False)
        dls = get_dls(folder, get_folds(folder, variant.seed, folder), variant)
        variants[variant.name], made[variant.name] = variant, get_learner(dls, variant)
    return made, variants


def with_learn_tta(made: dict, variants: dict, paths: dict) -> None:
    """fastai's own TTA, one model after the other."""
    for learn in made.values():
        with learn.no_bar():
            learn.tta(dl=learn.dls.test_dl(list(paths.values())), n=VIEWS - 1)


def with_fixed_views(made: dict, variants: dict, paths: dict) -> None:
    """fastai's plain batches, turned and mirrored in the batch."""
    import torch

    for learn in made.values():
        learn.model.eval()
        with torch.inference_mode():
            for (batch,) in learn.dls.test_dl(list(paths.values())):
                views = [batch, batch.flip(3), *(batch.rot90(k, (2, 3)) for k in (1, 2, 3))]
                torch.stack([learn.model(view).softmax(1) for view in views]).mean(0)


def with_predict(made: dict, variants: dict, paths: dict) -> None:
    """All models in one pass."""
    from src.predict import predict

    predict(made, variants, paths)


WAYS = {"learn.tta": with_learn_tta, "fixed views": with_fixed_views, "predict": with_predict}


def measure(case: str, way: str, count: str, folder: Path) -> tuple[float, float, int]:
    """Seconds for `count` images, files decoded per image, peak MB; in a process of its own."""
    from src import competition, vision
    from src.vision import loaders

    decoded = multiprocessing.Value("i", 0)
    open_image = vision.open_image

    def _counting(path: Path) -> object:
        with decoded:
            decoded.value += 1
        return open_image(path)

    loaders.open_image = vision.open_image = _counting
    made, variants = learners(case, folder)
    images = int(count)
    files = list(competition.train_paths(folder))
    paths = {f"{n}.jpg": files[n % len(files)] for n in range(images)}
    start = time.perf_counter()
    WAYS[way](made, variants, paths)
    seconds = time.perf_counter() - start
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    peak = sum(resource.getrusage(kind).ru_maxrss for kind in kinds) // 1024
    return seconds, decoded.value / images, peak


def ceiling(case: str, folder: Path) -> tuple[float, float]:
    """Images/s of reading and cutting alone, and of the forward passes alone."""
    import torch

    from src import competition
    from src.predict import tta
    from src.vision import frame_of, item_tfms, open_image, plain_view, workers

    made, variants = learners(case, folder)
    models = [tta.Model(learn, variants[name]) for name, learn in made.items()]
    frames = {frame_of(model.variant): model for model in models}

    def _cut(path: Path) -> None:
        photo = open_image(path)
        for model in frames.values():
            item = item_tfms(model.variant)(photo, split_idx=1)
            plain_view(item, frame_of(model.variant))
            tta.tta_views({path.name: photo}, model)

    @torch.inference_mode()
    def _forward(model: tta.Model, batch: torch.Tensor) -> None:
        tta.forward(model, batch)

    def _rate(job: object, things: list, images: float) -> float:
        start = time.perf_counter()
        with ThreadPoolExecutor(workers()) as pool:
            list(pool.map(job, things))
        return images / (time.perf_counter() - start)

    torch.set_num_threads(1)
    paths = list(competition.train_paths(folder))[:PHOTOS]
    cutting = max(_rate(_cut, paths, len(paths)) for _ in range(3))
    size, forwards = CASES[case][0][2], []
    for model in models:
        model.learn.model.eval()
        batches = [torch.rand(tta.BATCH, 3, size, size)] * 64
        images = len(batches) * tta.BATCH / VIEWS
        forwards.append(max(_rate(partial(_forward, model), batches, images) for _ in range(2)))
    return cutting, 1 / sum(1 / rate for rate in forwards)


def alone(job: str, *words: str) -> list[float]:
    """The figures of one `job` in a new process: its memory and its threads are its own."""
    command = [sys.executable, __file__, "--alone", job, *words]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def report(case: str, folder: Path) -> None:
    """The lines of one case."""
    models = CASES[case]
    size, names = models[0][2], ", ".join(dict.fromkeys(arch for arch, *_ in models))
    print(f"\n{len(models)} model{'s' * (len(models) > 1)} at {size} px: {names}\n")
    print(f"| | start, s | then images/s | x learn.tta | {MANY} images, s | x learn.tta "
          "| decoded per image | peak MB |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    turns = [{(way, n): alone("measure", case, way, str(n), str(folder))
              for way in WAYS for n in (FEW, MANY)} for _ in range(ROUNDS)]
    seconds = {job: median(turn[job][0] for turn in turns) for job in turns[0]}
    rates = {way: (MANY - FEW) / (seconds[way, MANY] - seconds[way, FEW]) for way in WAYS}
    for way, rate in rates.items():
        start, whole = seconds[way, FEW] - FEW / rate, seconds[way, MANY]
        decoded, peak = (max(turn[way, MANY][k] for turn in turns) for k in (1, 2))
        print(f"| {way} | {start:.1f} | {rate:.1f} | {rate / rates['learn.tta']:.1f} "
              f"| {whole:.1f} | {seconds['learn.tta', MANY] / whole:.1f} | {decoded:.1f} "
              f"| {peak:,} |", flush=True)
    cutting, forward = alone("ceiling", case, str(folder))
    both = 1 / (1 / cutting + 1 / forward)
    for name, rate in {"reading and cutting": cutting, "forward": forward, "both": both}.items():
        print(f"| ceiling: {name} | | {rate:.1f} | {rate / rates['learn.tta']:.1f} | | | | |")
    print(f"\nonce started, predict reaches {rates['predict'] / both:.0%} of the ceiling")


def main() -> None:
    """Draw the photographs once, then every case asked for."""
    from src.demo.draw import draw

    if sys.argv[1:2] == ["--alone"]:
        job, *words, folder = sys.argv[2:]
        jobs = {"measure": measure, "ceiling": ceiling}
        return print(json.dumps(jobs[job](*words, Path(folder))))
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", choices=[*CASES, []], metavar="CASE")
    cases = parser.parse_args().cases or list(CASES)
    print(f"{os.cpu_count()} cores, torch {__import__('torch').__version__}")
    with tempfile.TemporaryDirectory() as folder:
        draw(Path(folder) / "data", PHOTOS, 0)
        for case in cases:
            report(case, Path(folder) / "data")


if __name__ == "__main__":
    main()
