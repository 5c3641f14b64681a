"""The daily loop against the stand-in: another vote is sent, the file sent before stays."""

import signal
import subprocess
import sys

import pandas as pd
import pytest
from conftest import draw_competition
from small_bundles import CLASSES, bundle_in, call, refused, sure, three_in

from src.core import ROOT, sha256
from src.ensemble.__main__ import main as ensemble
from src.submission import sent
from tests.kaggle_user import environment, folder_of, run

SUBMIT = "submit paddy_train"
KILLED = """
import os, signal, sys
from src.kaggle_api import submit
from src.kaggle_api.__main__ import main
submit._find_entry = lambda *words: os.kill(os.getpid(), signal.SIGKILL)  # after the upload
sys.argv = ["", "submit", "paddy_train"]
main()
"""


@pytest.fixture
def csv(tmp_path, monkeypatch):
    """The first day's submission, which three models voted for."""
    data = draw_competition(folder_of(tmp_path), test=30)
    monkeypatch.setenv("PADDY_DATA", str(data))
    monkeypatch.setenv("PADDY_WORK", str(tmp_path / "work"))
    three_in(tmp_path / "work" / "models", data)
    assert call(ensemble).returncode == 0
    return tmp_path / "work" / "submissions" / "paddy_train.csv"


def vote_again(csv):
    """One more model, which changes the labels of two images; `python -m src.ensemble` again."""
    labels = pd.read_csv(csv).set_index("image_id").label
    labels.iloc[:2] = [next(name for name in CLASSES if name != label) for label in labels[:2]]
    test = sure(dict(labels), CLASSES, 0.9)
    bundle_in(csv.parents[1] / "models", folder_of(csv.parents[2]), "another_vit", test=test)
    done = call(ensemble, "--weights", "another_vit=9")
    assert done.returncode == 0, done.stderr
    assert pd.read_csv(csv).label.tolist() == labels.tolist()


def sent_bytes():
    """The content of the copies, sorted: within one second they are not named in order."""
    return sorted(path.read_bytes() for path in sent.copies())


def test_the_second_day_needs_no_new_name_and_leaves_what_was_sent(kaggle, tmp_path, csv):
    first = csv.read_bytes()
    done, twice = (run(kaggle, tmp_path, SUBMIT) for _ in range(2))
    assert done.returncode == 0, done.stderr
    time = kaggle.submissions[0]["date"][:16].replace("T", " ")
    line = refused(twice)
    assert f"were sent already, on {time} UTC as paddy_train.csv, public score 0.98769" in line
    assert "--again" in line and len(kaggle.uploads) == 1

    vote_again(csv)
    second = csv.read_bytes()
    kaggle.mark = lambda csv: ("0.98885", "0.98847")
    done, board = run(kaggle, tmp_path, SUBMIT), run(kaggle, tmp_path, "scores")
    assert done.returncode == board.returncode == 0, done.stderr + board.stderr
    assert list(kaggle.uploads.values()) == [first, second]
    assert sent_bytes() == sorted([first, second])
    assert "2,572 ± 5.4" in board.stdout and "2,569 ± 5.6" in board.stdout
    table = pd.read_csv(csv.parent / "ledger.csv", dtype=str)
    assert list(table.public) == ["0.98769", "0.98885"]
    assert [sha256(sent.by_ref(ref)) for ref in table.ref] == list(table.sha256)
    assert f"1. paddy_train.csv, sent {time} UTC: " in board.stdout


def test_again_sends_the_same_bytes_and_keeps_both(kaggle, tmp_path, csv):
    for words in (SUBMIT, f"{SUBMIT} --again"):
        assert run(kaggle, tmp_path, words).returncode == 0
    assert sent_bytes() == [csv.read_bytes()] * 2 == list(kaggle.uploads.values())
    refs = [record["ref"] for record in sent.copies().values()]
    assert refs == [entry["ref"] for entry in kaggle.submissions[::-1]]


def test_a_kill_after_kaggles_confirmation_is_made_good(kaggle, tmp_path, csv):
    first, env = csv.read_bytes(), environment(kaggle, tmp_path)
    killed = subprocess.run([sys.executable, "-c", KILLED], cwd=ROOT, env=env, capture_output=True)
    assert killed.returncode == -signal.SIGKILL and len(kaggle.submissions) == 1
    assert sent_bytes() == [first]
    assert "were sent already" in refused(run(kaggle, tmp_path, SUBMIT))
    vote_again(csv)
    assert run(kaggle, tmp_path, SUBMIT).returncode == 0
    expected = [first, csv.read_bytes()]
    assert list(kaggle.uploads.values()) == expected and sent_bytes() == sorted(expected)
    assert all(record["submitted"] for record in sent.copies().values())
    digests = pd.read_csv(csv.parent / "ledger.csv").sha256
    assert sorted(digests) == sorted(map(sha256, sent.copies()))
