"""Submissions by the official client, unpatched, against a stand-in for Kaggle; as a user types."""

import re
import signal
import subprocess
import sys
from io import BytesIO
from zipfile import ZipFile

import numpy as np
import pandas as pd
import pytest
from small_bundles import refused

from src.core import ROOT, sha256
from src.evidence import error_phrase
from src.submission import sent, write_submission
from tests.kaggle_stand_in import CUT, days_ago
from tests.kaggle_user import (
    LABELS,
    SLUG,
    call,
    competition_files,
    environment,
    folder_of,
    run,
    zip_of,
)  # fmt: skip

KILLED = """
import os, signal, sys
from src.kaggle_api import submit
from src.kaggle_api.__main__ import main
submit._find_entry = lambda *words: os.kill(os.getpid(), signal.SIGKILL)  # after the upload
sys.argv = ["", "submit", "paddy_train"]
main()
"""


def write(home, *more, seed=0):
    """A submission of two members and `more`, written the way the ensemble writes it."""
    names = [f"2{n:05}.jpg" for n in range(6)]
    values = np.random.default_rng(seed).dirichlet(np.ones(3), 6)
    probs = pd.DataFrame(values, pd.Index(names, name="image_id"), list(LABELS))
    members = [{"name": "vit_a", "weight": 2.0}, {"name": "swin_b", "weight": 1.0}, *more]
    facts = {"members": members, "holdout": {"wrong": 2, "images": 40}}
    return write_submission(probs, folder_of(home), "paddy_train", facts, force=True)


def write_another(home):
    return write(home, {"name": "another", "weight": 1.0}, seed=1)


@pytest.fixture
def csv(tmp_path, monkeypatch):
    ZipFile(BytesIO(zip_of(competition_files()))).extractall(folder_of(tmp_path))
    monkeypatch.setenv("PADDY_WORK", str(tmp_path / "work"))
    return write(tmp_path)


def submit(kaggle, home, more=""):
    return run(kaggle, home, f"submit paddy_train {more}")


def read_ledger():
    """The rows of the ledger, oldest first."""
    return sent.read_ledger().reset_index().to_dict("records")


def aside():
    return sorted(sent.sent_dir().glob("*"))


def test_submit_waits_for_the_score_and_writes_ledger_and_copy(kaggle, tmp_path, csv):
    done = submit(kaggle, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "2,569 of 2,601 right" in done.stdout and "waiting for the score" in done.stderr
    (entry,) = kaggle.submissions
    error = re.escape(error_phrase(2, 40))
    message = rf"paddy_train · 2 models · hold-out {error} · \w{{8}}\+?"
    assert re.fullmatch(message, entry["description"])
    (row,) = read_ledger()
    expected = {
        "ref": str(entry["ref"]), "file": "paddy_train.csv", "members": "vit_a*2 swin_b",
        "sha256": sha256(csv), "notebook": "paddy_train", "holdout_wrong": "2",
        "public": "0.98769", "public_right": "2569", "private_right": "857",
    }  # fmt: skip
    assert expected.items() <= row.items() and len(row["commit"]) == 40
    copy = sent.by_ref(entry["ref"])
    assert re.fullmatch(rf"\d{{8}}T\d{{6}}Z_{sha256(csv)[:8]}_paddy_train.csv", copy.name)
    assert copy.read_bytes() == csv.read_bytes() == kaggle.uploads["0-paddy_train.csv"]
    assert copy.stat().st_mode & 0o222 == 0 and copy.with_suffix(".parquet").is_file()
    record = sent.read_provenance(copy)
    assert record == sent.read_provenance(csv)
    facts = {"submitted": True, "ref": entry["ref"], "sent": entry["date"][:19] + "+00:00"}
    assert facts.items() <= record.items() and record["members"][0]["name"] == "vit_a"


def test_the_guard_comes_before_anything_is_sent_and_force_is_recorded(kaggle, tmp_path, csv):
    csv.write_text(csv.read_text().replace("200001.jpg", "200009.jpg"))
    line = refused(submit(kaggle, tmp_path))
    assert "not sent" in line and "--force" in line and kaggle.seen == []
    assert not sent.read_provenance(csv)["submitted"]
    done = submit(kaggle, tmp_path, "--no-wait --force -m 'my words'")
    assert done.returncode == 0, done.stderr
    assert list(kaggle.uploads.values()) == [csv.read_bytes()]
    assert kaggle.submissions[0]["description"] == "my words"
    errors = re.findall("^error: (.*)", done.stdout, re.M)
    assert any("200009.jpg" in error for error in errors)
    assert run(kaggle, tmp_path, "scores").returncode == 0
    assert sent.read_provenance(csv)["forced"] == errors


@pytest.mark.parametrize(("at", "trouble", "remedy", "looks"), [
    ("CreateSubmission", (400, "Daily submission limit reached"), "midnight UTC", 1),
    ("CreateSubmission", (500, "Internal error"), "again later", 4),
    ("CreateSubmission", CUT, "no connection", 4),
    ("upload", (503, "unavailable"), "broke off", 1),
    ("StartSubmissionUpload", (400, "The deadline has passed"), "no submissions", 1),
])  # fmt: skip
def test_a_failed_submit_is_one_line_and_leaves_no_trace(
    kaggle, tmp_path, csv, at, trouble, remedy, looks
):
    """The list is read once before, and `looks` times after it, for it may have arrived."""
    kaggle.troubles[at] = [trouble]
    assert remedy in refused(submit(kaggle, tmp_path))
    assert read_ledger() == kaggle.submissions == aside() == []
    assert len(kaggle.called("ListSubmissions")) == 1 + looks
    assert not sent.read_provenance(csv)["submitted"]


def test_a_cut_upload_is_sent_again_and_a_lost_answer_is_found_on_the_list(kaggle, tmp_path, csv):
    kaggle.troubles |= {"upload": [CUT], "CreateSubmission answer": [CUT]}
    assert submit(kaggle, tmp_path, "--no-wait").returncode == 0
    assert list(kaggle.uploads.values()) == [csv.read_bytes()]
    assert len(read_ledger()) == 1 and len(kaggle.called("CreateSubmission")) == 1


def test_successfully_submitted_is_not_believed_when_the_list_does_not_show_it(
    kaggle, tmp_path, csv
):
    kaggle.loses_submissions = True
    kaggle.add_submission("paddy_train.csv", 99, "an earlier one of this name", days_ago(1))
    kaggle.limits = {"numToday": 5, "numTotal": 9}
    line = refused(submit(kaggle, tmp_path))
    assert "does not show it" in line and "daily limit" in line
    assert [row["sha256"] for row in read_ledger()] == [""]  # the earlier one's
    assert len(kaggle.called("CreateSubmission")) == 1
    (copy,) = sent.copies().values()  # it waits for a later list
    assert copy["submitted"] is False


def test_a_score_is_waited_for_only_so_long_and_a_rejection_has_its_reason(kaggle, tmp_path, csv):
    kaggle.score_after = None
    done = submit(kaggle, tmp_path, "--patience 0.1")
    assert done.returncode == 0 and "no score after" in done.stdout
    kaggle.rejection = "Submission must have 3469 rows"
    assert kaggle.rejection in refused(submit(kaggle, tmp_path, "--again"))
    assert [row["public"] for row in read_ledger()] == ["", ""]


def test_scores_knows_files_sent_with_the_plain_client(kaggle, tmp_path, csv):
    line = f"-m kaggle competitions submit -c {SLUG} -f {csv} -m typed".split()
    done = call(kaggle, tmp_path, [sys.executable, *line], VERBOSE="")
    assert "Successfully submitted" in done.stdout, done.stderr
    kaggle.add_submission("paddy_train.csv", csv.stat().st_size, "an older one", days_ago(3))
    kaggle.add_submission("elsewhere.csv", 99, "from the website", days_ago(2))
    run(kaggle, tmp_path, "scores")
    done, again = run(kaggle, tmp_path, "scores"), submit(kaggle, tmp_path)
    assert done.returncode == 0, done.stderr
    old, website, mine = read_ledger()
    assert mine["sha256"] == sha256(csv) and mine["holdout_wrong"] == "2"
    assert old["sha256"] == website["sha256"] == ""
    assert website["file"] == "elsewhere.csv" and website["public"] == "0.98000"
    assert [path.suffix for path in aside()] == [".csv", ".json", ".parquet"]
    assert aside()[0].read_bytes() == csv.read_bytes()
    assert "2,569 ± 5.6" in done.stdout and "1. paddy_train.csv" in done.stdout
    assert "were sent already" in refused(again) and len(kaggle.called("CreateSubmission")) == 1


# The daily loop: another file is sent, the file sent before stays


def sent_bytes():
    """The content of the copies, sorted: within one second they are not named in order."""
    return sorted(path.read_bytes() for path in sent.copies())


def test_the_second_day_needs_no_new_name_and_leaves_what_was_sent(kaggle, tmp_path, csv):
    first = csv.read_bytes()
    done, twice = (submit(kaggle, tmp_path) for _ in range(2))
    assert done.returncode == 0, done.stderr
    time = kaggle.submissions[0]["date"][:16].replace("T", " ")
    line = refused(twice)
    assert f"were sent already, on {time} UTC as paddy_train.csv, public score 0.98769" in line
    assert "--again" in line and len(kaggle.uploads) == 1

    write_another(tmp_path)
    second = csv.read_bytes()
    kaggle.mark = lambda csv: ("0.98885", "0.98847")
    done, board = submit(kaggle, tmp_path), run(kaggle, tmp_path, "scores")
    assert done.returncode == board.returncode == 0, done.stderr + board.stderr
    assert list(kaggle.uploads.values()) == [first, second]
    assert sent_bytes() == sorted([first, second])
    assert "2,572 ± 5.4" in board.stdout and "2,569 ± 5.6" in board.stdout
    table = pd.read_csv(csv.parent / "ledger.csv", dtype=str)
    assert list(table.public) == ["0.98769", "0.98885"]
    assert [sha256(sent.by_ref(ref)) for ref in table.ref] == list(table.sha256)
    assert f"1. paddy_train.csv, sent {time} UTC: " in board.stdout


def test_again_sends_the_same_bytes_and_keeps_both(kaggle, tmp_path, csv):
    for more in ("", "--again"):
        assert submit(kaggle, tmp_path, more).returncode == 0
    assert sent_bytes() == [csv.read_bytes()] * 2 == list(kaggle.uploads.values())
    refs = [record["ref"] for record in sent.copies().values()]
    assert refs == [entry["ref"] for entry in kaggle.submissions[::-1]]


def test_a_kill_after_kaggles_confirmation_is_made_good(kaggle, tmp_path, csv):
    first, env = csv.read_bytes(), environment(kaggle, tmp_path)
    killed = subprocess.run([sys.executable, "-c", KILLED], cwd=ROOT, env=env, capture_output=True)
    assert killed.returncode == -signal.SIGKILL and len(kaggle.submissions) == 1
    assert sent_bytes() == [first]
    assert "were sent already" in refused(submit(kaggle, tmp_path))
    write_another(tmp_path)
    assert submit(kaggle, tmp_path).returncode == 0
    expected = [first, csv.read_bytes()]
    assert list(kaggle.uploads.values()) == expected and sent_bytes() == sorted(expected)
    assert all(record["submitted"] for record in sent.copies().values())
    digests = pd.read_csv(csv.parent / "ledger.csv").sha256
    assert sorted(digests) == sorted(map(sha256, sent.copies()))
