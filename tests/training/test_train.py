"""Training: batches and steps, seeds, precision, lines on the terminal, the cached hold-out."""

import random
import re

import pytest
import torch
from fastai.vision.all import noop
from small_training import Watch, begun, flat, loaders, run_of, tiny, train
from torch import nn

from src.training import fit, get_learner
from src.training.callbacks import epochs, recipe_cbs
from src.vision import augment
from src.vision import loaders as vision_loaders

pytestmark = pytest.mark.usefixtures("in_this_process")


def test_a_step_is_made_of_bs_images_in_accum_batches(competition_once, tmp_path):
    assert recipe_cbs(tiny(), 0) == []  # a plain recipe adds no callbacks
    seen = []
    for accum in (1, 2, 4):
        train(competition_once, tmp_path, tiny(bs=8, accum=accum), watch := Watch())
        assert {len(batch.labels) for batch in watch.batches} == {8 // accum}
        seen.append(watch.weights)
    assert [len(weights) for weights in seen] == [1 + 3] * 3  # 24 images, a step every 8


def test_seeded_training_repeats_to_the_last_bit(competition_once, tmp_path):
    ends = []
    for number in (1, 2):
        random.seed(number)  # whatever happened before: a fresh kernel is in another state
        torch.manual_seed(number)
        ends.append(flat(train(competition_once, tmp_path / str(number), tiny(epochs=2))))
    assert torch.equal(*ends)


def test_every_epoch_and_every_seed_shuffles_otherwise(competition_once, tmp_path):
    seen = []
    for seed in (1, 2):
        variant = tiny(epochs=2)
        run = run_of(competition_once, tmp_path, variant)  # one split, two seeds of the training
        fit(begun(run, variant, watch := Watch()), tiny(epochs=2, seed=seed), run)
        seen += watch.of_epochs("labels")
    assert all(sorted(labels) == sorted(seen[0]) for labels in seen)
    assert len(set(map(tuple, seen))) == 4


def test_convolutions_are_channels_last(competition_once, tmp_path):
    learn = get_learner(loaders(competition_once, tmp_path, tiny()), tiny())
    layers = [layer for layer in learn.model.modules() if isinstance(layer, nn.Conv2d)]
    weights = [layer.weight for layer in layers if layer.kernel_size != (1, 1)]
    assert weights
    assert all(w.is_contiguous(memory_format=torch.channels_last) for w in weights)


def test_each_epoch_is_a_line_on_the_terminal(competition_once, tmp_path, capsys):
    learn = train(competition_once, tmp_path, tiny(epochs=2))
    lines = capsys.readouterr().err.replace("\r", "\n").splitlines()
    for number, (trained, valid, error) in enumerate(learn.recorder.values, 1):
        last = [s for s in lines if s.startswith(f"{tiny().name}: epoch {number}/2")][-1]
        assert "100%" in last and "4/4" in last  # 3 batches of training, 1 of the hold-out
        assert f"train_loss={trained:.4f}, valid_loss={valid:.4f}, {round(6 * error)} of 6" in last
    assert learn.logger is not noop  # fastai's own table is back
    assert len(learn.history.seconds) == 2 and min(learn.history.seconds) > 0


def test_without_a_hold_out_only_the_training_loss_is_shown(competition_once, tmp_path, capsys):
    learn = train(competition_once, tmp_path, tiny(fold="all"))
    assert learn.recorder.values[0][1:] == [None, None]
    last = capsys.readouterr().err.replace("\r", "\n").splitlines()[-1]
    assert re.search(r"100%.*train_loss=\d.*valid_loss=-, no hold-out", last)


# the hold-out is read once, and validated as if it were read in every epoch


@pytest.fixture
def times_read(monkeypatch):
    """Call it with a Learner: how often its held-out photographs were opened since last time."""
    opened, original = [], augment.open_image
    for room in (augment, vision_loaders):
        monkeypatch.setattr(room, "open_image", lambda *args: opened.append(args[0])
                            or original(*args))

    def times(learn) -> set[int]:
        counts = {opened.count(path) for path in learn.dls.valid_ds.items}
        opened.clear()
        return counts

    return times


@pytest.mark.parametrize(
    ("recipe", "times"),
    [
        ({"epochs": 2, "augment": "fast", "targets": "disease+variety"}, 1),
        ({"epochs": 4, "sizes": "24,32", "ema": 0.5}, 2),  # once at each size
    ],
)
def test_a_training_reads_its_hold_out_once(
    competition_once, tmp_path, monkeypatch, times_read, recipe, times
):
    learn = train(competition_once, tmp_path / "cached", tiny(**recipe))
    assert times_read(learn) == {times}
    monkeypatch.setattr(epochs, "SHARE", 0)
    anew = train(competition_once, tmp_path / "anew", tiny(**recipe))
    assert times_read(anew) == {recipe["epochs"]}
    assert learn.recorder.values == anew.recorder.values
    assert (flat(learn) == flat(anew)).all()


@pytest.mark.parametrize(("share", "times"), [(5, 2), (5.5, 1)])
def test_a_hold_out_too_large_for_the_free_memory_is_read_in_every_epoch(
    competition_once, tmp_path, monkeypatch, times_read, share, times
):
    # Batches of 4 and 2 images: room for as many as there are, of 4, in a quarter of the memory.
    floats = 6 * 32 * 32 * 3 * 4
    monkeypatch.setattr(epochs, "free_memory", lambda: share * floats)
    learn = train(competition_once, tmp_path, tiny(epochs=2, bs=4))
    assert times_read(learn) == {times}
