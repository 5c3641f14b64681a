"""A training that Kaggle's session cut is continued by the next push."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import papermill
import pytest
from small_bundles import refused
from small_training import train

from src.bundle import checkpoint_path
from src.core import load_variants, make_variant
from src.kaggle_api.kernel import limited
from src.kaggle_api.push import is_cut
from tests.kaggle_kernels import ONE, trained
from tests.kaggle_user import call, run

ROW = "test_resnet_squish_96"  # of the demo: three epochs
HIDDEN = f"models/.{ONE}.checkpoint"
FIRST = f"planted-user/paddy-{ONE.replace('_', '-')}"


def training(epochs: int) -> dict[str, Any]:
    return {"epochs": epochs, "planned": 13}


def sources(kaggle) -> list[tuple[str, list[str]]]:
    """Each pushed kernel with the kernels whose output was attached to it."""
    requests = [body for *_, body in kaggle.called("SaveKernel")]
    return [(body["slug"], body.get("kernelDataSources", [])) for body in requests]


def in_turn(kaggle, *runs) -> None:
    """Let Kaggle play `runs`, one a push: the last state, and what makes the files."""
    waiting = list(runs)

    def play(request: dict[str, Any]) -> dict[str, bytes]:
        state, files = waiting.pop(0)
        kaggle.kernel_states[:] = [state]
        return files(request)

    kaggle.run_kernel = play


@pytest.mark.parametrize(("own", "given"), [(0, 660), (90, 90), (5000, 660)])
def test_a_pushed_training_ends_before_the_session_does(own, given):
    variant = make_variant(time_limit=own)
    assert limited(variant).recipe == {**variant.recipe, "time_limit": given}
    card = {"training": training(7)}
    assert is_cut(variant, card) is (own != given)
    assert not is_cut(variant, {"training": training(13)})


def test_epochs_that_a_session_had_no_time_for_are_trained_by_the_next_push(kaggle, tmp_path):
    in_turn(
        kaggle,
        ("COMPLETE", lambda r: trained(tmp_path, r, training=training(7)) | {HIDDEN: b"7"}),
        ("COMPLETE", lambda r: trained(tmp_path, r, training=training(13))),
    )
    cut, done, again = (run(kaggle, tmp_path, f"push {ONE}") for _ in range(3))
    assert "ended after epoch 7 of 13" in cut.stdout and cut.returncode == 0
    assert f"continues {FIRST} after epoch 7 of 13" in done.stdout and done.returncode == 0
    assert sources(kaggle) == [(FIRST, []), (f"{FIRST}-part-2", [FIRST])]
    assert "finished already" in again.stdout
    models = tmp_path / "work" / "models"
    assert json.loads((models / f"{ONE}.json").read_text())["training"] == training(13)
    assert not list(models.glob(".*"))  # the checkpoint is left to Kaggle


def test_a_checkpoint_is_used_until_there_is_a_later_one(kaggle, tmp_path):
    def deleted(_):
        del kaggle.kernels[FIRST]
        return {}

    in_turn(
        kaggle,
        ("ERROR", lambda _: {HIDDEN: b"1"}),
        ("CANCEL_ACKNOWLEDGED", lambda _: {}),  # with no output
        ("ERROR", deleted),
        ("COMPLETE", lambda request: trained(tmp_path, request)),
    )
    *failed, done = (run(kaggle, tmp_path, f"push {ONE}") for _ in range(4))
    assert all("push it again to continue" in refused(one) for one in failed)
    assert sources(kaggle)[1:] == [(f"{FIRST}-part-2", [FIRST])] * 3
    assert f"begins anew, {FIRST} cannot be attached" in done.stdout and done.returncode == 0


def on_kaggle(kaggle, root: Path, competition: Path, request: dict[str, Any]) -> dict[str, bytes]:
    """Run a pushed notebook in folders laid out as Kaggle's; return its output."""
    inputs, working = root / "input", root / "working"
    (inputs / "competitions").mkdir(parents=True)
    working.mkdir()
    (inputs / "competitions" / "paddy-disease-classification").symlink_to(competition)
    for slug in request.get("kernelDataSources", []):
        for name, content in kaggle.kernels[slug]["files"].items():
            path = inputs / "notebooks" / slug / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    notebook = nbformat.reads(request["text"], 4)
    there = f"from src.competition import mounts\nmounts.KAGGLE_INPUT = Path({str(inputs)!r})"
    notebook.cells.insert(1, nbformat.v4.new_code_cell(there))
    nbformat.write(notebook, root / "pushed.ipynb")
    papermill.execute_notebook(root / "pushed.ipynb", root / "executed.ipynb", cwd=working,
                               kernel_name="python3", progress_bar=False)
    files = [path for path in working.rglob("*") if path.is_file()]
    return {str(path.relative_to(working)): path.read_bytes() for path in files}


@pytest.mark.usefixtures("in_this_process")
def test_a_training_killed_on_kaggle_is_continued_there(
    kaggle, competition_once, tmp_path, monkeypatch
):
    for name in [name for name in os.environ if name.startswith("PADDY_")]:
        monkeypatch.delenv(name)
    row, killed = load_variants()[ROW], tmp_path / "killed"
    train(competition_once, killed, replace(row, time_limit=0.001))  # one epoch
    left = {f"models/.{ROW}.checkpoint": checkpoint_path(killed, ROW).read_bytes()}
    output = SimpleNamespace(files={})

    def continued(request: dict[str, Any]) -> dict[str, bytes]:
        output.files = on_kaggle(kaggle, tmp_path / "kaggle", competition_once, request)
        return output.files

    in_turn(kaggle, ("ERROR", lambda _: left), ("COMPLETE", continued))
    line = [sys.executable, "-m", "src.kaggle_api", "push", ROW, "--every", "0.05"]
    failed, done = call(kaggle, tmp_path, line), call(kaggle, tmp_path, line)
    assert "push it again to continue" in refused(failed)
    assert done.returncode == 0, done.stderr
    executed = (tmp_path / "kaggle" / "executed.ipynb").read_text(encoding="utf-8")
    assert f"{ROW}: resuming after epoch 1 of 3" in executed
    ours = {f"{ROW}.{end}" for end in ("json", "pkl", "valid.parquet", "test.parquet")}
    (folds,) = {Path(name).name for name in output.files} - ours - {"push.json"}
    assert folds.startswith("folds_") and len(output.files) == 6
    assert {path.name for path in (tmp_path / "work" / "models").iterdir()} == ours | {folds}
    card = json.loads((tmp_path / "work" / "models" / f"{ROW}.json").read_text())
    assert (card["training"]["epochs"], card["variant"]) == (3, row.recipe)
