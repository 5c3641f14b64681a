"""`time_limit` ends a training while there is time to export, and counts all that export takes."""

from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import pytest
from fastai.vision.all import Callback, CancelFitException
from small_training import begun, run_of, tiny

from src.training import fit
from src.training.callbacks import recipes

pytestmark = pytest.mark.usefixtures("in_this_process")


class Passing(Callback):
    """Lets the time of the clock pass as epochs take it."""

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
        (0, 9),  # none
        (60, 9),  # enough for all
        # after three epochs 330 s are over; one more and the hold-out's 7 passes need 180 s, and
        # as much again by a fifth: 546 s
        (9.2, 4),
        (9, 3),
        (0.1, 1),  # never less than one
    ],
)
def test_time_limit_ends_while_there_is_time_to_export(
    competition_once, tmp_path, monkeypatch, minutes, epochs
):
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(recipes, "time", SimpleNamespace(monotonic=lambda: clock.now))
    variant = tiny(epochs=9, time_limit=minutes, views=4)
    run = run_of(competition_once, tmp_path, variant)
    object.__setattr__(run, "started", clock.now)
    learn = fit(begun(run, variant, Passing(clock)), variant, run)
    assert (learn.outcome["epochs"], learn.outcome["planned"]) == (epochs, 9)
    assert len(learn.recorder.values) == epochs
    needed = 7 * 10  # plain, 4 views and what they are cut from, and once more from the file
    assert minutes in (0, 0.1) or clock.now + needed <= 1000 + 60 * minutes


def test_time_limit_expects_more_of_an_unfrozen_body_and_of_a_larger_size(tmp_path):
    frozen, small, large = (
        SimpleNamespace(phase=SimpleNamespace(frozen=cold), size=size)
        for cold, size in ((True, 32), (False, 32), (False, 64))
    )
    limit = recipes.TimeLimit(tiny(size=64, tta="none"), 0)
    export = 3 * 4 * 10  # three passes over the hold-out, at four times the pixels
    assert limit._needed(small, small, 100, 10) == 110 + export
    assert limit._needed(frozen, small, 100, 10) == 310 + export
    assert limit._needed(small, large, 100, 10) == 440 + export


@pytest.mark.parametrize(("left", "fits"), [(-1, False), (1, True)])
def test_time_limit_expects_an_export_to_read_what_epochs_have_in_memory(monkeypatch, left, fits):
    clock = SimpleNamespace(now=0)
    monkeypatch.setattr(recipes, "time", SimpleNamespace(monotonic=lambda: clock.now))
    warm = SimpleNamespace(frozen=False)
    plan = [SimpleNamespace(phase=warm, size=size) for size in (32, 64, 64, 64)]
    limit = recipes.TimeLimit(tiny(size=64, tta="none"), 10_000)
    for done, validation in ((1, 90), (2, 100), (3, 1)):  # read at 32 px, at 64 px, then in memory
        limit.course = SimpleNamespace(plan=plan, done=done)
        limit.before_epoch()
        clock.now += 100
        limit.before_validate()
        clock.now += validation
        if done == 3:  # one more epoch, and an export of three passes
            limit.end = clock.now + 1.2 * (100 + 100 + 3 * 100) + left
        with nullcontext() if done < 3 or fits else pytest.raises(CancelFitException):
            limit.after_epoch()


@pytest.mark.parametrize(("kind", "more"), [("members", 2 * 3 * 10), ("mean", 100)])
def test_time_limit_expects_more_of_snapshots(kind, more):
    variant = tiny(tta="none", schedule="sgdr", cycles=3)
    epoch = SimpleNamespace(phase=SimpleNamespace(frozen=False), size=32)
    plain = recipes.TimeLimit(variant, 0)._needed(epoch, epoch, 100, 10)
    limit = recipes.TimeLimit(replace(variant, snapshots=kind), 0)
    assert limit._needed(epoch, epoch, 100, 10) == plain + more


@pytest.mark.parametrize(("left", "fits"), [(400, False), (410, True)])
def test_time_limit_goes_by_images_where_the_head_saw_features(monkeypatch, left, fits):
    monkeypatch.setattr(recipes, "time", SimpleNamespace(monotonic=lambda: 0))
    plan = [SimpleNamespace(phase=SimpleNamespace(frozen=cold), size=32) for cold in (True, False)]
    limit = recipes.TimeLimit(tiny(tta="none", pretrained=True, precompute=True), left)
    limit.course = SimpleNamespace(plan=plan, done=1)
    limit.precompute = SimpleNamespace(seconds=[100, 10])  # of reading every image once
    limit.before_epoch()
    limit.before_validate()  # the epoch itself took no time
    # 310 s of the whole model, 30 s for the export, and as much again by a fifth: 408 s
    with nullcontext() if fits else pytest.raises(CancelFitException):
        limit.after_epoch()
