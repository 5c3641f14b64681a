"""`lr: find`: the rate is fastai's valley, and a training at that rate is what follows."""

import pytest
import torch
from conftest import refusal
from fastai.vision.all import Callback
from small_training import Limit, begun, exported, flat, run_of, saved_weights, tiny, train
from torch import nn

from src import bundle
from src.training import fit
from src.training.callbacks import finder
from src.training.schedule import seed_epoch

pytestmark = pytest.mark.usefixtures("in_this_process")


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Searches of 20 batches."""
    monkeypatch.setattr(finder, "BATCHES", 20)


def test_training_is_the_one_at_the_rate_that_was_found(competition_once, tmp_path):
    recipe = {"epochs": 2, "mixup": 0.4, "ema": 0.5, "sampler": "class", "time_limit": 60,
              "pretrained": saved_weights(tmp_path)}
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
    seed_epoch(variant.seed, 0, learn.dls.train)
    with learn.no_bar():
        theirs = learn.lr_find(num_it=20, show_plot=False).valley
    assert found["valley"] == pytest.approx(theirs, rel=1e-6)
    assert found["valley"] in found["lrs"] and len(found["lrs"]) == len(found["losses"])


class FirstBatch(Callback):
    """Whether the body is trained, the image size, the number of images, the callbacks."""

    seen = None

    def after_batch(self):
        if self.seen is None:
            body = [p.requires_grad for p in self.model[0].parameters() if p.ndim > 1]
            names = {cb.name for cb in self.learn.cbs} & {"mix_up", "gradient_accumulation", "ema"}
            self.seen = any(body), *self.x.shape[-2:], len(self.x), names


@pytest.mark.parametrize(
    ("recipe", "seen"),
    [
        ({"mixup": 0.4, "ema": 0.5}, (True, 32, 32, 8, {"mix_up"})),  # random: all is trained
        ({"pretrained": True, "accum": 2, "size": 48, "sizes": "32,48", "epochs": 2},
         (False, 32, 32, 4, {"gradient_accumulation"})),
    ],
)
def test_search_trains_what_the_first_epoch_does(competition_once, tmp_path, recipe, seen):
    if "pretrained" in recipe:
        recipe["pretrained"] = saved_weights(tmp_path)
    train(competition_once, tmp_path, tiny(lr="find", **recipe), first := FirstBatch())
    assert first.seen == seen


def test_memory_that_falls_short_in_the_search_leaves_the_weights_as_they_were(
    competition_once, tmp_path
):
    recipe = {"lr": "find", "epochs": 2}
    halved = train(competition_once, tmp_path / "halved", tiny(**recipe), Limit(4, since=15))
    given = train(competition_once, tmp_path / "given", tiny(accum=2, **recipe))
    assert halved.history.outcome == given.history.outcome and given.history.outcome["accum"] == 2
    assert torch.equal(flat(halved), flat(given))


def test_card_has_the_rate_and_the_bundle_its_recipe(competition_once, tmp_path):
    variant = tiny(lr="find", tta="none")
    learn = exported(competition_once, tmp_path, variant)
    card, found = bundle.read_card(tmp_path, variant.name), learn.history.search["valley"]
    assert (card["variant"]["lr"], card["training"]["lr"]) == ("find", found)
    assert card["holdout"]["wrong_tta"] == card["holdout"]["wrong_plain"]
    assert bundle.is_done(variant, tmp_path, card["data"])
    assert max(learn.history.recorder.hps["lr"]) == pytest.approx(found, rel=0.1)


def test_a_loss_that_is_never_finite_is_one_line(competition_once, tmp_path):
    variant = tiny(lr="find")
    run = run_of(competition_once, tmp_path, variant)
    learn = begun(run, variant)
    nn.init.constant_(learn.model[1][-1].weight, float("nan"))
    assert "give lr a number" in refusal(fit, learn, variant, run)
