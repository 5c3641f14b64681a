"""One row in a process of its own: how it ends is told right, and nothing of it is left behind."""

import fcntl
import os
import signal
import sys
from collections.abc import Iterator
from threading import Thread

import pytest
from small_sweep import kernel_of, left, row_of, runs, start, started, until, write_repository

from src.sweep import Place, State, attempts_at, engines, file_of, folder, progress_of
from src.sweep.analyse.record import query, rebuild

work_room = sys.modules["src.sweep.work"]
CPU = Place("cpu 1", {"OMP_NUM_THREADS": "1", "A_CARD": "3"})


@pytest.fixture
def child(data, models, tmp_path, monkeypatch) -> Iterator[str]:
    """The code of a row's process, with the short notebook."""
    code = write_repository(tmp_path / "repository") + work_room.CHILD
    monkeypatch.setattr(work_room, "CHILD", code)
    yield code
    for process in left():  # of a test that failed
        process.kill()


def test_rows_go_on_whatever_one_of_them_does_and_only_the_system_is_tried_again(
    child, data, models
):
    descs = ["user", "crash", "once_killed", "nothing", "memory", "good"]
    seen, rows = [], [row_of(desc, data) for desc in descs]
    outcomes = engines.run(rows, engines.here([CPU, CPU]), seen.append)
    assert [outcome.name for outcome in outcomes] == [row.name for row in rows]
    reasons = {outcome.name: outcome.reason for outcome in outcomes}
    states = [outcome.state for outcome in outcomes]
    assert states == [State.FAILED, State.FAILED, State.DONE, State.FAILED,
                      State.FAILED, State.DONE]
    assert [started(desc) for desc in descs] == [1, 3, 2, 1, 3, 1]
    assert reasons["test_vit_memory"].startswith("MemoryError")
    assert reasons["test_vit_user"] == "no rice in the field; sow some"
    assert reasons["test_vit_crash"].startswith("RuntimeError: CUDA error: unspecified")
    assert "its model is not finished" in reasons["test_vit_nothing"]
    (killed,) = attempts_at("test_vit_once_killed")
    assert "kernel was killed" in killed["reason"] and killed["place"] == "cpu 1"
    assert (killed["epoch"], killed["epochs"]) == (1, 3)
    assert killed["log"] == str(file_of("test_vit_once_killed", "log"))
    assert [o.state for o in seen if o.name == "test_vit_once_killed"] == [
        State.TRAINING, State.AGAIN, State.TRAINING, State.DONE]
    assert (models.parent / "given").read_text() == "13"  # what the place is
    assert engines.run(rows[-1:], engines.here([CPU]), seen.append)[0].state == State.DONE
    assert started("good") == 1  # finished: nothing was started
    assert left() == []


def test_a_killed_worker_takes_its_kernel_along_and_is_tried_again(child, data, models):
    outcomes = []
    engine = Thread(target=lambda: outcomes.append(work_room.work(row_of("hang", data), CPU)))
    engine.start()
    kernel = kernel_of("hang")
    kernel.parent().kill()
    engine.join(30)
    assert not runs(kernel)
    ((_, _, state, reason, seconds, retry),) = outcomes
    assert (state, retry) == (State.FAILED, True) and reason.startswith("killed by SIGKILL")
    assert seconds > 0 and left() == []


def test_a_row_that_somebody_else_has_is_not_trained(child, data, models):
    row = row_of("good", data)
    file_of(row.name, "lock").parent.mkdir(parents=True)
    with open(file_of(row.name, "lock"), "a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert work_room.work(row, CPU).state == State.BUSY
        assert folder.is_busy(row.name) and started("good") == 0
    assert not folder.is_busy(row.name)


def test_a_file_system_without_locks_is_named_and_trains(data, models, monkeypatch, capsys):
    from src.sweep import check

    def unsupported(*_):
        raise OSError("No locks available")

    assert check([], data, models) == [] and capsys.readouterr().out == ""
    monkeypatch.setattr(fcntl, "flock", unsupported)
    assert not folder.is_busy("any") and check([], data, models) == []
    assert "has no locks, so start one sweep at a time" in capsys.readouterr().out


def test_a_killed_sweep_leaves_nothing_and_two_sweeps_share_the_rows(child, data, models):
    rebuild()  # a record without any run
    killed = start(child, data, ["hang_one", "hang_two"])
    kernels = [kernel_of("hang_one"), kernel_of("hang_two")]
    assert progress_of("test_vit_hang_one")["epochs"] == 3
    sweeps = [start(child, data, ["hang_one", "hang_two", "good"], places=1) for _ in range(2)]
    until(lambda: started("good"))  # the one row that is free
    slow = kernels[0].parent()
    slow.suspend()  # it cannot notice yet
    killed.kill()
    killed.wait()
    assert folder.is_busy("test_vit_hang_one")  # so nobody starts it a second time
    slow.resume()
    until(lambda: not any(map(runs, kernels)), 5)
    until(lambda: started("hang_one") + started("hang_two") == 4)
    (models.parent / "go").touch()
    answers = [sweep.communicate(timeout=60) for sweep in sweeps]
    assert [sweep.returncode for sweep in sweeps] == [0, 0], answers
    assert [started(desc) for desc in ("hang_one", "hang_two", "good")] == [2, 2, 1]
    assert all("3 done, 0 failed; " in out for out, _ in answers)
    assert query("select count(*) from runs").to_numpy().tolist() == [[3]]
    assert any("test_vit_hang_one: elsewhere: another sweep trains it" in out for out, _ in answers)


def test_ctrl_c_ends_the_rows_in_order(child, data, models):
    sweep = start(child, data, ["hang", "good"], places=1)
    kernel = kernel_of("hang")
    os.kill(sweep.pid, signal.SIGINT)
    out, err = sweep.communicate(timeout=60)
    assert sweep.returncode == 1 and "the same command continues" in err, err
    assert "test_vit_hang: interrupted" in out and "0 done, 0 failed, 2 not finished" in out
    assert not runs(kernel) and started("good") == 0 and left() == []
    assert "KeyboardInterrupt" in (models.parent / "notebooks/runs/test_vit_hang.ipynb").read_text()


def test_a_second_ctrl_c_kills_what_does_not_end(child, data, models):
    sweep = start(child, data, ["hang_deaf"], places=1)
    kernel = kernel_of("hang_deaf")
    os.kill(sweep.pid, signal.SIGINT)
    until((models.parent / "heard").exists)  # the kernel was asked, and goes on
    os.kill(sweep.pid, signal.SIGINT)
    out, err = sweep.communicate(timeout=60)
    assert sweep.returncode == 1 and "test_vit_hang_deaf: interrupted" in out, err
    assert not runs(kernel) and left() == []
    assert "interrupted" not in file_of("test_vit_hang_deaf", "log").read_text()  # not in order
