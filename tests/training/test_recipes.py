"""Every recipe does what its name says, and leaves a Learner that can be exported."""

from collections import Counter

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from fastai.vision.all import Callback
from small_training import begun, flat, run_of, saved_weights, tiny, train
from torch import nn

from src.bundle import load, read_card
from src.training import export, fit, holdout_probs
from src.training.callbacks import recipe_cbs
from src.training.callbacks.sampler import FLOOR, batch_images
from src.training.schedule import EPOCHS_PER_SEED

pytestmark = pytest.mark.usefixtures("in_this_process")


class Loaded(Callback):
    """Keeps the images of each training batch as they are loaded, before all other callbacks."""

    order, run_valid = -9, False

    def before_fit(self):
        self.images, self.labels = [], []

    def before_batch(self):
        self.images.append(self.x.clone())
        self.labels.append(self.y.clone())


class Seen(Callback):
    """Keeps the images as the model sees them, their losses, and the shares of a mix."""

    order = 70

    def before_fit(self):
        self.images, self.valid, self.losses, self.shares = [], [], [], []

    def before_batch(self):
        (self.images if self.training else self.valid).append(self.x.clone())
        mix = getattr(self.learn, "mix_up", None)
        self.shares.append(mix.lam.clone() if mix and self.training else None)

    def after_loss(self):
        if self.training:
            losses = F.cross_entropy(self.pred, self.y, reduction="none")
            self.losses.append(losses.detach())


# the loss


def test_label_smoothing_spreads_a_share_of_the_target(competition_once, tmp_path):
    variant = tiny(label_smoothing=0.3)
    learn = begun(run_of(competition_once, tmp_path, variant), variant)
    logits, target = torch.tensor([[2.0, 0.5, -1.0]]), torch.tensor([0])
    spread = torch.tensor([[0.8, 0.1, 0.1]])  # 0.7 + 0.3 / 3, 0.3 / 3, 0.3 / 3
    by_hand = -(spread * logits.log_softmax(1)).sum()
    assert float(learn.loss_func(logits, target)) == pytest.approx(float(by_hand))
    torch.testing.assert_close(learn.loss_func.activation(logits), logits.softmax(1))


def test_dropout_is_that_of_the_head(competition_once, tmp_path):
    variant = tiny(dropout=0.3)
    learn = begun(run_of(competition_once, tmp_path, variant), variant)
    assert [m.p for m in learn.model[1].modules() if isinstance(m, nn.Dropout)] == [0.15, 0.3]


# mixing


def test_mixup_blends_each_image_with_another_of_its_batch(competition_once, tmp_path):
    loaded, seen = Loaded(), Seen()
    learn = train(competition_once, tmp_path, tiny(mixup=0.4), loaded, seen)
    shares = [share for share in seen.shares if share is not None]
    for images, mixed, share in zip(loaded.images, seen.images, shares, strict=True):
        share = share.view(-1, 1, 1, 1, 1)
        pairs = share * images[:, None] + (1 - share) * images[None]  # image × partner
        apart = (pairs - mixed[:, None]).abs().amax((2, 3, 4))
        assert (apart.amin(1) < 1e-5).all()
        assert not torch.allclose(mixed, images)
    assert type(learn.loss_func).__name__ == "CrossEntropyLossFlat"  # its own again


def test_cutmix_pastes_a_patch_of_another_image_of_the_batch(competition_once, tmp_path):
    loaded, seen = Loaded(), Seen()
    train(competition_once, tmp_path, tiny(cutmix=1.0, epochs=3), loaded, seen)
    patches = 0
    for images, mixed in zip(loaded.images, seen.images, strict=True):
        foreign = (mixed != images).any(1).any(0)  # height × width: one place for the batch
        rows, columns = foreign.any(1), foreign.any(0)
        assert foreign.sum() == rows.sum() * columns.sum()  # a rectangle
        inside = mixed[:, :, rows][..., columns].flatten(1)
        donors = images[:, :, rows][..., columns].flatten(1)
        assert all((donors == patch).all(1).any() for patch in inside)
        patches += bool(foreign.any())
    assert patches >= 3


@pytest.mark.parametrize("mix", [{"mixup": 0.3}, {"cutmix": 0.7}])
def test_how_much_is_mixed_is_drawn_by_the_alpha_given(mix):
    (callback,) = recipe_cbs(tiny(**mix), 0)
    drawn, (alpha,) = callback.distrib, mix.values()
    assert drawn.concentration1.item() == drawn.concentration0.item() == pytest.approx(alpha)


@pytest.mark.parametrize("mix", [{"mixup": 0.4}, {"cutmix": 1.0}])
def test_the_hold_out_is_never_mixed(competition_once, tmp_path, mix):
    train(competition_once, tmp_path / "plain", tiny(), plain := Seen())
    train(competition_once, tmp_path / "mixed", tiny(**mix), mixed := Seen())
    assert all(map(torch.equal, plain.valid, mixed.valid))


# the sampler


class Draws(Callback):
    """The images each epoch is trained on, by number."""

    order, run_valid = 70, False

    def before_fit(self):
        self.epochs = []

    def before_train(self):
        self.epochs.append([])

    def before_batch(self):
        self.epochs[-1] += batch_images(self.dls.train, self.iter)


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
    learn = train(uneven, tmp_path, variant, draws := Draws())
    labels = [path.parent.name for path in learn.dls.train_ds.items]
    counts = Counter(labels)
    assert counts["disease_c"] / counts.total() < 0.2
    for number, drawn in enumerate(draws.epochs):
        torch.manual_seed(42 * EPOCHS_PER_SEED + number)
        weights = torch.tensor([1 / counts[label] for label in labels])
        expected = torch.multinomial(weights, len(labels), replacement=True).tolist()
        assert drawn == expected[: len(drawn)] and len(drawn) == len(labels) // 6 * 6
    assert len(set(map(tuple, draws.epochs))) == 4


def test_sampler_hard_draws_by_the_last_training_loss_of_each_image(competition_once, tmp_path):
    variant = tiny(sampler="hard", epochs=3)
    loaded, seen, draws = Loaded(), Seen(), Draws()
    learn = train(competition_once, tmp_path, variant, loaded, seen, draws)
    vocab, items = list(learn.dls.vocab), learn.dls.train_ds.items
    targets = [vocab.index(path.parent.name) for path in items]
    assert sorted(draws.epochs[0]) == list(range(24))  # all once, before any loss is known
    last = torch.zeros(24)
    for number, drawn in enumerate(draws.epochs):
        if number:
            torch.manual_seed(42 * EPOCHS_PER_SEED + number)
            weights = last + FLOOR * last.mean()
            assert drawn == torch.multinomial(weights, 24, replacement=True).tolist()
        for batch in range(3):
            images, at = drawn[8 * batch : 8 * batch + 8], 3 * number + batch
            assert [targets[image] for image in images] == loaded.labels[at].tolist()
            last[images] = seen.losses[at]
    assert Counter(draws.epochs[1]).most_common(1)[0][1] > 1
    assert sorted(learn.dls.train.get_idxs()) == list(range(24))  # the loader is itself again


# all together


@pytest.mark.parametrize(
    "recipe",
    [
        {"label_smoothing": 0.1, "mixup": 0.4, "ema": 0.9, "sampler": "class", "accum": 2,
         "schedule": "sgdr", "cycles": 2},
        {"cutmix": 1.0, "arch": "test_vit", "sizes": "32,48", "size": 48, "epochs": 2,
         "schedule": "one_cycle", "dropout": 0.1, "time_limit": 60},
    ],
    ids=["resnet", "vit"],
)
def test_recipes_together_leave_a_bundle_of_probabilities(competition_once, tmp_path, recipe):
    arch = recipe.get("arch", "test_resnet")
    variant = tiny(**recipe, pretrained=saved_weights(tmp_path, arch))
    run = run_of(competition_once, tmp_path, variant)
    learn = fit(begun(run, variant), variant, run)
    tables = holdout_probs(learn, variant)
    export(learn, variant, tables, run)  # refused if it predicts otherwise on reload
    assert (tables["plain"].sum(axis=1) - 1).abs().max() < 1e-5
    card = read_card(tmp_path, variant.name)
    assert card["training"] == {"epochs": variant.scheduled + 1, "planned": variant.scheduled + 1,
                                "lr": 0.01, "accum": variant.accum}
    assert torch.equal(flat(load(tmp_path, variant.name)), flat(learn))
    assert not list(tmp_path.glob(".*")), "no checkpoint is left"
