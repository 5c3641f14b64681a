"""`plan`: probes are made once, the estimate adds them up, and the last rows are dropped."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from math import inf
from pathlib import Path

import pytest
from conftest import ROOT, TINY, refusal
from small_bundles import variant_in
from small_sweep import write_repository

from src import core
from src.core import make_variant
from src.sweep import Place
from src.sweep.plan import command, measure, plan_command
from src.sweep.plan.probe import probed
from src.sweep.work import CHILD

PLACES = [Place(f"cpu {n}", {"OMP_NUM_THREADS": "1", "A_PLACE": str(n)}) for n in (1, 2)]
HELD = {"start": 20, "tail": 10, "image": 0.01, "rest": 2, "read": 0.1, "again": 0.02, "bs": 8,
        "gb": 1.5}  # fmt: skip
SECONDS = {"first": 3600, "long": 7200, "short": 1800, "last": 3600}


def made(**changes):
    """A variant of 8 images a step, and made-up probes of its sizes: 1 s a step at 32 pixels."""
    v = make_variant(**TINY | {"pretrained": "weights.safetensors"} | changes)
    parts = measure.parts_of(v)
    return v, {part: HELD | {"frozen": part.size / 512, "step": part.size / 256} for part in parts}


# 100 images: 20 held out, read in 2 s or 0.4 s, and 80 trained on in 10 s


@pytest.mark.parametrize(
    ("changes", "epochs"),
    [
        # a frozen epoch reads the hold-out, two whole ones have it in memory
        ({"epochs": 2, "freeze_epochs": 1}, (5 + 2 + 2) + 2 * (10 + 2 + 0.4)),
        ({"epochs": 2, "freeze_epochs": 0}, (10 + 2 + 2) + (10 + 2 + 0.4)),
        ({"epochs": 2, "fold": "all"}, (6.25 + 2) + 2 * (12.5 + 2) - 20 * 0.01),
        # each size is read once
        ({"epochs": 2, "freeze_epochs": 0, "sizes": "16,32"}, (5 + 2 + 2) + (10 + 2 + 2)),
        ({"epochs": 1, "freeze_epochs": 0, "lr": "find"}, 100 + (10 + 2 + 2)),
        ({"schedule": "sgdr", "cycles": 2, "cycle_mult": 1, "snapshots": "members",
          "freeze_epochs": 0}, (10 + 2 + 2) + (10 + 2 + 0.4) + 20 * 0.01),
    ],
)  # fmt: skip
def test_an_estimate_is_the_sum_of_what_was_measured(changes, epochs):
    v, probes = made(**changes)
    assert command.estimate(v, probes, 100) == pytest.approx(20 + 10 + 20 * 0.01 + epochs)


def test_a_time_limit_is_the_longest_a_row_takes():
    v, probes = made(epochs=100, time_limit=1.0)
    assert command.estimate(v, probes, 100) == 60


def test_rows_that_take_the_same_steps_share_a_probe():
    row = TINY | {"augment": "fast"}
    one = probed(make_variant(**row), 32)
    for changes in ({"seed": 43}, {"epochs": 9}, {"resize": "crop"}, {"bs": 16, "accum": 2},
                    {"desc": "other"}, {"sizes": "16,32"}, {"lr": "find"}):
        assert probed(make_variant(**row | changes), 32) == one, changes
    for changes in ({"bs": 16}, {"augment": "fastai"}, {"cache": 64}, {"mixup": 0.4},
                    {"arch": "test_vit"}, {"targets": "disease+variety"}):
        assert probed(make_variant(**row | changes), 32) != one, changes


def test_the_longest_row_goes_first_and_each_to_the_place_that_is_free_first():
    place_of, busy = command.assign(SECONDS, PLACES, inf)
    assert place_of == {"long": "cpu 1", "first": "cpu 2", "last": "cpu 2", "short": "cpu 1"}
    assert busy == {"cpu 1": 9000, "cpu 2": 7200}


# All end after 2.5 hours, the first three after 2.0, as the first two, the first after 1.0.
@pytest.mark.parametrize(("hours", "fitting"), [(2.76, 4), (2.74, 3), (2.19, 1), (1.09, 0)])
def test_rows_are_dropped_from_the_end_until_the_rest_fits_with_a_tenth_in_hand(hours, fitting):
    place_of, _ = command.assign(SECONDS, PLACES, hours)
    assert {*place_of} == {*list(SECONDS)[:fitting]}


# The command

FITS_FOUR = """
import os, signal, sys
if "src.sweep.plan.probe" in " ".join(sys.orig_argv):
    open(os.path.join(os.environ["PADDY_WORK"], "at" + os.environ["A_PLACE"]), "a").write(".")
    if '"bs": 8' in sys.orig_argv[-3]:
        os.kill(os.getpid(), signal.SIGKILL)
    if '"bs": 16' in sys.orig_argv[-3]:
        os.write(2, b"error: no rice")
        os._exit(1)
"""
# Instead of a probe: what it would have measured.
MEASURED = f"""
import os, sys
if "src.sweep.plan.probe" in " ".join(sys.orig_argv):
    open(sys.orig_argv[-1], "w").write({json.dumps(HELD | {"frozen": 0.1, "step": 0.1})!r})
    os._exit(0)
"""


@pytest.fixture
def planned(data, models, tmp_path, monkeypatch, capsys):
    """Two rows of a table of the test's own; call it with the words after `plan`."""
    rows = [make_variant(**TINY), make_variant(**TINY | {"epochs": 100, "desc": "long"})]
    (tmp_path / "sitecustomize.py").write_text(FITS_FOUR, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr("src.sweep.engines.places", lambda args: PLACES)
    monkeypatch.setattr("src.sweep.rows.chosen", lambda args: rows)

    def plan(*words: str) -> list[str]:
        plan_command([*words, "any"])
        return capsys.readouterr().out.splitlines()

    return plan


def test_a_plan_measures_once_finds_the_batch_that_fits_and_trains_nothing(planned, models):
    first = planned("--hours", "0.001")
    assert [line for line in first if "measuring" in line] == [
        f"test_resnet_squish_32: measuring, {images} images a step" for images in (8, 4)
    ]
    said = [line for line in first if "accum" in line]
    assert said[0] == ("test_resnet_squish_32: out of memory with 8 images a step; the smallest "
                       "accum that fits is 2")
    assert [line.split()[-1] for line in first if line.endswith("dropped")] == ["dropped"] * 2
    assert first[-1].startswith("0.001 hours, with 10% in hand, are too few for all, which need ")
    again = planned("--hours", "9")
    assert not any("measuring" in line for line in again)
    cells = {line.split()[0]: line.split()[1:] for line in again if line.startswith("test_resnet_")}
    gb, minutes, *place = cells["test_resnet_long"]
    assert float(gb) > 0.2
    assert place == ["cpu", "1"]
    assert float(minutes) > float(cells["test_resnet_squish_32"][1])
    assert again[-1] == "it fits into 9 hours with 10% in hand"
    assert not list(models.glob("*.json"))


def test_every_place_is_at_work_while_one_probe_is_measured(planned, data):
    planned()
    assert [(core.work() / f"at{n}").exists() for n in (1, 2)] == [True, True]
    folder = core.sweep_dir() / f"probes_{measure.machine(data, PLACES)}"
    assert {path.suffix for path in folder.iterdir()} == {".json", ".log"}


@pytest.mark.parametrize("other", ["versions", "data", "machine"])
def test_with_other_versions_or_data_or_elsewhere_it_is_measured_again(
    other, planned, data, tmp_path, monkeypatch
):
    (tmp_path / "sitecustomize.py").write_text(MEASURED, encoding="utf-8")
    first, again = planned(), planned()
    if other == "versions":
        core.write_text(tmp_path / "timm-0.0.1.dist-info" / "METADATA", "Version: 0.0.1\n")
        monkeypatch.syspath_prepend(tmp_path)
    elif other == "data":
        path = next(data.glob("train_images/*/*"))
        path.write_bytes(path.read_bytes() + b"more")
    else:
        monkeypatch.setattr("platform.node", lambda: "another")
    measured = [sum("measuring" in line for line in out) for out in (first, again, planned())]
    assert measured == [1, 0, 1]


def test_a_probe_ends_with_its_plan(data, tmp_path):
    words = [json.dumps(make_variant(**TINY).recipe), str(data), str(tmp_path / "probe.json")]
    ended = subprocess.run([sys.executable, "-m", "src.sweep.plan.probe", *words], cwd=ROOT,
                           stdin=subprocess.DEVNULL)
    assert ended.returncode == 1
    assert not (tmp_path / "probe.json").exists()


def test_a_probe_that_fails_is_named_with_its_log(planned, monkeypatch):
    row = make_variant(**TINY | {"bs": 16})
    monkeypatch.setattr("src.sweep.rows.chosen", lambda args: [row])
    said = refusal(planned)
    assert said.startswith("test_resnet_squish_32: no rice; see ")
    assert Path(said.rpartition("see ")[2]).read_text() == "error: no rice"


def finished(models, data, v, took):
    """The bundle of a row that trained for 50 s, and its notebook of `took` seconds."""
    variant_in(models, data, **v.recipe, card={"seconds": 50})
    notebook = {"metadata": {"papermill": {"duration": took}}}
    core.write_json(core.runs_dir() / f"{v.name}.ipynb", notebook)


def test_real_minutes_stand_beside_the_planned_and_correct_the_next_plan(
    models, data, monkeypatch
):
    v, slow = made(arch="test_vit", pretrained=False, tta="none")
    other, fast = made(arch="test_resnet", pretrained=False, desc="other")
    following, probes = replace(v, desc="next"), slow | fast
    monkeypatch.setattr(command, "probes_of", lambda *_: probes)
    before = command.make_plan([v, following, other], data, PLACES)
    finished(models, data, v, 150.0)
    after = command.make_plan([following, other], data, PLACES)
    assert after.planned[following.name] == pytest.approx(150.0)  # all else is the same
    assert after.planned[other.name] == before.planned[other.name]  # another arch: not corrected
    assert command.planned_before([other, v]) == command.report([other, v], after, {}, "not done")
    assert command.planned_before([replace(v, desc="never")]) == ""
    lines = command.report([v, following], after, {following.name: "cpu 1"}, "").splitlines()
    planned = before.planned[v.name]
    assert lines[1].split()[2:] == [f"{planned / 60:.1f}", "2.5", "done"]
    assert lines[2].split()[-2:] == ["cpu", "1"]
    assert lines[-1] == "0 of 1 within 15% of the plan"
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(("took", "real"), [(51.0, [51.0]), (49.0, [])])
def test_a_row_that_had_to_resume_corrects_nothing(models, data, took, real):
    v = make_variant(**TINY | {"arch": "test_vit", "tta": "none"})
    finished(models, data, v, took)
    assert command.real_seconds([v.name]).dropna().tolist() == real


def test_run_trains_what_fits_longest_first_and_prints_real_beside_planned_minutes(
    models, data, tmp_path, monkeypatch, capsys
):
    rows, probes = {}, {}
    for desc, epochs in {"short": 1, "ready": 1, "user": 5, "long": 9, "last": 99}.items():
        v, parts = made(arch="test_vit", pretrained=False, tta="none", desc=desc, epochs=epochs)
        rows[desc], probes = v, probes | parts
        ready = models if desc == "ready" else models.parent / "ready"
        variant_in(ready, data, **v.recipe, card={"seconds": 0})
    code = write_repository(tmp_path / "repository") + CHILD
    monkeypatch.setattr("src.sweep.work.CHILD", code)
    monkeypatch.setattr("src.sweep.rows.chosen", lambda args: [*rows.values()])
    monkeypatch.setattr(command, "probes_of", lambda *_: probes)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")  # one place, so one row after the other
    said = refusal(plan_command, ["any", "--hours", "0.1", "--run"])
    assert said == "1 of 3 rows failed; first: test_vit_user: no rice in the field; sow some"
    assert (models.parent / "started").read_text().split() == ["long", "user", "short"]
    before, after = capsys.readouterr().out.split("; places were busy for ")
    minutes = {v.name: f"{command.estimate(v, probes, 30) / 60:.1f}" for v in rows.values()}
    took = f"{command.real_seconds([rows['long'].name]).item() / 60:.1f}"
    shown = [line.split() for line in after.splitlines() if line.startswith("test_vit_")]
    assert [[name, planned, *rest] for name, _, planned, *rest in shown[2:]] == [
        ["test_vit_user", minutes["test_vit_user"], "not", "done"],
        ["test_vit_long", minutes["test_vit_long"], took, "done"],
        ["test_vit_last", minutes["test_vit_last"], "not", "done"]]
    (planned,) = re.findall("^in all (.*) hours", before, re.M)
    assert re.fullmatch(rf"in all \d\.\d\d hours, planned {planned}", after.splitlines()[-1])
