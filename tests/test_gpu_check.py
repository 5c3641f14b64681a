"""`make gpu-check`: a line where there is no GPU; each check, on little, also runs on a CPU."""

import bench_gpu
import gpu_check
import pandas as pd
import pytest
import torch
from conftest import run
from fastai.vision.all import Callback

from src.core import make_variant
from src.vision import backbone

pytestmark = pytest.mark.usefixtures("in_this_process")
SMALL = bench_gpu.Scale(
    drawn=30, linked=30, names=70, seconds=60, predicted=40,
    recipe={"pretrained": False, "epochs": 1, "item_size": 48, "size": 32, "views": 2},
    exported=[{"arch": "test_resnet", "bs": 8}], halved={"arch": "test_vit", "bs": 8},
    timed=[{"arch": "test_resnet", "bs": 2, "augment": way} for way in ("fast", "fastai")],
)


class HoldsFour(Callback):
    """A device that holds four images of a batch."""

    def before_batch(self):
        if self.training and len(self.x) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")


def halving(place, scale):
    """The check, where the memory of a GPU cannot be limited."""
    return gpu_check.halving(place, scale, HoldsFour())


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Where the competitions of `SMALL` are."""
    folder = tmp_path_factory.mktemp("gpu")
    bench_gpu.prepare(folder, SMALL)
    return folder


def table(capsys) -> list[list[str]]:
    """The cells of the printed rows, below the head."""
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_without_a_gpu_one_line_says_so():
    done = run("benchmarks/gpu_check.py", CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "torch finds no CUDA device on this machine: nothing was checked\n"


@pytest.mark.parametrize(
    ("check", "rows"),
    [
        (gpu_check.exports, [("test_resnet: peak memory in the card", "ok", " MB"),
                             ("test_resnet: export after training in", "ok", "differs by")]),
        (gpu_check.cards, [(f"cpu {n}: the card a row sees there", "ok", "none") for n in (1, 2)]),
        (gpu_check.rows, [("2 rows on 2 places at once", "ok", "cpu 1: done; cpu 2: done"),
                          ("test_resnet: peak memory of a probe", "ok", "GB and")]),
        (gpu_check.views, [("views on", "ok", "grey levels (allowed 3)")] * 3),
        (halving, [("test_vit: out of memory", "ok", "8 became 4, accum 2 in the card")]),
        (gpu_check.resume, [("test_resnet: resume after a kill", "ok", "2 of 3 epochs")]),
        (bench_gpu.throughput, [("test_resnet, 32 px, fast", "measured", "GPU")] * 2),
        (bench_gpu.tta, [("test_resnet: TTA, 2 views and the plain one", "ok", "images/s")]),
    ],
)
def test_each_check_passes_on_a_cpu(place, tmp_path, monkeypatch, capsys, check, rows):
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "2")
    for name in ("small", "large"):
        (tmp_path / name).symlink_to(place / name)
    assert bench_gpu.report(tmp_path, SMALL, [check]) == 0
    printed = table(capsys)
    assert len(printed) == len(rows)
    for (check, result, figure), (start, expected, part) in zip(printed, rows, strict=True):
        assert check.startswith(start) and result == expected and part in figure


def test_a_check_that_fails_is_counted_and_the_others_run(place, monkeypatch, capsys):
    monkeypatch.setattr(gpu_check, "GREYS", -1)

    def broken(place, scale):
        yield bench_gpu.Row("first", True, "")
        raise RuntimeError("CUDA error:\nan illegal memory access")

    assert bench_gpu.report(place, SMALL, [broken, gpu_check.views]) == 4
    results = [(check, result) for check, result, _ in table(capsys)]
    assert results[:2] == [("first", "ok"), ("broken", "FAILED")]
    assert [result for _, result in results[2:]] == ["FAILED"] * 3


def test_each_training_of_the_full_check_is_one_its_architecture_takes():
    full = bench_gpu.FULL
    for recipe in [*full.exported, full.halved, *full.timed]:
        backbone.check_arch(make_variant(**full.recipe | recipe))


def test_a_large_competition_is_few_photographs_under_many_names(place):
    names = pd.read_csv(place / "large" / "train.csv").image_id
    files = list((place / "large" / "train_images").rglob("*.jpg"))
    assert len(set(names)) == 70 and {path.name for path in files} == set(names)
    assert len({path.stat().st_ino for path in files}) == 30


def test_a_gpu_is_as_busy_as_nvidia_smi_says(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 93\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(bench_gpu, "SAMPLED", 0.01)
    busy = bench_gpu.Busy()
    while not busy.shares:
        assert busy.watch.is_alive()
    assert busy.stop() == "GPU 93% busy"
