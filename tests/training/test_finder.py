"""`lr: find`: the rate is fastai's valley, and a training at that rate is what follows."""

import pytest
import torch
from fastai.vision.all import Callback, set_seed
from small_training import Limit, begun, flat, run_of, saved_weights, tiny, train
from torch import nn

from src import bundle
from src.core import UserError
from src.training import export, fit, holdout_probs
from src.training.callbacks import finder
from src.training.curves import schedule_plot, search_plot

pytestmark = pytest.mark.usefixtures("in_this_process")


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Searches of 20 batches."""
    monkeypatch.setattr(finder, "BATCHES", 20)


class FirstBatch(Callback):
    """Whether the body is trained, the image size, the number of images, the callbacks."""

    seen = None

    def after_batch(self):
        if self.seen is None:
            body = [p.requires_grad for p in self.model[0].parameters() if p.ndim > 1]
            self.seen = any(body), *self.x.shape[-2:], len(self.x)
            self.callbacks = {cb.name for cb in self.learn.cbs}


@pytest.mark.parametrize(
    "recipe",
    [{"epochs": 2, "mixup": 0.4, "ema": 0.5, "sampler": "class", "time_limit": 60},
     {"schedule": "sgdr", "cycles": 2, "snapshots": "mean", "accum": 2}],
)
def test_training_is_the_one_at_the_rate_that_was_found(competition_once, tmp_path, recipe):
    recipe["pretrained"] = saved_weights(tmp_path)
    searching = train(competition_once, tmp_path / "find", tiny(lr="find", **recipe))
    found = searching.history.outcome["lr"]
    given = train(competition_once, tmp_path / "given", tiny(lr=found, **recipe))
    assert 1e-6 < found < 1
    assert torch.equal(flat(searching), flat(given))
    assert searching.history.outcome == given.history.outcome


def test_rate_is_the_valley_of_fastais_search_and_nothing_else_changes(
    competition_once, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    variant = tiny(lr="find")
    learn = begun(run_of(competition_once, tmp_path / "run", variant), variant)
    before, folder = flat(learn), learn.model_dir
    found = finder.find_lr(learn, variant, lambda *_: learn.dls)
    assert torch.equal(flat(learn), before) and learn.model_dir == folder
    assert not (tmp_path / "models").exists()
    set_seed(variant.seed, reproducible=True)
    learn.dls.train.rng.seed(variant.seed)
    with learn.no_bar():
        theirs = learn.lr_find(num_it=20, show_plot=False).valley
    assert found["valley"] == pytest.approx(theirs, rel=1e-6)
    assert found["valley"] in found["lrs"] and len(found["lrs"]) == len(found["losses"])


@pytest.mark.parametrize(
    ("recipe", "seen"),
    [
        ({"mixup": 0.4, "ema": 0.5}, (True, 32, 32, 8)),  # random weights train as a whole
        ({"pretrained": True, "accum": 2}, (False, 32, 32, 4)),
        ({"pretrained": True, "freeze_epochs": 0, "bs": 4}, (True, 32, 32, 4)),
        ({"pretrained": True, "size": 48, "sizes": "32,48", "epochs": 2}, (False, 32, 32, 8)),
    ],
)
def test_search_trains_what_the_first_epoch_does(competition_once, tmp_path, recipe, seen):
    if "pretrained" in recipe:
        recipe["pretrained"] = saved_weights(tmp_path)
    train(competition_once, tmp_path, tiny(lr="find", **recipe), first := FirstBatch())
    assert first.seen == seen
    assert ("mix_up" in first.callbacks) == ("mixup" in recipe)
    assert ("gradient_accumulation" in first.callbacks) == ("accum" in recipe)
    assert "ema" not in first.callbacks


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
    given = train(competition_once, tmp_path / "given", tiny(accum=2, **recipe))
    assert halved.history.outcome == given.history.outcome
    assert halved.history.outcome["accum"] == 2
    assert torch.equal(flat(halved), flat(given))


def test_card_and_figures_have_the_rate_and_the_bundle_its_recipe(competition_once, tmp_path):
    variant = tiny(lr="find", tta="none", sizes="32,48", size=48, epochs=2)
    run = run_of(competition_once, tmp_path, variant)
    learn = fit(begun(run, variant), variant, run)
    export(learn, variant, holdout_probs(learn, variant), run)
    card, search = bundle.read_card(tmp_path, variant.name), learn.history.search
    assert card["variant"]["lr"] == "find"
    assert card["training"]["lr"] == search["valley"]
    assert bundle.is_done(variant, tmp_path, card["data"])
    line, point = search_plot(learn).axes[0].lines
    assert list(line.get_xdata()) == search["lrs"] and point.get_xdata()[0] == search["valley"]
    assert learn.history.sizes == [32, 48]
    rates, growth, *_ = schedule_plot(learn).axes[0].lines
    assert list(rates.get_ydata()) == learn.recorder.hps["lr"] and growth.get_xdata()[0] == 1


def test_a_rate_that_was_given_is_not_searched_for(competition_once, tmp_path, capsys):
    learn = train(competition_once, tmp_path, tiny(lr=0.02))
    assert learn.history.outcome["lr"] == 0.02 and learn.history.search == {}
    capsys.readouterr()
    assert search_plot(learn) is None
    assert "0.02" in capsys.readouterr().out


def test_a_loss_that_is_never_finite_is_one_line(competition_once, tmp_path):
    variant = tiny(lr="find")
    run = run_of(competition_once, tmp_path, variant)
    learn = begun(run, variant)
    nn.init.constant_(learn.model[1][-1].weight, float("nan"))
    with pytest.raises(UserError, match="lr=find.*give lr a number") as error:
        fit(learn, variant, run)
    assert "\n" not in str(error.value)
