"""Once from the download to the score in the ledger, a killed training on Kaggle in between."""

import io
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from small_bundles import refused
from small_training import train

from src import bundle
from src.core import load_variants
from tests.conftest import draw_competition
from tests.kaggle_user import SLUG, call, folder_of, run, zip_of

ROW = "tf_efficientnet_lite0_squish_96"  # of the demo


def kaggles_machine(kaggle, home, request):
    """Run a pushed notebook in folders laid out as Kaggle's; return its output."""
    inputs, working = home / "input", home / "working"
    (inputs / "competitions").mkdir(parents=True)
    working.mkdir()
    (inputs / "competitions" / SLUG).symlink_to(folder_of(home))
    for slug in request["kernelDataSources"]:
        for name, content in kaggle.kernels[slug]["files"].items():
            path = inputs / "notebooks" / slug / name
            path.parent.mkdir(parents=True)
            path.write_bytes(content)
    notebook = nbformat.reads(request["text"], 4)
    there = f"from src.competition import mounts\nmounts.KAGGLE_INPUT = Path({str(inputs)!r})"
    notebook.cells.insert(1, nbformat.v4.new_code_cell(there))
    nbformat.write(notebook, home / "pushed.ipynb")
    env = {k: v for k, v in os.environ.items() if not k.startswith(("KAGGLE_", "PADDY_"))}
    env |= {"OMP_NUM_THREADS": "1", "TMPDIR": str(home)}
    env |= {"PYTHONPATH": ""}  # the package comes out of the notebook
    line = [sys.executable, "-m", "papermill", home / "pushed.ipynb", home / "executed.ipynb"]
    done = subprocess.run(line, env=env, cwd=working, text=True, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    files = [path for path in working.rglob("*") if path.is_file()]
    return {str(path.relative_to(working)): path.read_bytes() for path in files}


def kaggles_marks(answers, csv):
    """The share of right answers as Kaggle shows it: whole images, five digits, the rest cut."""
    labels = pd.read_csv(io.BytesIO(csv)).set_index("image_id").label
    right = float((labels.loc[answers.index] == answers).mean())
    cut = [int(1e5 * round(right * images) / images) / 1e5 for images in (2601, 868)]
    return f"{cut[0]:.5f}", f"{cut[1]:.5f}"


@pytest.mark.usefixtures("in_this_process")
def test_the_whole_loop_from_download_to_the_score_in_the_ledger(kaggle, tmp_path):
    drawn = draw_competition(tmp_path / "drawn", each=60)
    answers = pd.read_csv(drawn / "solution.csv").set_index("image_id").label
    paths = [path for path in drawn.rglob("*") if path.is_file() and path.stem != "solution"]
    kaggle.archive = zip_of({str(p.relative_to(drawn)): p.read_bytes() for p in paths})
    kaggle.mark = lambda csv: kaggles_marks(answers, csv)
    assert run(kaggle, tmp_path, "download").returncode == 0

    row, killed = load_variants()[ROW], tmp_path / "killed"
    train(folder_of(tmp_path), killed, replace(row, time_limit=0.001))  # one epoch
    left = {f"models/.{ROW}.checkpoint": bundle.checkpoint_path(killed, ROW).read_bytes()}
    kaggle.kernel_states, kaggle.run_kernel = ["ERROR"], lambda request: left
    assert "push it again to continue" in refused(run(kaggle, tmp_path, f"push {ROW}"))
    kaggle.kernel_states = ["RUNNING", "COMPLETE"]
    kaggle.run_kernel = lambda request: kaggles_machine(kaggle, tmp_path, request)
    done = run(kaggle, tmp_path, f"push {ROW}")
    assert done.returncode == 0 and "running" in done.stdout, done.stderr
    executed = (tmp_path / "executed.ipynb").read_text(encoding="utf-8")
    assert f"{ROW}: resuming after epoch 1 of 4" in executed
    models = tmp_path / "work" / "models"
    output = {path.name for path in (tmp_path / "working").rglob("*") if path.is_file()}
    (folds,) = models.glob("folds_*")
    ours = {f"{ROW}.{end}" for end in ("json", "pkl", "valid.parquet", "test.parquet")}
    assert output == {path.name for path in models.iterdir()} | {"push.json"}
    assert output == ours | {folds.name, "push.json"}
    card = bundle.read_card(models, ROW)
    facts = card["training"]["epochs"], card["variant"], card["notebook"]
    assert facts == (4, row.recipe, "paddy_train")

    done = call(kaggle, tmp_path, [sys.executable, "-m", "src.ensemble"])
    assert done.returncode == 0, done.stdout + done.stderr
    pasted = done.stdout.strip().splitlines()[-1]
    sent = run(kaggle, tmp_path, "submit paddy_train")
    assert sent.returncode == 0, sent.stderr
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    plain = call(kaggle, tmp_path, ["sh", "-c", pasted], PATH=path, VERBOSE="")
    assert "Successfully submitted" in plain.stdout, plain.stderr
    kaggle.score_after = 0
    board = run(kaggle, tmp_path, "scores")
    table = pd.read_csv(tmp_path / "work" / "submissions" / "ledger.csv", dtype=str)
    score = kaggles_marks(answers, next(iter(kaggle.uploads.values())))[0]
    assert list(table.public) == [score, score], board.stderr
    assert {*table.members} == {ROW} and table.holdout_images.notna().all()
    assert "images right of 2,601 public" in board.stdout
