"""PADDY_TRACK: a library that gets the epochs of a training, and never stops one."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from conftest import refusal
from fastai.vision.all import Callback
from small_training import exported, flat, interrupted, tiny, train

from src.training import start
from src.training.callbacks import epochs

pytestmark = pytest.mark.usefixtures("in_this_process")


class Logged(Callback):
    """A library's callback; with `fails` its service goes away in the first epoch."""

    def __init__(self, live):
        self.live = live

    def after_epoch(self):
        if self.live.fails:
            raise ConnectionError("no route\nto host")
        self.live.epochs.append(len(self.recorder.values))


@pytest.fixture
def dvclive(monkeypatch):
    """A stand-in with dvclive's names: it is an extra, not installed for tests."""
    live = SimpleNamespace(fails=False, epochs=[], summary={}, params={}, ended=0, opened=[])
    live.log_params, live.make_summary = live.params.update, lambda: None

    def open_live(folder, **options):
        live.opened.append((folder, options["resume"]))
        return live

    library, room = ModuleType("dvclive"), ModuleType("dvclive.fastai")
    library.Live, room.DVCLiveCallback = open_live, lambda live: Logged(live)
    monkeypatch.setitem(sys.modules, "dvclive", library)
    monkeypatch.setitem(sys.modules, "dvclive.fastai", room)
    monkeypatch.setenv("PADDY_TRACK", "dvclive")
    return live


@pytest.fixture
def wandb(monkeypatch):
    """A stand-in with what fastai's own WandbCallback and this project use of wandb."""
    library = ModuleType("wandb")
    library.run, library.logged, library.opened, library.ended = None, [], [], []
    library.config = SimpleNamespace(update=lambda values, allow_val_change: None)
    library.Settings = lambda **options: options
    library.refuses = ""

    def init(**options):
        if library.refuses:
            raise RuntimeError(library.refuses)
        library.opened.append(options)
        library.run = SimpleNamespace(step=0, summary={}, finish=lambda: library.ended.append(1))
        return library.run

    library.init = init
    library.log = lambda values, step=None: library.logged.append(values)
    monkeypatch.setitem(sys.modules, "wandb", library)
    monkeypatch.setenv("PADDY_TRACK", "wandb")
    yield library
    sys.modules.pop("fastai.callback.wandb", None)  # which has the stand-in


def test_wandb_gets_epochs_recipe_and_final_errors(competition_once, tmp_path, monkeypatch, wandb):
    monkeypatch.setenv("PADDY_WORK", str(tmp_path))
    variant = tiny(epochs=2)
    exported(competition_once, tmp_path / "models", variant)
    (opened,) = wandb.opened
    assert opened["name"] == variant.name and opened["config"] == variant.recipe
    assert opened["dir"] == tmp_path / "tracked" and opened["dir"].is_dir()
    epochs = [values["epoch"] for values in wandb.logged if set(values) == {"epoch"}]
    assert epochs == [1, 2] and len([v for v in wandb.logged if "valid_loss" in v]) == 2
    assert wandb.run.summary["images"] == 6 and "wrong_tta" in wandb.run.summary
    assert wandb.ended == [1]


def test_wandb_without_an_account_is_one_line_and_the_training_goes_on(
    competition_once, tmp_path, monkeypatch, capsys, wandb
):
    monkeypatch.setenv("PADDY_WORK", str(tmp_path))
    wandb.refuses = "No API key configured.\nUse `wandb login` to log in."
    exported(competition_once, tmp_path / "models", tiny(epochs=2))
    said = [line for line in capsys.readouterr().err.splitlines() if "wandb" in line]
    assert said == [f"{tiny().name}: wandb: No API key configured. Use `wandb login` to log in.; "
                    "training goes on untracked"]
    assert wandb.logged == [] and (tmp_path / "models" / f"{tiny().name}.json").is_file()


def test_epochs_recipe_and_final_errors_are_told(competition_once, tmp_path, monkeypatch, dvclive):
    monkeypatch.setenv("PADDY_WORK", str(tmp_path))
    variant = tiny(epochs=2)
    exported(competition_once, tmp_path / "models", variant)
    assert len(dvclive.epochs) == 2 and dvclive.params == variant.recipe
    assert dvclive.summary.keys() >= {"wrong_plain", "wrong_tta"} and dvclive.summary["images"] == 6
    assert dvclive.opened == [(str(tmp_path / "tracked" / "dvclive" / variant.name), False)]


def test_a_resumed_training_goes_on_where_its_tracker_was(competition_once, tmp_path, dvclive):
    interrupted(competition_once, tmp_path, tiny(epochs=3), 1)
    train(competition_once, tmp_path, tiny(epochs=3))
    assert [resume for _, resume in dvclive.opened] == [False, True]
    assert len(dvclive.epochs) == 3 and dvclive.step == 1  # the first of the second part


def test_a_service_that_goes_away_is_said_once_and_changes_nothing(
    competition_once, tmp_path, monkeypatch, capsys, dvclive
):
    dvclive.fails = True
    learn = exported(competition_once, tmp_path / "tracked", tiny(epochs=2))
    said = capsys.readouterr().err
    assert said.count("dvclive: no route to host; training goes on untracked") == 1
    assert said.count("untracked") == 1 and dvclive.summary == {}
    monkeypatch.delenv("PADDY_TRACK")
    plain = exported(competition_once, tmp_path / "plain", tiny(epochs=2))
    assert torch.equal(flat(learn), flat(plain))


@pytest.mark.parametrize("name", ["dvclive", "wandb"])
def test_a_library_that_is_not_installed_is_one_line_before_any_work(
    data, tmp_path, monkeypatch, name
):
    monkeypatch.setenv("PADDY_TRACK", name)
    monkeypatch.setitem(sys.modules, name, None)  # also where it is installed
    said = refusal(start, tiny(), str(data), str(tmp_path / "models"), "paddy_train", False)
    assert said.startswith(f"PADDY_TRACK={name}: ") and f"pip install -e '.[{name}]'" in said
    assert not (tmp_path / "models").exists()


def test_an_unknown_tracker_is_named_with_the_nearest(monkeypatch):
    monkeypatch.setenv("PADDY_TRACK", "wandbb")
    assert "did you mean 'wandb'?" in refusal(epochs.require_tracker)
