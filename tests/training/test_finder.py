"""`lr: find`: the rate is fastai's valley, and a training at that rate is what follows."""

import pytest
import torch
from fastai.vision.all import Callback
from small_training import Limit, Stop, StopAt, begun, flat, run_of, saved_weights, tiny, train

from src import bundle
from src.core import UserError
from src.training import export, fit, holdout_probs
from src.training.callbacks import finder
from src.training.callbacks.finder import curve, settled
from src.training.curves import schedule_plot, search_plot

pytestmark = pytest.mark.usefixtures("in_this_process")


class Searched(Callback):
    """Notes of the first batch whether the body is trained, the size, how many images."""

    seen = None

    def after_batch(self):
        body = [p.requires_grad for p in self.model[0].parameters() if p.ndim > 1]
        if self.seen is None:
            self.met = {cb.name for cb in self.learn.cbs}
        self.seen = self.seen or (any(body), *self.x.shape[-2:], len(self.x))


def looked(data, models, variant):
    """`variant` with the rate that was found for it."""
    learn = begun(run_of(data, models, variant), variant)
    return settled(learn, variant, lambda *_: learn.dls)


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Searches of 20 batches."""
    monkeypatch.setattr(finder, "BATCHES", 20)


@pytest.mark.parametrize(
    "recipe",
    [{"epochs": 2, "mixup": 0.4, "ema": 0.5, "sampler": "class", "time_limit": 60},
     {"schedule": "sgdr", "cycles": 2, "snapshots": "mean", "accum": 2}],
)
def test_training_is_the_one_at_the_rate_that_was_found(competition_once, tmp_path, recipe):
    recipe["pretrained"] = saved_weights(tmp_path)
    searching = train(competition_once, tmp_path / "find", tiny(lr="find", **recipe))
    found = searching.outcome["lr"]
    given = train(competition_once, tmp_path / "given", tiny(lr=found, **recipe))
    assert 1e-6 < found < 1
    assert torch.equal(flat(searching), flat(given))
    assert searching.outcome == given.outcome


def test_rate_is_the_valley_of_fastais_own_search(competition_once, tmp_path):
    variant = tiny(lr="find")
    run = run_of(competition_once, tmp_path, variant)
    learn = begun(run, variant)
    finder.set_seed(variant.seed, reproducible=True)
    learn.dls.train.rng.seed(variant.seed)
    learn.model_dir = tmp_path
    with learn.no_bar():
        theirs = learn.lr_find(num_it=20, show_plot=False).valley
    assert looked(competition_once, tmp_path, variant).lr == pytest.approx(theirs, rel=1e-6)


def test_search_leaves_weights_and_folders_as_they_were(competition_once, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    variant, run = tiny(lr="find"), run_of(competition_once, tmp_path / "run", tiny())
    learn = begun(run, variant)
    before, place = flat(learn), learn.model_dir
    used = settled(learn, variant, lambda *_: learn.dls)
    assert torch.equal(flat(learn), before) and learn.model_dir == place
    assert not (tmp_path / "models").exists()
    assert used == tiny(lr=used.lr)


def test_a_rate_that_was_given_is_not_searched_for(competition_once, tmp_path, capsys):
    learn = train(competition_once, tmp_path, tiny(lr=0.02))
    assert learn.outcome["lr"] == 0.02 and learn.search == {}
    capsys.readouterr()
    assert search_plot(learn) is None
    assert "0.02" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("recipe", "seen"),
    [
        ({}, (True, 32, 32, 8)),  # random weights train as a whole
        ({"pretrained": True, "accum": 2}, (False, 32, 32, 4)),
        ({"pretrained": True, "freeze_epochs": 0, "bs": 4}, (True, 32, 32, 4)),
        ({"pretrained": True, "size": 48, "sizes": "32,48", "epochs": 2}, (False, 32, 32, 8)),
    ],
)
def test_search_trains_what_the_first_epoch_does(competition_once, tmp_path, recipe, seen):
    if "pretrained" in recipe:
        recipe["pretrained"] = saved_weights(tmp_path)
    train(competition_once, tmp_path, tiny(lr="find", **recipe), first := Searched())
    assert first.seen == seen


def test_search_mixes_and_accumulates_as_the_training_does(competition_once, tmp_path):
    variant = tiny(lr="find", mixup=0.4, accum=2, ema=0.5)
    train(competition_once, tmp_path, variant, first := Searched())
    assert {"mix_up", "gradient_accumulation"} <= first.met and "ema" not in first.met


def test_killed_training_goes_on_at_the_rate_it_had_found(
    competition_once, tmp_path, monkeypatch
):
    variant = tiny(lr="find", epochs=2)
    whole = train(competition_once, tmp_path / "whole", variant)
    with pytest.raises(Stop):
        train(competition_once, tmp_path / "stopped", variant, StopInTraining(1))
    monkeypatch.setattr(finder, "_search", lambda *_: pytest.fail("searched again"))
    again = train(competition_once, tmp_path / "stopped", variant)
    assert torch.equal(flat(again), flat(whole))
    assert again.outcome == whole.outcome and again.search == whole.search


class StopInTraining(StopAt):
    """Stops in an epoch, not in the search before it."""

    def after_batch(self):
        if hasattr(self.learn, "course"):
            super().after_batch()


class LimitOfSearch(Limit):
    """A device that holds so many images, also of a batch of the search."""

    def holder(self):
        def hold(model, arguments):
            if model.training and len(arguments[0]) > self.images:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")

        return hold


def test_batch_too_large_for_the_search_is_halved_before_training(competition_once, tmp_path):
    recipe = {"lr": "find", "epochs": 2}
    halved = train(competition_once, tmp_path / "halved", tiny(**recipe), LimitOfSearch(4))
    asked = train(competition_once, tmp_path / "asked", tiny(accum=2, **recipe))
    assert halved.outcome == asked.outcome and halved.outcome["accum"] == 2
    assert torch.equal(flat(halved), flat(asked))


def test_card_has_the_rate_and_the_bundle_its_recipe(competition_once, tmp_path):
    variant = tiny(lr="find", tta="none")
    run = run_of(competition_once, tmp_path, variant)
    learn = fit(begun(run, variant), variant, run)
    export(learn, variant, holdout_probs(learn, variant), run)
    card = bundle.read_card(tmp_path, variant.name)
    assert card["variant"]["lr"] == "find"
    assert card["training"]["lr"] == learn.search["valley"]
    assert bundle.is_done(variant, tmp_path, card["data"])


def test_figure_shows_the_search_with_the_rate_at_its_valley(competition_once, tmp_path):
    learn = train(competition_once, tmp_path, tiny(lr="find", sizes="32,48", size=48, epochs=2))
    (line, point) = search_plot(learn).axes[0].lines
    assert list(line.get_xdata()) == learn.search["lrs"]
    assert point.get_xdata()[0] == learn.outcome["lr"]
    assert learn.sizes == [32, 48]
    rates, growth, *_ = schedule_plot(learn).axes[0].lines
    assert list(rates.get_ydata()) == learn.recorder.hps["lr"] and growth.get_xdata()[0] == 1


def test_a_loss_that_is_infinite_at_once_is_told_in_one_line():
    with pytest.raises(UserError, match="give lr a number"):
        curve([1e-7 * n for n in range(30)], [float("nan")] * 30)
