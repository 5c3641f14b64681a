"""Kernels through the real client and the stand-in: pushed, followed, fetched, continued."""

import json
import subprocess
from importlib.metadata import version

import pytest
from small_bundles import refused

from src.core import ROOT, load_variants, make_variant
from src.kaggle_api.kernel import limited
from src.kaggle_api.push import is_cut
from tests.kaggle_kernels import ONE, TWO, trained
from tests.kaggle_user import run, start

OLD = "someone/old-kernel"
FIRST = f"planted-user/paddy-{ONE.replace('_', '-')}"
LEFT = {f"models/.{ONE}.checkpoint": b"state"}


@pytest.fixture
def kaggle(kaggle, tmp_path):
    kaggle.run_kernel = lambda request: trained(tmp_path, request)
    return kaggle


def push(kaggle, home, words=ONE):
    return run(kaggle, home, f"push {words}")


def card_of(home):
    return json.loads((home / "work" / "models" / f"{ONE}.json").read_text())


def models(home):
    return sorted(path.name for path in (home / "work" / "models").glob("*"))


def test_a_bundle_is_fetched_whole_and_differing_versions_are_named(kaggle, tmp_path):
    done, again = push(kaggle, tmp_path), push(kaggle, tmp_path)
    assert done.returncode == 0, done.stderr
    endings = (".json", ".pkl", ".test.parquet", ".valid.parquet")
    assert models(tmp_path) == [f"{ONE}{ending}" for ending in endings]
    assert f"torch 2.6.0 (here {version('torch').split('+')[0]})" in done.stdout
    assert "timm" not in done.stdout and "running" in done.stdout
    card = card_of(tmp_path)
    assert card["variant"] == load_variants()[ONE].recipe  # without the limit of Kaggle's session
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    assert card["commit"] == head.stdout.strip() != ""
    assert "finished already" in again.stdout and len(kaggle.called("SaveKernel")) == 1


def test_a_kernel_that_fails_names_its_error_and_its_log_and_can_be_pushed_again(kaggle, tmp_path):
    kaggle.kernel_states = ["RUNNING", "ERROR"]
    line = refused(push(kaggle, tmp_path))
    assert "(Your notebook hit an error): RuntimeError: out of memory; its log is at" in line
    (log,) = tmp_path.rglob("kernel.log")
    assert "https://www.kaggle.com/code/" in line and str(log) in line
    assert "the last line" in log.read_text()
    kaggle.kernel_states = ["COMPLETE"]
    assert push(kaggle, tmp_path).returncode == 0 and len(models(tmp_path)) == 4


@pytest.mark.parametrize(("name", "expected"), [
    (f"models/{ONE}.pkl", "sha256"),
    (f"models/{ONE}.json", "no model card"),
    (f"models/{ONE}.test.parquet", "parquet"),
    ("push.json", "this push"),
])  # fmt: skip
def test_output_that_is_not_whole_never_reaches_the_models(kaggle, tmp_path, name, expected):
    whole = kaggle.run_kernel
    other = b'{"push": "0"}'
    kaggle.run_kernel = lambda r: whole(r) | {name: other.ljust(len(whole(r)[name]))}
    assert expected in refused(push(kaggle, tmp_path))
    assert models(tmp_path) == []


def test_a_row_changed_while_kaggle_trained_is_refused_and_pushed_again(kaggle, tmp_path):
    older = {**load_variants()[ONE].recipe, "epochs": 99}
    kaggle.run_kernel = lambda request: trained(tmp_path, request, variant=older)
    assert "another recipe" in refused(push(kaggle, tmp_path)) and models(tmp_path) == []
    kaggle.run_kernel = lambda request: trained(tmp_path, request)
    assert push(kaggle, tmp_path).returncode == 0 and len(kaggle.called("SaveKernel")) == 2


def test_variants_wait_their_turn_and_one_failure_does_not_stop_the_others(kaggle, tmp_path):
    whole, kaggle.session_limit = kaggle.run_kernel, 1
    kaggle.run_kernel = lambda r: {} if "squish" in r["slug"] else whole(r)
    done = push(kaggle, tmp_path, f"{ONE} {TWO}")
    line = refused(done)
    assert "Maximum batch GPU session count of 1 reached" in done.stdout
    assert "1 of 2" in line and ONE in line and f"{TWO}.json" in models(tmp_path)


def test_a_command_that_was_killed_follows_the_kernel_it_pushed(kaggle, tmp_path):
    kaggle.kernel_states = ["RUNNING"]
    process = start(kaggle, tmp_path, f"push {ONE} --every 0.05")
    assert any("running" in line for line in process.stdout)
    process.kill()
    process.communicate()
    kaggle.kernels[FIRST]["states"] = ["COMPLETE"]
    done = push(kaggle, tmp_path)
    assert done.returncode == 0 and "complete" in done.stdout
    assert len(kaggle.called("SaveKernel")) == 1 and len(models(tmp_path)) == 4


def test_a_kernel_that_an_older_version_pushed_is_followed_and_continued(kaggle, tmp_path):
    """By its pushed.json and NAME.cut.json."""
    files = trained(tmp_path, {"slug": "vit-small-squish-224", "text": f'push\\": \\"{"0" * 32}'})
    kaggle.kernels[OLD] = {"states": ["COMPLETE"], "files": files}
    notes = tmp_path / "work" / "notebooks" / "runs" / "kaggle"
    (notes / ONE).mkdir(parents=True)
    facts = {"push": "0" * 32, "kernel": OLD, "part": 1, "commit": "c" * 40, "dirty": False}
    (notes / ONE / "pushed.json").write_text(json.dumps(facts | {"url": "https://old"}))
    cut = {"kernel": OLD, "part": 3, "after": "after epoch 7 of 13"}
    (notes / f"{TWO}.cut.json").write_text(json.dumps(cut))
    done = push(kaggle, tmp_path, f"{ONE} {TWO}")
    assert done.returncode == 0, done.stderr
    ((_, _, request),) = kaggle.called("SaveKernel")
    assert request["slug"].endswith("part-4") and request["kernelDataSources"] == [OLD]
    assert card_of(tmp_path)["commit"] == "c" * 40 and len(models(tmp_path)) == 8


@pytest.mark.parametrize(("words", "expected"), [
    (ONE, "verify your phone number at"),
    (f"{ONE} --no-internet", "--dataset"),
    (f"{ONE} {TWO} {ONE}", f"{ONE} is given twice"),
])  # fmt: skip
def test_what_kaggle_will_not_run_is_one_line(kaggle, tmp_path, words, expected):
    kaggle.troubles["SaveKernel"] = [(403, "Phone verification is required")]
    assert expected in refused(push(kaggle, tmp_path, words))
    assert kaggle.kernels == {} and models(tmp_path) == []


# Trainings that Kaggle's session cuts


def training(epochs):
    return {"epochs": epochs, "planned": 13}


def sources(kaggle):
    """Each pushed kernel with the kernels whose output was attached to it."""
    requests = [body for *_, body in kaggle.called("SaveKernel")]
    return [(body["slug"], body.get("kernelDataSources", [])) for body in requests]


@pytest.mark.parametrize("own, given", [(0, 660), (90, 90), (5000, 660)])
def test_a_pushed_training_ends_before_the_session_does(own, given):
    variant = make_variant(time_limit=own)
    assert limited(variant).recipe == {**variant.recipe, "time_limit": given}
    assert is_cut(variant, {"training": training(7)}) is (own != given)
    assert not is_cut(variant, {"training": training(13)})


def test_epochs_that_a_session_had_no_time_for_are_trained_by_the_next_push(kaggle, tmp_path):
    kaggle.run_kernel = lambda r: trained(tmp_path, r, training=training(7)) | LEFT
    cut = push(kaggle, tmp_path)
    kaggle.run_kernel = lambda r: trained(tmp_path, r, training=training(13))
    done, again = push(kaggle, tmp_path), push(kaggle, tmp_path)
    assert "ended after epoch 7 of 13" in cut.stdout and cut.returncode == 0
    assert f"continues {FIRST} after epoch 7 of 13" in done.stdout and done.returncode == 0
    assert sources(kaggle) == [(FIRST, []), (f"{FIRST}-part-2", [FIRST])]
    assert "finished already" in again.stdout
    assert card_of(tmp_path)["training"] == training(13)
    assert len(models(tmp_path)) == 4  # the checkpoint is left to Kaggle


def test_a_checkpoint_is_used_until_there_is_a_later_one(kaggle, tmp_path):
    whole = kaggle.run_kernel
    for state, files in (("ERROR", LEFT), ("CANCEL_ACKNOWLEDGED", {}), ("ERROR", {})):
        kaggle.kernel_states, kaggle.run_kernel = [state], lambda _, files=files: files
        assert "push it again to continue" in refused(push(kaggle, tmp_path))
    del kaggle.kernels[FIRST]
    kaggle.kernel_states, kaggle.run_kernel = ["COMPLETE"], whole
    done = push(kaggle, tmp_path)
    assert sources(kaggle)[1:] == [(f"{FIRST}-part-2", [FIRST])] * 3
    assert f"starts over, {FIRST} cannot be attached" in done.stdout and done.returncode == 0
