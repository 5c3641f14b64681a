"""Every recipe of loss, mixing, sampling and averaging does what its name says."""

from collections import Counter

import pandas as pd
import pytest
import torch
from fastai.callback.mixup import CutMix, MixUp
from small_training import Watch, begun, floats, run_of, tiny, train
from torch import nn

from src.training.callbacks import recipe_cbs
from src.training.callbacks.sampler import FLOOR
from src.training.schedule import EPOCHS_PER_SEED

pytestmark = pytest.mark.usefixtures("in_this_process")


def test_label_smoothing_spreads_a_share_of_the_target_and_dropout_is_the_heads(
    competition_once, tmp_path
):
    variant = tiny(label_smoothing=0.3, dropout=0.3)
    learn = begun(run_of(competition_once, tmp_path, variant), variant)
    logits, target = torch.tensor([[2.0, 0.5, -1.0]]), torch.tensor([0])
    spread = torch.tensor([[0.8, 0.1, 0.1]])  # 0.7 + 0.3 / 3, 0.3 / 3, 0.3 / 3
    by_hand = -(spread * logits.log_softmax(1)).sum()
    assert float(learn.loss_func(logits, target)) == pytest.approx(float(by_hand))
    torch.testing.assert_close(learn.loss_func.activation(logits), logits.softmax(1))
    assert [m.p for m in learn.model[1].modules() if isinstance(m, nn.Dropout)] == [0.15, 0.3]


@pytest.mark.parametrize(("field", "kind"), [("mixup", MixUp), ("cutmix", CutMix)])
def test_mixing_is_fastais_with_the_alpha_given_and_the_hold_out_is_never_mixed(
    competition_once, tmp_path, field, kind
):
    variant = tiny(**{field: 0.4})
    (callback,) = recipe_cbs(variant, 0)
    drawn = callback.distrib
    assert type(callback) is kind
    assert drawn.concentration1.item() == drawn.concentration0.item() == pytest.approx(0.4)
    train(competition_once, tmp_path / "plain", tiny(), plain := Watch())
    train(competition_once, tmp_path / "mixed", variant, mixed := Watch())
    assert not torch.equal(plain.batches[0].images, mixed.batches[0].images)
    assert all(map(torch.equal, plain.valid, mixed.valid))


# the sampler


@pytest.fixture
def uneven(data):
    """A competition whose third class has 3 images, the others 10 each."""
    table = pd.read_csv(data / "train.csv")
    rare = table[table.label == "disease_c"].image_id[3:]
    for name in rare:
        (data / "train_images" / "disease_c" / name).unlink()
    table[~table.image_id.isin(rare)].to_csv(data / "train.csv", index=False)
    return data


def test_sampler_class_shows_every_class_equally_often(uneven, tmp_path):
    variant = tiny(sampler="class", epochs=4, bs=6)
    learn = train(uneven, tmp_path, variant, watch := Watch())
    labels = [path.parent.name for path in learn.dls.train_ds.items]
    counts = Counter(labels)
    assert counts["disease_c"] / counts.total() < 0.2
    epochs = watch.of_epochs("places")
    for number, drawn in enumerate(epochs):
        torch.manual_seed(42 * EPOCHS_PER_SEED + number)
        weights = torch.tensor([1 / counts[label] for label in labels])
        expected = torch.multinomial(weights, len(labels), replacement=True).tolist()
        assert drawn == expected[: len(drawn)] and len(drawn) == len(labels) // 6 * 6
    assert len(set(map(tuple, epochs))) == 4


def test_sampler_hard_draws_by_the_last_training_loss_of_each_image(competition_once, tmp_path):
    learn = train(competition_once, tmp_path, tiny(sampler="hard", epochs=3), watch := Watch())
    vocab, items = list(learn.dls.vocab), learn.dls.train_ds.items
    targets = [vocab.index(path.parent.name) for path in items]
    epochs, last = watch.of_epochs("places"), torch.zeros(24)
    assert sorted(epochs[0]) == list(range(24))  # all once, before any loss is known
    for number, drawn in enumerate(epochs):
        if number:
            torch.manual_seed(42 * EPOCHS_PER_SEED + number)
            weights = last + FLOOR * last.mean()
            assert drawn == torch.multinomial(weights, 24, replacement=True).tolist()
        for batch in watch.batches[3 * number :][:3]:
            assert [targets[place] for place in batch.places] == batch.labels
            last[batch.places] = batch.losses
    assert Counter(epochs[1]).most_common(1)[0][1] > 1
    assert sorted(learn.dls.train.get_idxs()) == list(range(24))  # the loader is itself again


# the average


def test_ema_validates_and_exports_the_moving_average_of_the_weights(competition_once, tmp_path):
    learn = train(competition_once, tmp_path, tiny(ema=0.6, epochs=2), seen := Watch())
    average = seen.weights[0]
    for number, weights in enumerate(seen.weights[1:]):
        decay = min(0.6, 1 - (1 + number) ** (-2 / 3))  # 0 at first, 0.6 in the end
        average = decay * average + (1 - decay) * weights
    assert len(seen.weights) == 7
    torch.testing.assert_close(floats(learn.model), average, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(average, seen.weights[-1], atol=1e-4)
    shown = learn.recorder.values[-1][1]
    with learn.no_bar():
        assert learn.validate()[0] == pytest.approx(shown, rel=1e-5)
