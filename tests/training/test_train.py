"""Training: gradients gathered rightly, seeded, whole if random, visible on the terminal."""

import random
import re

import pytest
import torch
from fastai.callback.core import CancelStepException
from fastai.callback.fp16 import MixedPrecision
from fastai.vision.all import Callback, DataLoaders, GradientAccumulation, noop
from small_training import Watch, begun, flat, loaders, run_of, tiny, train
from torch import nn

from src.evidence import error_cell
from src.training import fit, get_learner
from src.training.callbacks import epochs, recipe_cbs
from src.vision import augment
from src.vision import loaders as vision_loaders

pytestmark = pytest.mark.usefixtures("in_this_process")


# gradient accumulation


class GradientsAtStep(Callback):
    """The gradients of each optimiser step, which is not made.

    Without the two things that look at a batch as a whole or at random, batch norm's statistics
    and dropout, one full batch and its parts must agree.
    """

    order = GradientAccumulation.order + 1  # called only when enough images were seen

    def before_fit(self):
        self.seen = []

    def before_batch(self):
        self.model.eval()

    def before_step(self):
        gradients = [p.grad.flatten() for p in self.model.parameters() if p.grad is not None]
        self.seen.append(torch.cat(gradients))
        raise CancelStepException


def gradients(dls, variant, cbs) -> list[torch.Tensor]:
    """Gradients at every step of an epoch over the same 16 images in the same order."""
    images = sorted(dls.train_ds.items)[:16]
    plain = dls.test_dl(images, with_labels=True, bs=dls.train.bs)
    learn = get_learner(DataLoaders(plain, plain), variant)
    learn.fit(1, cbs=[*cbs, watch := GradientsAtStep()])
    return watch.seen


@pytest.mark.parametrize("accum", [2, 4])
def test_accumulated_gradient_is_the_one_of_the_full_batch(competition_once, tmp_path, accum):
    full, parts = (tiny(bs=8, accum=n) for n in (1, accum))
    assert recipe_cbs(full, 0) == []  # a plain recipe adds no callbacks
    whole, halves = (loaders(competition_once, tmp_path, variant) for variant in (full, parts))
    assert halves.train.bs == 8 // accum
    wanted, seen = gradients(whole, full, []), gradients(halves, parts, recipe_cbs(parts, 0))
    assert len(wanted) == len(seen) == 2  # 16 images, a step every 8
    for one, other in zip(wanted, seen, strict=True):
        assert one.abs().max() > 1e-3
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)
    alone = gradients(halves, parts, [])  # so that this test can fail
    assert not any(torch.allclose(wanted[0], one, rtol=1e-3, atol=1e-6) for one in alone)


# the recipe


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


def test_random_weights_train_as_a_whole_for_the_epochs_and_at_the_rate_of_the_variant(
    competition_once, tmp_path
):
    variant = tiny(epochs=2, lr=0.005)
    run = run_of(competition_once, tmp_path, variant)
    learn = begun(run, variant)
    assert all(p.requires_grad for p in learn.model.parameters())
    before = flat(learn)
    fit(learn, variant, run)
    assert (flat(learn) != before).double().mean() > 0.95
    assert len(learn.recorder.values) == 2  # no epoch for the head alone
    assert max(learn.recorder.hps["lr"]) == pytest.approx(0.005, rel=0.1)
    assert learn.recorder.metric_names[1:-1] == ["train_loss", "valid_loss", "error_rate"]
    assert learn.history.seconds > 0


@pytest.mark.parametrize("cuda", [True, False])
def test_half_precision_is_used_on_cuda_only_and_convolutions_are_channels_last(
    competition_once, tmp_path, monkeypatch, cuda
):
    dls = loaders(competition_once, tmp_path, tiny())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    learn = get_learner(dls, tiny())
    assert any(isinstance(cb, MixedPrecision) for cb in learn.cbs) == cuda
    layers = [layer for layer in learn.model.modules() if isinstance(layer, nn.Conv2d)]
    weights = [layer.weight for layer in layers if layer.kernel_size != (1, 1)]
    assert weights
    assert all(w.is_contiguous(memory_format=torch.channels_last) for w in weights)


# progress


def test_each_epoch_is_a_line_on_the_terminal_and_a_row_below_the_cell(
    competition_once, tmp_path, monkeypatch, capsys
):
    rows = []
    monkeypatch.setattr(epochs.EpochLog, "_row", lambda _, *cells: rows.append(cells))
    learn = train(competition_once, tmp_path, tiny(epochs=2))
    lines = capsys.readouterr().err.replace("\r", "\n").splitlines()
    assert rows[0] == (
        "epoch", "train_loss", "valid_loss", "hold-out error (95 % interval)", "time"
    )
    for number, (values, row) in enumerate(zip(learn.recorder.values, rows[1:], strict=True), 1):
        trained, valid, error = values
        cell = error_cell(round(6 * error), 6)
        assert row[:4] == (number, f"{trained:.4f}", f"{valid:.4f}", cell)
        last = [s for s in lines if s.startswith(f"{tiny().name}: epoch {number}/2")][-1]
        assert "100%" in last and "4/4" in last  # 3 batches of training, 1 of the hold-out
        assert f"train_loss={trained:.4f}, valid_loss={valid:.4f}, {round(6 * error)} of 6" in last
    assert learn.logger is not noop  # fastai's own table is back


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
