"""Once from the download to the score in the ledger, the training on the stand-in's own machine."""

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from src import bundle
from src.core import ROOT
from tests.conftest import draw_competition
from tests.kaggle_user import call, folder_of, run, zip_of

VARIANT = "test_resnet_squish_32"
ROW = "{arch: test_resnet, item_size: 48, size: 32, epochs: 1, bs: 8, pretrained: false, views: 2}"


def repository_with_a_tiny_row(folder: Path) -> Path:
    """A copy of what runs, with one more row in params.yaml."""
    for name in ("src", "notebooks"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("runs", "__*__"))
    text = (ROOT / "params.yaml").read_text()
    row = f"\nvariants:\n  {VARIANT}: {ROW}\n"
    (folder / "params.yaml").write_text(text.replace("\nvariants:\n", row))
    return folder


def kaggles_machine(home: Path, request: dict[str, Any]) -> dict[str, bytes]:
    """What Kaggle does with a kernel: run the notebook it got, and nothing else, in a folder."""
    working = home / "kaggle_working"
    working.mkdir()
    notebook = home / "__notebook__.ipynb"
    notebook.write_text(request["text"])
    own = {k: v for k, v in os.environ.items() if not k.startswith(("KAGGLE_", "PADDY_"))}
    env = own | {"PADDY_DATA": str(folder_of(home)), "OMP_NUM_THREADS": "1"}
    env |= {"PYTHONPATH": "", "TMPDIR": str(home)}  # the package comes out of the notebook
    done = subprocess.run(
        [sys.executable, "-m", "papermill", str(notebook), str(home / "results.ipynb")],
        env=env, cwd=working, text=True, capture_output=True, timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    files = [path for path in working.rglob("*") if path.is_file()]
    return {str(path.relative_to(working)): path.read_bytes() for path in files}


def kaggles_marks(answers: pd.Series, csv: bytes) -> tuple[str, str]:
    """The share of right answers as Kaggle shows it: whole images, five digits, the rest cut."""
    labels = pd.read_csv(io.BytesIO(csv)).set_index("image_id").label
    right = float((labels.loc[answers.index] == answers).mean())
    cut = [int(1e5 * round(right * images) / images) / 1e5 for images in (2601, 868)]
    return f"{cut[0]:.5f}", f"{cut[1]:.5f}"


def test_the_whole_loop_from_download_to_the_score_in_the_ledger(kaggle, tmp_path):
    repository = repository_with_a_tiny_row(tmp_path / "repository")
    drawn = draw_competition(tmp_path / "drawn", each=48)
    answers = pd.read_csv(drawn / "solution.csv").set_index("image_id").label
    paths = [path for path in drawn.rglob("*") if path.is_file() and path.stem != "solution"]
    kaggle.archive = zip_of({str(p.relative_to(drawn)): p.read_bytes() for p in paths})
    kaggle.run_kernel = lambda request: kaggles_machine(tmp_path, request)
    kaggle.mark = lambda csv: kaggles_marks(answers, csv)
    assert run(kaggle, tmp_path, "download").returncode == 0

    line = [sys.executable, "-m", "src.kaggle_api", "push", VARIANT, "--every", "0.05"]
    done = call(kaggle, tmp_path, line, cwd=repository)
    assert done.returncode == 0, done.stderr
    assert "running" in done.stdout and "hold-out" in done.stdout
    models = tmp_path / "work" / "models"
    card = bundle.read_card(models, VARIANT)
    assert card["notebook"] == "paddy_train" and card["variant"]["size"] == 32
    suffixes = {path.name.removeprefix(VARIANT) for path in models.glob(f"{VARIANT}*")}
    assert suffixes == {".json", ".pkl", ".valid.parquet", ".test.parquet"}

    done = call(kaggle, tmp_path, [sys.executable, "-m", "src.ensemble"])
    assert done.returncode == 0, done.stdout + done.stderr
    pasted = done.stdout.strip().splitlines()[-1]
    sent = run(kaggle, tmp_path, "submit paddy_train")
    assert sent.returncode == 0, sent.stderr

    assert pasted.startswith("kaggle competitions submit -c paddy-disease-classification -f ")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    plain = call(kaggle, tmp_path, ["sh", "-c", pasted], PATH=path, VERBOSE="")
    assert "Successfully submitted" in plain.stdout, plain.stderr
    kaggle.score_after = 0
    board = run(kaggle, tmp_path, "scores")
    table = pd.read_csv(tmp_path / "work" / "submissions" / "ledger.csv", dtype=str)
    rows = table.to_dict("records")
    score = kaggles_marks(answers, next(iter(kaggle.uploads.values())))[0]
    assert [row["public"] for row in rows] == [score, score], board.stderr
    assert {row["members"] for row in rows} == {VARIANT} and rows[0]["holdout_images"] != ""
    assert "images right of 2,601 public" in board.stdout
