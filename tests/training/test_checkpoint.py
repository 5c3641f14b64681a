"""A killed training resumes after its last epoch and ends as if nothing had happened."""

import json
import signal
from dataclasses import replace

import pytest
import torch
import yaml
from conftest import ROOT, run
from fastai.vision.all import Learner
from small_training import (
    Stop,
    StopAt,
    begun,
    flat,
    interrupted,
    run_of,
    saved_weights,
    tiny,
    train,
)

from src import bundle
from src.bundle import checkpoint_path, versions
from src.core import UserError
from src.training import checkpoint, export, fit, holdout_probs
from src.training.callbacks import finder

pytestmark = pytest.mark.usefixtures("in_this_process")
# Everything that has a state of its own. 3 batches of 8 and steps of 16: at the end of an epoch
# half a step is gathered.
EVERYTHING = {
    "epochs": 3, "freeze_epochs": 2, "accum": 2, "bs": 16, "ema": 0.8, "sampler": "hard",
    "size": 48, "sizes": "32,48", "label_smoothing": 0.1,
}
# Trains in a process of its own, with loader processes, and is killed in its last epoch but one.
KILLED = """
import json, os, signal, sys
sys.path.insert(0, "tests")
import torch
from pathlib import Path
from fastai.vision.all import Callback
from small_training import tiny, train

class Kill(Callback):
    def after_batch(self):
        if self.schedule.done == 3 and self.training and self.iter == 1:
            os.kill(os.getpid(), signal.SIGKILL)

data, recipe, folder = sys.argv[1:]
torch.set_num_threads(1)
train(Path(data), Path(folder), tiny(**json.loads(recipe)), Kill())
"""


# kill -9


def test_killed_training_ends_with_the_weights_of_one_that_was_not(
    competition_once, tmp_path, monkeypatch, capsys
):
    recipe = EVERYTHING | {"pretrained": saved_weights(tmp_path)}
    folders = killed, _ = tmp_path / "killed", tmp_path / "whole"
    done = run("-c", KILLED, str(competition_once), json.dumps(recipe), str(killed))
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    monkeypatch.undo()  # loader processes here, too
    one, other = (train(competition_once, folder, tiny(**recipe)) for folder in folders)
    printed = capsys.readouterr().err
    assert "resuming after epoch 3 of 5" in printed and ".checkpoint:" not in printed
    assert torch.equal(flat(one), flat(other))
    assert [*map(float, one.recorder.losses)] == [*map(float, other.recorder.losses)]
    assert one.recorder.hps == other.recorder.hps and len(one.recorder.losses) == 5 * 3
    assert one.recorder.values[-1][1] == other.recorder.values[-1][1]


# interrupted in other ways

SGDR = {"schedule": "sgdr", "cycles": 2, "cycle_mult": 2}  # 1 + 2 epochs
HEAD = {"precompute": True, "augment": "fast", "freeze_epochs": 2, "ema": 0.5}  # 2 + 1 epochs


@pytest.mark.parametrize(
    ("recipe", "number"),
    [
        ({"epochs": 3}, 0),
        ({"epochs": 3, "sampler": "class", "mixup": 0.4}, 1),
        ({"epochs": 2, "lr": "find"}, 1),
        ({"epochs": 2, "targets": "disease+variety+age", "pretrained": True}, 1),
        (SGDR | {"snapshots": "members"}, 2),  # in the midst of cycle 2
        (SGDR | {"snapshots": "mean"}, 2),
        (HEAD | {"pretrained": True}, 1),  # features once more
        (HEAD | {"pretrained": True}, 2),  # no features any more
    ],
)
def test_stopped_training_resumes_after_its_last_whole_epoch(
    competition_once, tmp_path, monkeypatch, recipe, number
):
    monkeypatch.setattr(finder, "BATCHES", 20)
    if "pretrained" in recipe:
        recipe = recipe | {"pretrained": saved_weights(tmp_path)}
    variant = tiny(**recipe)
    whole = train(competition_once, tmp_path / "whole", variant)
    interrupted(competition_once, tmp_path / "stopped", variant, number)
    monkeypatch.setattr(Learner, "lr_find", lambda *_, **__: pytest.fail("searched again"))
    again = train(competition_once, tmp_path / "stopped", variant, counter := StopAt(None))
    assert counter.trained == 3 * (whole.history.outcome["epochs"] - number)
    assert torch.equal(flat(again), flat(whole))
    assert replace(again.history, seconds=0) == replace(whole.history, seconds=0)
    assert [float(loss) for loss in again.recorder.losses] == [*map(float, whole.recorder.losses)]
    assert again.recorder.iters == whole.recorder.iters


@pytest.mark.parametrize(
    "recipe", [{}, SGDR | {"snapshots": "members"}, SGDR | {"snapshots": "mean"}]
)
def test_finished_training_that_was_not_exported_is_not_trained_again(
    competition_once, tmp_path, recipe
):
    first = train(competition_once, tmp_path, tiny(**recipe))
    again = train(competition_once, tmp_path, tiny(**recipe), counter := StopAt(None))
    assert counter.trained == 0
    assert torch.equal(flat(first), flat(again))


def test_training_that_its_time_limit_ended_is_continued_with_more_time(
    competition_once, tmp_path
):
    short = tiny(epochs=2, time_limit=0.001)
    learn = train(competition_once, tmp_path, short)
    run = run_of(competition_once, tmp_path, short)
    export(learn, short, holdout_probs(learn, short), run)
    assert bundle.read_card(tmp_path, short.name)["training"]["epochs"] == 1
    learn = train(competition_once, tmp_path, tiny(epochs=2), counter := StopAt(None))
    assert (counter.trained, learn.history.outcome["epochs"]) == (3, 2)
    export(learn, short, holdout_probs(learn, short), run)
    assert not checkpoint_path(tmp_path, short.name).exists()


def test_write_that_is_killed_leaves_the_last_checkpoint(
    competition_once, tmp_path, monkeypatch
):
    variant, written = tiny(epochs=3), []

    def torn(state, path):
        written.append(path)
        if len(written) == 3:  # the start, the first epoch, the second
            path.write_bytes(b"PK half of it")
            raise Stop("here")
        save(state, path)

    save = torch.save
    monkeypatch.setattr(torch, "save", torn)
    with pytest.raises(Stop):
        train(competition_once, tmp_path / "torn", variant)
    monkeypatch.undo()
    monkeypatch.setattr("src.vision.loaders.workers", lambda: 0)
    again = train(competition_once, tmp_path / "torn", variant, counter := StopAt(None))
    assert counter.trained == 6
    assert torch.equal(flat(again), flat(train(competition_once, tmp_path / "whole", variant)))


# what is not resumed


@pytest.mark.parametrize("change", [{"lr": 0.02}, {"mixup": 0.4}, {"seed": 7}])
def test_another_recipe_of_the_same_name_starts_over(
    competition_once, tmp_path, monkeypatch, capsys, change
):
    monkeypatch.setattr(type(tiny()), "name", property(lambda _: "same"))
    interrupted(competition_once, tmp_path / "both", tiny(epochs=2), 1)
    train(competition_once, tmp_path / "both", tiny(epochs=2, **change), again := StopAt(None))
    assert again.trained == 6
    assert ".same.checkpoint: recipe, data, code or versions" in capsys.readouterr().err


def test_other_inference_and_more_time_change_nothing(competition_once, tmp_path):
    interrupted(competition_once, tmp_path, tiny(epochs=2), 1)
    more = tiny(epochs=2, time_limit=600, tta="none", views=1)
    train(competition_once, tmp_path, more, again := StopAt(None))
    assert again.trained == 3


def test_other_photographs_start_over(data, tmp_path):
    interrupted(data, tmp_path / "models", tiny(epochs=2), 1)
    path = next((data / "train_images" / "disease_a").glob("*.jpg"))
    path.write_bytes(path.read_bytes() + b"\0")
    train(data, tmp_path / "models", tiny(epochs=2), again := StopAt(None))
    assert again.trained == 6


@pytest.mark.parametrize(
    ("owner", "name", "other"),
    [(checkpoint, "CODE", ("train",)), (versions, "installed", lambda: {"torch": "9.9"}),
     (checkpoint.folds, "digest", lambda _: "another split")],
)
def test_other_code_versions_or_folds_start_over(
    competition_once, tmp_path, monkeypatch, owner, name, other
):
    interrupted(competition_once, tmp_path, tiny(epochs=2), 1)
    monkeypatch.setattr(owner, name, other)
    train(competition_once, tmp_path, tiny(epochs=2), again := StopAt(None))
    assert again.trained == 6


def test_the_wings_that_decide_an_epoch_are_those_that_make_dvc_train_again():
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    deps = {dep for dep in stages["train"]["do"]["deps"] if dep.startswith("src/")}
    assert deps == {f"src/{wing}" for wing in checkpoint.CODE}


@pytest.mark.parametrize("content", [b"", b"\x80\x04N."])
def test_what_is_no_checkpoint_is_written_over(competition_once, tmp_path, content):
    path = checkpoint_path(tmp_path, tiny().name)
    path.write_bytes(content)
    train(competition_once, tmp_path, tiny(), counter := StopAt(None))
    assert counter.trained == 3 and path.stat().st_size > 10_000


def test_checkpoint_runs_no_code_when_it_is_read(competition_once, tmp_path):
    path = checkpoint_path(tmp_path, tiny().name)

    class Evil:
        def __reduce__(self):
            return pytest.fail, ("code was run",)

    torch.save({"key": Evil()}, path)
    train(competition_once, tmp_path, tiny())


def test_checkpoint_is_no_bundle(competition_once, tmp_path):
    interrupted(competition_once, tmp_path, tiny(), 0)
    assert checkpoint_path(tmp_path, tiny().name).is_file()
    assert bundle.names(tmp_path) == []


def test_full_disk_is_one_line(competition_once, tmp_path, monkeypatch):
    def full(*_):
        raise RuntimeError("PytorchStreamWriter failed writing file: No space left\nat 0x7f")

    variant = tiny()
    prepared = run_of(competition_once, tmp_path, variant)
    learn = begun(prepared, variant)
    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(UserError) as error:
        fit(learn, variant, prepared)
    assert "cannot write" in str(error.value) and "\n" not in str(error.value)
