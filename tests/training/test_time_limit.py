"""`time_limit` ends a training while there is time to export, and counts all that export takes."""

from types import SimpleNamespace

import pytest
from fastai.vision.all import Callback, CancelFitException
from small_training import begun, run_of, tiny

from src.training import fit
from src.training.callbacks import time_limit
from src.training.callbacks.time_limit import TimeLimit, seconds_needed

pytestmark = pytest.mark.usefixtures("in_this_process")


@pytest.fixture
def clock(monkeypatch):
    """The time of the limit; a test moves it."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(time_limit, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


class Passing(Callback):
    """Moves the clock as epochs take time."""

    order = -20

    def __init__(self, clock):
        self.clock = clock

    def after_train(self):
        self.clock.now += 100

    def after_validate(self):
        self.clock.now += 10


@pytest.mark.parametrize(
    ("minutes", "epochs"),
    [
        (60, 5),  # enough for all
        # after three epochs 330 s are over; one more and the hold-out's 7 passes (plain, 4 views
        # and what they are cut from, the exported file) need 180 s, and as much again by a fifth
        (9.2, 4),
        (9, 3),
        (0.1, 1),  # never less than one
    ],
)
def test_time_limit_ends_while_there_is_time_to_export(
    competition_once, tmp_path, clock, minutes, epochs
):
    variant = tiny(epochs=5, time_limit=minutes, views=4)
    run = run_of(competition_once, tmp_path, variant)
    object.__setattr__(run, "started", clock.now)
    learn = fit(begun(run, variant, Passing(clock)), variant, run)
    outcome = learn.history.outcome
    assert (outcome["epochs"], outcome["planned"]) == (epochs, 5)
    assert len(learn.recorder.values) == epochs


def epoch(size=32, frozen=False):
    return SimpleNamespace(phase=SimpleNamespace(frozen=frozen), size=size)


SGDR = {"size": 32, "schedule": "sgdr", "cycles": 3}
EXPORT = 3 * 10  # three passes over the hold-out


@pytest.mark.parametrize(
    ("recipe", "last", "coming", "seconds"),
    [
        ({"size": 64}, epoch(), epoch(), 110 + 4 * EXPORT),  # at four times the pixels
        ({"size": 64}, epoch(frozen=True), epoch(), 310 + 4 * EXPORT),
        ({"size": 64}, epoch(), epoch(64), 440 + 4 * EXPORT),
        (SGDR | {"snapshots": "members"}, epoch(), epoch(), 110 + 3 * EXPORT),
        (SGDR | {"snapshots": "mean"}, epoch(), epoch(), 110 + EXPORT + 100),
    ],
)
def test_what_comes_may_take_longer_than_the_last_epoch(recipe, last, coming, seconds):
    assert seconds_needed(tiny(tta="none", **recipe), last, coming, 100, 10) == seconds


def ends(limit, clock, plan, done, training, validation) -> bool:
    """Whether `limit` ends a training after `done` epochs, the last of which took so long."""
    limit.schedule = SimpleNamespace(plan=plan, done=done)
    limit.before_epoch()
    clock.now += training
    limit.before_validate()
    clock.now += validation
    try:
        limit.after_epoch()
    except CancelFitException:
        return True
    return False


@pytest.mark.parametrize(("left", "ended"), [(-1, True), (1, False)])
def test_an_export_is_expected_to_read_what_epochs_have_in_memory(clock, left, ended):
    plan = [epoch(32), epoch(64), epoch(64), epoch(64)]
    limit = TimeLimit(tiny(size=64, tta="none"), clock.now + 10_000)
    assert not ends(limit, clock, plan, 1, 100, 90)  # read at 32 px
    assert not ends(limit, clock, plan, 2, 100, 100)  # read at 64 px, then cached
    # one more epoch, and an export of three passes
    limit.end = clock.now + 100 + 1 + 1.2 * (100 + 100 + 3 * 100) + left
    assert ends(limit, clock, plan, 3, 100, 1) == ended


@pytest.mark.parametrize(("left", "ended"), [(400, True), (410, False)])
def test_images_count_where_the_head_saw_features(clock, left, ended):
    limit = TimeLimit(tiny(tta="none", pretrained=True, precompute=True), clock.now + left)
    limit.precompute = SimpleNamespace(seconds=[100, 10])  # of reading every image once
    # 310 s of the whole model, 30 s for the export, and as much again by a fifth: 408 s
    assert ends(limit, clock, [epoch(frozen=True), epoch()], 1, 0, 0) == ended
