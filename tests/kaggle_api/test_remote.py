"""Kernels through the real client and the stand-in: pushed once, followed, and fetched whole."""

import json
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from src.core import ROOT, UserError, load_variants
from src.kaggle_api import install, kernel
from src.kaggle_api import push as pushing
from tests.kaggle_kernels import ONE, TWO, trained
from tests.kaggle_stand_in import StandIn
from tests.kaggle_user import command, folder_of, refusal, run, run_each


@pytest.fixture
def kaggle(kaggle: StandIn, tmp_path: Path) -> StandIn:
    kaggle.run_kernel = lambda request: trained(tmp_path, request)
    return kaggle


def push(kaggle: StandIn, home: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return run(kaggle, home, "push", *(args or [ONE]))


def models(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "work" / "models").glob("*"))


def test_a_bundle_comes_home_whole_and_differing_versions_are_said(kaggle, tmp_path):
    done, again = run_each(kaggle, tmp_path, *[f"push {ONE}"] * 2)
    assert done.returncode == 0, done.stderr
    endings = (".json", ".pkl", ".test.parquet", ".valid.parquet")
    assert models(tmp_path) == [f"{ONE}{ending}" for ending in endings]
    assert f"torch 2.6.0 (here {version('torch').split('+')[0]})" in done.stdout
    assert "timm" not in done.stdout and "running" in done.stdout
    card = json.loads((tmp_path / "work" / "models" / f"{ONE}.json").read_text())
    assert card["variant"] == load_variants()[ONE].recipe  # without the limit of Kaggle's session
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    assert card["commit"] == head.stdout.strip() != ""
    assert "finished already" in again.stdout and len(kaggle.called("SaveKernel")) == 1


def test_a_kernel_that_fails_tells_its_last_words_and_can_be_pushed_again(kaggle, tmp_path):
    kaggle.kernel_states = ["RUNNING", "ERROR"]
    line = refused(push(kaggle, tmp_path))
    assert "Your notebook hit an error" in line and "its last words" in line
    kaggle.kernel_states = ["COMPLETE"]
    assert push(kaggle, tmp_path).returncode == 0
    assert len(kaggle.called("SaveKernel")) == 2 and len(models(tmp_path)) == 4


DAMAGES = {
    f"models/{ONE}.pkl": "sha256",
    f"models/{ONE}.json": "no model card",
    f"models/{ONE}.valid.parquet": "parquet",
    f"models/{ONE}.test.parquet": "parquet",
    "push.json": "this push",
}


def test_output_that_is_not_whole_never_reaches_the_models(kaggle, tmp_path):
    assert "sha256" in refused(fetched_damaged(kaggle, tmp_path, f"models/{ONE}.pkl"))
    assert models(tmp_path) == []
    output = tmp_path / "work" / "notebooks" / "runs" / "kaggle" / ONE / "output"
    whole = kaggle.run_kernel(kaggle.called("SaveKernel")[0][2])
    for name, said in DAMAGES.items():
        for path, content in whole.items():
            (output / path).write_bytes(b"b" * len(content) if path == name else content)
        push = json.loads(whole["push.json"])["push"]
        with pytest.raises(UserError, match=said):
            install.check(load_variants()[ONE], output, push)


def fetched_damaged(kaggle: StandIn, home: Path, name: str) -> subprocess.CompletedProcess[str]:
    """The push of a kernel whose file `name` arrives with other bytes."""
    whole = kaggle.run_kernel
    kaggle.run_kernel = lambda r: whole(r) | {name: b"b" * len(whole(r)[name])}
    done = push(kaggle, home)
    kaggle.run_kernel = whole
    return done


def test_a_row_changed_while_kaggle_trained_is_said_and_pushed_again(tmp_path, monkeypatch):
    monkeypatch.setenv("PADDY_WORK", str(tmp_path / "work"))
    variant = load_variants()[ONE]
    folder, number = kernel.kernels_dir() / ONE, "0" * 32
    older = {**variant.recipe, "epochs": 99}
    text = f'push\\": \\"{number}'
    made = trained(tmp_path, {"slug": ONE.replace("_", "-"), "text": text}, variant=older)
    for name, content in made.items():
        path = folder / "output" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (folder / "pushed.json").write_text(json.dumps({"push": number}))
    with pytest.raises(UserError, match="another recipe"):
        install.install(variant, kernel.read_note(kernel.PUSHED, ONE))
    assert models(tmp_path) == [] and not (folder / "pushed.json").exists()


def test_variants_wait_their_turn_when_kaggle_runs_only_so_many(kaggle, tmp_path):
    kaggle.session_limit = 1
    done = push(kaggle, tmp_path, ONE, TWO)
    assert done.returncode == 0, done.stderr
    assert "Maximum batch GPU session count of 1 reached" in done.stdout
    assert {f"{ONE}.json", f"{TWO}.json"} < set(models(tmp_path))


def test_one_failure_does_not_stop_the_others(kaggle, tmp_path):
    whole = kaggle.run_kernel
    kaggle.run_kernel = lambda r: {} if "squish" in r["slug"] else whole(r)
    line = refused(push(kaggle, tmp_path, ONE, TWO))
    assert "1 of 2" in line and ONE in line and f"{TWO}.json" in models(tmp_path)


def test_a_command_that_was_killed_follows_the_kernel_it_pushed(kaggle, tmp_path):
    kaggle.kernel_states = ["RUNNING"]
    places = {"PADDY_DATA": str(folder_of(tmp_path)), "PADDY_WORK": str(tmp_path / "work")}
    process = subprocess.Popen(command("push", ONE), env=kaggle.env(tmp_path, **places), cwd=ROOT,
                               text=True, stdout=subprocess.PIPE)
    assert any("running" in line for line in process.stdout)
    process.kill()
    process.wait()
    kaggle.kernels["planted-user/paddy-vit-small-squish-224"]["states"] = ["COMPLETE"]
    done = push(kaggle, tmp_path)
    assert "pushed by an earlier call" in done.stdout and done.returncode == 0
    assert len(kaggle.called("SaveKernel")) == 1 and len(models(tmp_path)) == 4


def test_what_kaggle_will_not_run_is_one_line(kaggle, tmp_path):
    kaggle.troubles["SaveKernel"] = [(403, "Phone verification is required")]
    results = run_each(kaggle, tmp_path, f"push {ONE}", "push vit_smal_squish_224",
                       f"push {ONE} --no-internet")
    said = ["verify your phone number at", "did you mean 'vit_small_squish_224'", "--dataset"]
    for words, done in zip(said, results, strict=True):
        assert words in refused(done)
    assert kaggle.kernels == {} and models(tmp_path) == []


def test_a_row_named_twice_is_refused_before_kaggle_is_asked(monkeypatch):
    monkeypatch.setattr(pushing, "client", lambda: pytest.fail("pushed"))
    with pytest.raises(UserError, match=f"{ONE} is given twice"):
        pushing.push([ONE, TWO, ONE], [], None, 1)
