"""A killed training resumes after its last epoch and ends as if nothing had happened."""

import json
import signal

import pytest
import torch
import yaml
from conftest import ROOT, refusal, run
from fastai.vision.all import Callback, Learner
from small_training import StopAt, exported, flat, interrupted, run_of, saved_weights, tiny, train
from torch.amp import GradScaler

from src import bundle, competition
from src.bundle import checkpoint_path, versions
from src.training import checkpoint
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
import json, sys, torch
sys.path.insert(0, "tests")
from pathlib import Path
from small_training import StopAt, tiny, train
data, recipe, folder = sys.argv[1:]
torch.set_num_threads(1)
train(Path(data), Path(folder), tiny(**json.loads(recipe)), StopAt(3, kill=True))
"""


def facts(learn) -> dict:
    """What must not depend on an interruption: weights, curves, history."""
    recorder = learn.recorder
    return {
        "weights": flat(learn).tolist(), "losses": [float(loss) for loss in recorder.losses],
        "values": [list(values) for values in recorder.values], "iters": recorder.iters,
        "hps": recorder.hps,
        "history": vars(learn.history) | {"seconds": 0, "started": "", "recorder": None},
    }


def test_killed_training_ends_as_one_that_was_not(competition_once, tmp_path, monkeypatch, capsys):
    recipe = EVERYTHING | {"pretrained": saved_weights(tmp_path)}
    done = run("-c", KILLED, str(competition_once), json.dumps(recipe), str(tmp_path / "killed"))
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    monkeypatch.undo()  # loader processes here, too
    resumed, whole = (facts(train(competition_once, tmp_path / folder, tiny(**recipe)))
                      for folder in ("killed", "whole"))
    assert "resuming after epoch 3 of 5" in capsys.readouterr().err
    assert resumed == whole and len(whole["losses"]) == 5 * 3


HEAD = {"precompute": True, "augment": "fast", "freeze_epochs": 2, "ema": 0.5}  # 2 + 1 epochs


@pytest.mark.parametrize(
    ("recipe", "number"),
    [
        ({"epochs": 3, "sampler": "class", "mixup": 0.4}, 0),
        ({"epochs": 2, "lr": "find"}, 1),
        ({"epochs": 2, "targets": "disease+variety+age", "pretrained": True}, 1),
        ({"schedule": "sgdr", "cycles": 2, "snapshots": "mean"}, 2),  # in the midst of cycle 2
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
    resumed = train(competition_once, tmp_path / "stopped", variant, counter := StopAt())
    assert counter.trained == 3 * (whole.history.outcome["epochs"] - number)
    assert facts(resumed) == facts(whole)
    again = train(competition_once, tmp_path / "stopped", variant, counter := StopAt())
    assert counter.trained == 0 and torch.equal(flat(again), flat(whole))  # not exported yet


def test_card_of_a_resumed_training_has_all_its_epochs_and_its_first_start(
    competition_once, tmp_path
):
    whole, resumed, variant = tmp_path / "whole", tmp_path / "resumed", tiny(epochs=3)
    exported(competition_once, whole, variant)
    interrupted(competition_once, resumed, variant, 2)
    path = checkpoint_path(resumed, variant.name)
    state = torch.load(path, weights_only=True)
    state["callbacks"]["schedule"] |= {"started": "2020-02-02T02:02:02+00:00", "seconds": [7, 8]}
    torch.save(state, path)
    exported(competition_once, resumed, variant)
    once, card = (bundle.read_card(folder, variant.name) for folder in (whole, resumed))
    assert card["started"] == "2020-02-02T02:02:02+00:00" < once["started"] <= once["created"]
    took = [epoch.pop("seconds") for epoch in card["epochs"]]
    assert took[:2] == [7, 8] and 0 < took[2] < 7
    assert card["seconds"] == pytest.approx(sum(took), abs=0.1)
    assert card["epochs"] == [{k: e[k] for k in e if k != "seconds"} for e in once["epochs"]]


class Scaled(Callback):
    """Scales losses, as fp16 does on CUDA, or as bf16 there has a scaler that does nothing."""

    order = 10

    def __init__(self, enabled):
        self.enabled = enabled

    def before_fit(self):
        self.learn.scaler = GradScaler("cpu", enabled=self.enabled)


@pytest.mark.parametrize("enabled", [True, False])
def test_a_training_is_resumed_on_a_gpu_of_another_precision(competition_once, tmp_path, enabled):
    interrupted(competition_once, tmp_path, tiny(epochs=2), 1, Scaled(enabled))
    train(competition_once, tmp_path, tiny(epochs=2), Scaled(not enabled), counter := StopAt())
    assert counter.trained == 3


def test_training_that_its_time_limit_ended_is_continued_with_more_time(
    competition_once, tmp_path
):
    short = tiny(epochs=2, time_limit=0.001)
    exported(competition_once, tmp_path, short)
    assert bundle.read_card(tmp_path, short.name)["training"]["epochs"] == 1
    learn = exported(competition_once, tmp_path, tiny(epochs=2), counter := StopAt())
    assert (counter.trained, learn.history.outcome["epochs"]) == (3, 2)
    assert not checkpoint_path(tmp_path, short.name).exists()


def test_full_disk_is_one_line_and_leaves_the_last_checkpoint(
    competition_once, tmp_path, monkeypatch
):
    def full(_, path):
        path.write_bytes(b"PK half of it")
        raise RuntimeError("PytorchStreamWriter failed writing file: No space left\nat 0x7f")

    variant, progress = tiny(epochs=2), tmp_path / "progress.json"
    monkeypatch.setenv("PADDY_PROGRESS", str(progress))
    interrupted(competition_once, tmp_path, variant, 1)
    path = checkpoint_path(tmp_path, variant.name)
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        assert "cannot write" in refusal(train, competition_once, tmp_path, variant)
    assert path.read_bytes() == before
    assert json.loads(progress.read_text())["epoch"] == 1  # what a sweep shows can be resumed


# what is not resumed


def test_a_checkpoint_of_another_recipe_is_not_resumed(
    competition_once, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(type(tiny()), "name", property(lambda _: "same"))
    interrupted(competition_once, tmp_path, tiny(epochs=2), 1)
    train(competition_once, tmp_path, tiny(epochs=2, lr=0.02), again := StopAt())
    assert again.trained == 6 and ".same.checkpoint: " in capsys.readouterr().err


def test_its_key_is_of_recipe_split_versions_code_and_photographs(data, tmp_path, monkeypatch):
    def key(**changes):
        variant = tiny(**changes)
        return checkpoint.Checkpoint(variant, run_of(data, tmp_path, variant)).key

    keys = [key(), key(lr=0.02)]
    assert key(time_limit=600, tta="none", views=1) == keys[0]  # no epoch depends on these
    for place, name, value in [
        (competition, "digest", lambda _: "another split"),
        (versions, "installed", lambda: {"torch": "9.9"}),
        (checkpoint, "CODE", ("predict",)),
    ]:
        with monkeypatch.context() as patch:
            patch.setattr(place, name, value)
            keys.append(key())
    path = next((data / "train_images" / "disease_a").glob("*.jpg"))
    path.write_bytes(path.read_bytes() + b"\0")
    assert len({*keys, key()}) == 6


def test_the_wings_that_decide_an_epoch_are_those_that_make_dvc_train_again():
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    deps = {dep for dep in stages["train"]["do"]["deps"] if dep.startswith("src/")}
    assert deps == {f"src/{wing}" for wing in checkpoint.CODE}


class Evil:
    def __reduce__(self):
        return pytest.fail, ("code was run",)


def test_what_is_no_checkpoint_runs_no_code_and_is_written_over(competition_once, tmp_path):
    path = checkpoint_path(tmp_path, tiny().name)
    torch.save({"key": Evil()}, path)
    train(competition_once, tmp_path, tiny(), counter := StopAt())
    assert counter.trained == 3 and path.stat().st_size > 10_000
    assert bundle.names(tmp_path) == []  # a checkpoint is no bundle
    path.write_bytes(b"")
    train(competition_once, tmp_path, tiny(), counter := StopAt())
    assert counter.trained == 3
