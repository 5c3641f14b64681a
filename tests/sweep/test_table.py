"""The table of a sweep fits the terminal; on a pipe there is a line for each change."""

import json
import re

import pytest
from rich.console import Console
from small_bundles import call, refused
from small_sweep import row_of

from src.sweep import Outcome, Place, State, Table, file_of, status_command, table

PLACES = [Place("gpu 0", {}), Place("gpu 1", {})]


def progress(name: str, **facts: object) -> None:
    path = file_of(name, "progress")
    path.parent.mkdir(parents=True, exist_ok=True)
    usual = {"epoch": 3, "epochs": 12, "wrong": 1037, "images": 2081, "seconds": 61.0,
             "ended": "2030-01-01T00:00:00+00:00"}
    path.write_text(json.dumps(usual | facts))


def drawn(outcomes: list[Outcome], width: int) -> list[str]:
    console = Console(width=width, force_terminal=False)
    with console.capture() as captured:
        console.print(table._draw(outcomes, width))
    return captured.get().splitlines()


NAME = "convnext_large_squish_224"


@pytest.mark.parametrize(
    ("name", "width", "left"),
    [
        (NAME, 80, "name place state epoch hold-out_wrong min_left"),
        (NAME, 70, "name state epoch hold-out_wrong min_left"),
        (NAME, 66, "name state epoch hold-out_wrong"),
        (NAME, 52, "name state hold-out_wrong"),
        (f"{NAME}_grouped_fold4_seed43", 80, "name state epoch hold-out_wrong"),
        (NAME, 36, "name state"),
    ],
)
def test_columns_fall_away_until_the_table_fits(models, name, width, left):
    progress(name)
    head, row = drawn([Outcome(name, "gpu 0", State.TRAINING)], width)
    assert max(len(head), len(row)) <= width
    assert re.split(r" {2,}", head.strip().replace("min left", "min_left")) == [
        word.replace("hold-out_wrong", "hold-out wrong") for word in left.split()]
    if width == 80 and name == NAME:
        assert row.split() == [name, "gpu", "0", "training", "3/12", *"1,037 of 2,081".split(),
                               row.split()[-1]]


def test_a_pipe_gets_a_line_for_each_change_and_the_table_at_the_end(data, models, capsys):
    one, two = rows = [row_of("one", data), row_of("two", data)]
    progress(one.name, wrong=None, images=0)
    with Table(rows, len(PLACES)) as shown:
        shown.notice(Outcome(one.name, "gpu 0", State.TRAINING))
        shown.notice(Outcome("", "node", State.WAITING, "node 10.0.0.7 lost"))
        shown.notice(Outcome(two.name, "gpu 1", State.FAILED, "no rice", 1800.0))
        shown.notice(Outcome(one.name, "gpu 0", State.DONE, seconds=3600.0))
        shown.began -= 3600
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == [
        "test_vit_one: training, gpu 0", "node 10.0.0.7 lost",
        f"test_vit_two: failed, gpu 1: no rice; see {file_of(two.name, 'log')}",
        "test_vit_one: done, gpu 0"]
    assert lines[5].split() == ["test_vit_one", "gpu", "0", "done", "3/12"]
    assert len(lines) == 7
    assert shown.summary() == "1 done, 1 failed; places were busy for 1.50 of 2.00 hours"


def test_status_tells_what_ran_runs_and_failed(data, models):
    import fcntl

    assert "no sweep has run" in refused(call(lambda: status_command([])))
    for desc in ("done", "failed", "runs", "stopped"):
        row = row_of(desc, data)
        for kind in ("log", "lock"):
            file_of(row.name, kind).parent.mkdir(parents=True, exist_ok=True)
            file_of(row.name, kind).touch()
    file_of("ray", "log").touch()
    started = "\n2026-01-02T03:04:05+00:00, gpu {}\nepoch 1, gpu 7\n"
    file_of("test_vit_runs", "log").write_text(started.format(0) + started.format(3))
    (models.parent / "ready" / "test_vit_done.json").rename(models / "test_vit_done.json")
    attempt = {"place": "gpu 1", "reason": "no rice in the field"}
    file_of("test_vit_failed", "json").write_text(json.dumps({"attempts": [attempt]}))
    with open(file_of("test_vit_runs", "lock"), "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lines = call(lambda: status_command([])).stdout.splitlines()
    places = {line.split()[0]: line.split()[1:3] for line in lines[1:5]}
    assert places["test_vit_runs"] == ["gpu", "3"]
    states = {line.split()[0]: line.split()[-1] for line in lines[1:5]}
    assert states == {"test_vit_done": "done", "test_vit_failed": "failed",
                      "test_vit_runs": "training", "test_vit_stopped": "interrupted"}
    assert lines[5].startswith("test_vit_failed: failed, gpu 1: no rice in the field; see ")
