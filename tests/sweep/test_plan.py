"""`plan`: probes are made once, the estimate adds them up, and the last rows are dropped."""

import json
import shutil
from dataclasses import replace
from math import inf
from pathlib import Path

import pytest
from conftest import TINY, refusal

from src import core
from src.core import make_variant
from src.sweep import Place
from src.sweep.plan import command, estimate, plan_command
from src.sweep.plan.probe import probed

PLACES = [Place("cpu 1", {"OMP_NUM_THREADS": "1"}), Place("cpu 2", {"OMP_NUM_THREADS": "1"})]
HELD = {"start": 20, "tail": 10, "image": 0.01, "rest": 2, "read": 0.5, "again": 0.1, "bs": 8,
        "gb": 1.5}  # fmt: skip
SECONDS = {"first": 3600, "long": 7200, "short": 1800, "last": 3600}


def made(**changes):
    """A variant of 8 images a step, and made-up probes of its sizes: 1 s a step at 32 pixels."""
    v = make_variant(**TINY | {"pretrained": "weights.safetensors"} | changes)
    parts = estimate.parts_of(v)
    return v, {part: HELD | {"frozen": part.size / 64, "step": part.size / 32} for part in parts}


# 100 images: 20 held out in 3 batches, 80 trained on in 10 steps


@pytest.mark.parametrize(
    ("changes", "epochs"),
    [
        # a frozen epoch reads the hold-out, two whole ones have it in memory
        ({"epochs": 2, "freeze_epochs": 1}, (5 + 2 + 1.5) + 2 * (10 + 2 + 0.3)),
        ({"epochs": 2, "freeze_epochs": 0}, (10 + 2 + 1.5) + (10 + 2 + 0.3)),
        ({"epochs": 2, "fold": "all"}, (6 + 2) + 2 * (12 + 2) - 20 * 0.01),
        # each size is read once
        ({"epochs": 2, "freeze_epochs": 0, "sizes": "16,32"}, (5 + 2 + 1.5) + (10 + 2 + 1.5)),
        ({"epochs": 1, "freeze_epochs": 1, "precompute": True},
         (5 + 2 + 1.5) + (10 + 2 + 0.3)),
        ({"epochs": 1, "freeze_epochs": 0, "lr": "find"}, 100 + (10 + 2 + 1.5)),
        ({"schedule": "sgdr", "cycles": 2, "cycle_mult": 1, "snapshots": "members",
          "freeze_epochs": 0}, (10 + 2 + 1.5) + (10 + 2 + 0.3) + 20 * 0.01),
    ],
)  # fmt: skip
def test_an_estimate_is_the_sum_of_what_was_measured(changes, epochs):
    v, probes = made(**changes)
    assert estimate.estimate(v, probes, 100) == pytest.approx(20 + 10 + 20 * 0.01 + epochs)


def test_a_time_limit_is_the_longest_a_row_takes():
    v, probes = made(epochs=100, time_limit=1.0)
    assert estimate.estimate(v, probes, 100) == 60


def test_a_smaller_batch_that_fits_takes_more_steps():
    v, probes = made(epochs=1, freeze_epochs=0)
    halved = {part: probe | {"bs": 4} for part, probe in probes.items()}
    more = estimate.estimate(v, halved, 100) - estimate.estimate(v, probes, 100)
    assert more == pytest.approx(10 * 1.0 + 2 * 0.5)


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
    assigned = estimate.assign(SECONDS, PLACES, inf)
    assert assigned == {"cpu 1": ["long", "short"], "cpu 2": ["first", "last"]}
    assert estimate.busy(SECONDS, assigned) == {"cpu 1": 9000, "cpu 2": 7200}


# All end after 2.5 hours, the first three after 2.0, as the first two, the first after 1.0.
@pytest.mark.parametrize(("hours", "kept"), [(2.76, 4), (2.74, 3), (2.19, 1), (1.09, 0)])
def test_rows_are_dropped_from_the_end_until_the_rest_fits_with_a_tenth_in_hand(hours, kept):
    assigned = estimate.assign(SECONDS, PLACES, hours)
    assert {name for names in assigned.values() for name in names} == {*list(SECONDS)[:kept]}


# The command

FITS_FOUR = """
import os, signal, sys
if "src.sweep.plan.probe" in " ".join(sys.orig_argv) and '"bs": 8' in sys.orig_argv[-3]:
    os.kill(os.getpid(), signal.SIGKILL)
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
    told = [line for line in first if "accum" in line]
    assert told[0] == ("test_resnet_squish_32: out of memory with 8 images a step; the smallest "
                       "accum that fits is 2")
    assert [line.split()[-1] for line in first if line.endswith("dropped")] == ["dropped"] * 2
    assert first[-1].startswith("0.001 hours, with 10% in hand, are too few; dropped from the end")
    again = planned("--hours", "9")
    assert not any("measuring" in line for line in again)
    cells = {line.split()[0]: line.split()[1:] for line in again if line.startswith("test_resnet_")}
    gb, minutes, *place = cells["test_resnet_long"]
    assert float(gb) > 0.2
    assert place == ["cpu", "1"]
    assert float(minutes) > float(cells["test_resnet_squish_32"][1])
    assert again[-1] == "it fits into 9 hours with 10% in hand"
    assert not list(models.glob("*.json"))


def test_a_probe_that_fails_is_told_with_its_log(planned, monkeypatch):
    row = make_variant(**TINY | {"bs": 64})
    monkeypatch.setattr("src.sweep.rows.chosen", lambda args: [row])
    told = refusal(planned)
    assert told.startswith("test_resnet_squish_32: bs=64 is more than the 24 training images")
    assert Path(told.rpartition("see ")[2]).is_file()


def test_real_minutes_stand_beside_the_planned_and_correct_the_next_plan(work, data, monkeypatch):
    v, slow = made(arch="test_vit", pretrained=False)
    other, fast = made(arch="test_resnet", pretrained=False, desc="other")
    following, probes = replace(v, desc="next"), slow | fast
    for part in slow:  # far from what it took
        probes[part] = slow[part] | {"start": 3600}
    monkeypatch.setattr(estimate, "probes_of", lambda *_: probes)
    before = command.make_plan([v, following, other], data, PLACES)
    planned = before[v.name]["planned"]
    core.runs_dir().mkdir(parents=True)
    notebook = shutil.copy(work / "executed.ipynb", core.runs_dir() / f"{v.name}.ipynb")
    took = json.loads(notebook.read_text(encoding="utf-8"))["metadata"]["papermill"]["duration"]
    after = command.make_plan([following, other], data, PLACES)
    assert after[following.name]["planned"] == pytest.approx(took)  # all else is the same
    assert after[other.name] == before[other.name]  # another arch is not corrected
    lines = command.report([v, following], after, {"cpu 1": [following.name]}).splitlines()
    assert lines[1].split()[2:] == [f"{planned / 60:.1f}", f"{took / 60:.1f}", "done"]
    assert lines[2].split()[-2:] == ["cpu", "1"]
    assert lines[-1] == "0 of 1 within 15% of the plan"
    assert max(map(len, lines)) <= 80


def test_a_row_that_had_to_resume_corrects_nothing(work, data):
    core.runs_dir().mkdir(parents=True)
    shutil.copy(work / "executed.ipynb", core.runs_dir() / "test_vit_squish_32.ipynb")
    card = work / "models" / "test_vit_squish_32.json"
    facts = json.loads(card.read_text(encoding="utf-8"))
    assert command.real_seconds("test_vit_squish_32") > facts["seconds"]
    card.write_text(json.dumps(facts | {"seconds": 999.0}), encoding="utf-8")
    assert command.real_seconds("test_vit_squish_32") == 0
