"""The official client, unpatched, against a stand-in for Kaggle; commands as a user types them."""

import io
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from src import submission
from src.config import ROOT, UserError
from src.files import sha256
from tests.kaggle_stand_in import CUT, FINE, HOLD, KEY, StandIn, days_ago

SLUG = "paddy-disease-classification"
LABELS = ("blast", "hispa", "normal")


@pytest.fixture
def kaggle(tmp_path: Path):
    with StandIn() as stand_in:
        stand_in.archive = zip_of(competition_files())
        yield stand_in


@pytest.fixture(autouse=True)
def no_secret_is_ever_written(tmp_path: Path):
    """After every test: the planted key is in no file that was written."""
    yield
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path


def competition_files(images: int = 4, tests: int = 6, size: int = 3000) -> dict[str, bytes]:
    """A whole competition by path: `images` of each label, pictures of `size` noisy bytes."""
    ids = [(f"1{n:05}.jpg", LABELS[n % 3]) for n in range(3 * images)]
    rows = [f"{image_id},{label},ADT45,{45 + n % 5}" for n, (image_id, label) in enumerate(ids)]
    names = [f"2{n:05}.jpg" for n in range(tests)]
    files = {"train.csv": "\n".join(["image_id,label,variety,age", *rows])}
    files["sample_submission.csv"] = "\n".join(["image_id,label", *(f"{n}," for n in names)])
    pictures = [f"train_images/{label}/{image_id}" for image_id, label in ids]
    pictures += [f"test_images/{name}" for name in names]
    texts = {name: text.encode() for name, text in files.items()}
    return texts | {path: os.urandom(size) for path in pictures}


def zip_of(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


# Several command lines in one process: the client takes half a second to import.
IN_TURN = """
import json, runpy, sys
for line in json.loads(sys.argv[1]):
    sys.argv, code = ["", *line], 0
    try:
        runpy.run_module("src.kaggle_api", run_name="__main__")
    except SystemExit as end:
        code = end.code
    for stream in (sys.stdout, sys.stderr):
        print(code, "<end>", sep="", flush=True, file=stream)
"""


def command(*args: str) -> list[str]:
    return [sys.executable, "-m", "src.kaggle_api", *args]


def run(kaggle: StandIn, home: Path, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    """The command with its data and work below `home`; its output never holds the key."""
    return call(kaggle, home, command(*args), **env)


def run_each(kaggle: StandIn, home: Path, *lines: str) -> list[subprocess.CompletedProcess[str]]:
    """Several commands one after the other."""
    words = json.dumps([line.split() for line in lines])
    done = call(kaggle, home, [sys.executable, "-c", IN_TURN, words])
    parts = zip(done.stdout.split("<end>\n"), done.stderr.split("<end>\n"), strict=True)
    parts = list(parts)[:-1]
    assert len(parts) == len(lines), done.stderr
    return [subprocess.CompletedProcess(line, not out.endswith("0"), out, err.rstrip("0"))
            for line, (out, err) in zip(lines, parts, strict=True)]


def call(
    kaggle: StandIn, home: Path, line: list[str], **env: str
) -> subprocess.CompletedProcess[str]:
    places = {"PADDY_DATA": str(home / "data" / SLUG), "PADDY_WORK": str(home / "work")}
    places |= kaggle.env(home, **places | env)
    done = subprocess.run(line, env=places, cwd=ROOT, text=True, capture_output=True, timeout=100)
    assert KEY not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of a command that had to fail."""
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and done.stderr.rstrip().endswith(lines[0])
    return lines[0]


def folder_of(home: Path) -> Path:
    return home / "data" / SLUG


def left_over(home: Path) -> list[str]:
    return sorted(p.name for p in (home / "data").glob("*") if p.name != SLUG)


def test_download_brings_a_checked_folder_and_the_second_call_does_nothing(kaggle, tmp_path):
    done, again = run_each(kaggle, tmp_path, "download", "download")
    assert done.returncode == again.returncode == 0, done.stderr
    assert "18 images, 3 classes" in done.stdout and "13,876" in done.stdout
    assert (folder_of(tmp_path) / "train_images" / "hispa" / "100001.jpg").stat().st_size == 3000
    note = json.loads((folder_of(tmp_path) / "archive.json").read_text())
    assert len(note["sha256"]) == 64 and note["bytes"] == len(kaggle.archive)
    assert left_over(tmp_path) == []
    assert "nothing to do" in again.stdout and len(kaggle.seen) == 2


def test_a_download_cut_half_way_is_continued_from_there(kaggle, tmp_path):
    kaggle.archive, kaggle.body_troubles = zip_of(competition_files(size=200_000)), [CUT]
    assert run(kaggle, tmp_path, "download").returncode == 0
    first, second = [headers.get("Range", "0") for _, headers, _ in kaggle.called("/archive.zip")]
    assert first == "0" and re.fullmatch(r"bytes=\d{6,}-", second)
    assert folder_of(tmp_path).is_dir()


def test_a_killed_download_is_continued_by_the_next_call(kaggle, tmp_path):
    kaggle.archive, kaggle.body_troubles = zip_of(competition_files(size=200_000)), [HOLD]
    part = tmp_path / "data" / f"{SLUG}.zip"
    env = kaggle.env(tmp_path, PADDY_DATA=str(folder_of(tmp_path)))
    process = subprocess.Popen(command("download"), env=env, cwd=ROOT, stderr=subprocess.DEVNULL)
    while not (part.exists() and part.stat().st_size):
        assert process.poll() is None
    process.kill()
    process.wait()
    kaggle.release.set()
    assert not folder_of(tmp_path).exists()
    here = part.stat().st_size
    assert run(kaggle, tmp_path, "download").returncode == 0
    assert kaggle.called("/archive.zip")[-1][1]["Range"] == f"bytes={here}-"


def test_a_damaged_archive_is_said_so_and_downloaded_again(kaggle, tmp_path):
    whole = kaggle.archive
    at = whole.index(b"test_images/200003.jpg") + 1000
    path = tmp_path / "data" / f"{SLUG}.zip"
    path.parent.mkdir()
    path.write_bytes(whole[:at] + bytes(50) + whole[at + 50 :])
    done = run(kaggle, tmp_path, "download")
    assert done.returncode == 0, done.stderr
    assert "is damaged" in done.stdout and "downloading it again" in done.stdout
    assert len(kaggle.called("/archive.zip")) == 1 and left_over(tmp_path) == []


def test_an_archive_damaged_at_its_source_ends_in_one_line_and_no_folder(kaggle, tmp_path):
    at = kaggle.archive.index(b"test_images/200003.jpg") + 1000
    kaggle.archive = kaggle.archive[:at] + bytes(50) + kaggle.archive[at + 50 :]
    assert "damaged" in refusal(run(kaggle, tmp_path, "download"))
    assert len(kaggle.called("/archive.zip")) == 2 and not folder_of(tmp_path).exists()


def test_a_zip_from_the_browser_needs_no_kaggle_and_stays(kaggle, tmp_path):
    path = tmp_path / "archive.zip"
    path.write_bytes(kaggle.archive)
    half, elsewhere = tmp_path / "half.zip", tmp_path / "data" / "other"
    half.write_bytes(kaggle.archive[:9000])
    done, refused = run_each(kaggle, tmp_path, f"download --zip {path}",
                             f"download --zip {half} --data {elsewhere}")
    assert done.returncode == 0 and kaggle.seen == [] and path.exists()
    line = refusal(refused)
    assert "damaged" in line and "browser" in line and not elsewhere.exists()


def test_a_zip_that_lacks_a_file_is_refused_by_name(kaggle, tmp_path):
    gone = ["test_images/200002.jpg", "train_images/blast/100003.jpg", "sample_submission.csv"]
    for number, name in enumerate(gone):
        files = competition_files()
        del files[name]
        (tmp_path / f"{number}.zip").write_bytes(zip_of(files))
    lines = [f"download --zip {tmp_path / f'{number}.zip'}" for number in range(len(gone))]
    for name, done in zip(gone, run_each(kaggle, tmp_path, *lines), strict=True):
        assert Path(name).name in refusal(done)
    assert left_over(tmp_path) == [] and not folder_of(tmp_path).exists()


def test_a_disk_too_small_is_found_out_before_anything_is_fetched(kaggle, tmp_path):
    kaggle.announced = 10**16
    path = tmp_path / "huge.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("train.csv", b"x")
        archive.infolist()[0].file_size = 10**16
    for done in run_each(kaggle, tmp_path, "download", f"download --zip {path}"):
        assert "GB free" in refusal(done)
    assert left_over(tmp_path) == []


REFUSALS = {
    "wrong credentials": ((401, "Unauthenticated"), "make a token at"),
    "rules not accepted": ((403, "You must accept this competition's rules"), "/rules"),
    "no such competition": ((404, "Not found"), "closed"),
    "a secret that is echoed": ((400, f"bad key {KEY}"), "bad key ***"),
    "too many requests": ((429, "Too many requests", {"Retry-After": "7200"}), "wait 7200 seconds"),
}


def test_a_refused_download_is_one_line_with_the_remedy(kaggle, tmp_path):
    kaggle.troubles["DownloadDataFiles"] = [trouble for trouble, _ in REFUSALS.values()]
    results = run_each(kaggle, tmp_path, *["download"] * len(REFUSALS))
    for (_, said), done in zip(REFUSALS.values(), results, strict=True):
        assert said in refusal(done)
    assert len(kaggle.seen) == len(REFUSALS) and left_over(tmp_path) == []


def test_passing_troubles_are_waited_for(kaggle, tmp_path):
    slower = (429, "slower", {"Retry-After": "0"})
    kaggle.troubles["DownloadDataFiles"] = [(500, "oops"), slower, slower]
    assert run(kaggle, tmp_path, "download").returncode == 0
    assert len(kaggle.called("DownloadDataFiles")) == 4


def test_without_credentials_the_line_says_where_they_belong(kaggle, tmp_path):
    env = kaggle.env(tmp_path, PADDY_DATA=str(folder_of(tmp_path)))
    bare = {k: v for k, v in env.items() if k not in ("KAGGLE_USERNAME", "KAGGLE_KEY")}
    done = subprocess.run(command("download"), env=bare, cwd=ROOT, text=True, capture_output=True)
    assert "~/.kaggle/access_token" in refusal(done) and kaggle.seen == []


def test_a_client_told_to_be_verbose_still_shows_no_credentials(kaggle, tmp_path):
    done = run(kaggle, tmp_path, "download", VERBOSE="1")
    assert done.returncode == 0 and "Authorization" not in done.stdout + done.stderr


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Unpacked data and one guarded submission, paddy_train.csv; the folder of submissions."""
    for name, content in competition_files().items():
        path = folder_of(tmp_path) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    monkeypatch.setenv("PADDY_WORK", str(tmp_path / "work"))
    write(tmp_path, "paddy_train")
    return tmp_path / "work" / "submissions"


def write(home: Path, notebook: str, wrong: int = 2, seed: int = 0) -> Path:
    """A submission of two members, written the way the ensemble writes it."""
    names = [f"2{n:05}.jpg" for n in range(6)]
    values = np.random.default_rng(seed).dirichlet(np.ones(3), 6)
    probs = pd.DataFrame(values, pd.Index(names, name="image_id"), list(LABELS))
    members = [{"name": "vit_a", "weight": 2.0}, {"name": "swin_b", "weight": 1.0}]
    facts = {"members": members, "holdout": {"wrong": wrong, "images": 40}}
    return submission.write_submission(probs, folder_of(home), notebook, facts, force=True)


def submit(kaggle: StandIn, home: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return run(kaggle, home, "submit", "paddy_train", "--every", "0.05", *args)


def test_submit_waits_for_the_score_and_writes_the_ledger(kaggle, tmp_path, work):
    done = submit(kaggle, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "2,569 of 2,601 right" in done.stdout and "waiting for the score" in done.stderr
    sent = kaggle.submissions[0]
    message = r"paddy_train · 2 models · hold-out 0.05000 · \w{8}\+?"
    assert re.fullmatch(message, sent["description"])
    row = read_ledger(work)[str(sent["ref"])]
    assert row["file"] == "paddy_train.csv" and row["members"] == "vit_a*2 swin_b"
    assert row["sha256"] == sha256(work / "paddy_train.csv") and row["notebook"] == "paddy_train"
    assert len(row["commit"]) == 40 and row["holdout_wrong"] == "2"
    assert (row["public"], row["public_right"], row["private_right"]) == ("0.98769", "2569", "857")
    assert list(kaggle.uploads.values()) == [(work / "paddy_train.csv").read_bytes()]


def read_ledger(folder: Path) -> dict[str, dict[str, str]]:
    table = pd.read_csv(folder / "ledger.csv", dtype=str, keep_default_na=False)
    return table.set_index("ref").to_dict("index")


def test_what_was_sent_is_read_only_from_then_on(kaggle, tmp_path, work):
    path = work / "paddy_train.csv"
    before = path.read_bytes()
    assert submit(kaggle, tmp_path, "--no-wait", "-m", "my words").returncode == 0
    assert kaggle.submissions[0]["description"] == "my words"
    assert path.stat().st_mode & 0o222 == 0
    assert json.loads((work / "paddy_train.json").read_text())["submitted"] is True
    with pytest.raises(UserError, match="submitted"):
        write(tmp_path, "paddy_train", seed=1)
    assert path.read_bytes() == before


def test_the_guard_comes_before_anything_is_sent(kaggle, tmp_path, work):
    path = work / "paddy_train.csv"
    path.write_text(path.read_text().replace("200001.jpg", "200009.jpg"))
    line = refusal(submit(kaggle, tmp_path))
    assert "not sent" in line and "kaggle competitions submit" in line and kaggle.seen == []


SUBMIT_TROUBLES = [
    ("CreateSubmission", (403, "You must accept the rules"), "/rules"),
    ("CreateSubmission", (400, "Daily submission limit reached"), "midnight UTC"),
    ("CreateSubmission", (500, "Internal error"), "again later"),
    ("CreateSubmission", CUT, "no connection"),
    ("upload", (503, "unavailable"), "broke off"),
    ("StartSubmissionUpload", (400, "The deadline has passed"), "no submissions"),
    ("ListSubmissions", (401, "Unauthenticated"), "make a token"),
]


def test_a_failed_submit_is_one_line_and_leaves_no_trace(kaggle, tmp_path, work):
    kaggle.troubles["CreateSubmission"] = [trouble for _, trouble, _ in SUBMIT_TROUBLES[:4]]
    kaggle.troubles["upload"] = [FINE] * 4 + [SUBMIT_TROUBLES[4][1]]
    kaggle.troubles["StartSubmissionUpload"] = [FINE] * 5 + [SUBMIT_TROUBLES[5][1]]
    line = "submit paddy_train --every 0.05"
    results = run_each(kaggle, tmp_path, *[line] * 6)
    kaggle.troubles["ListSubmissions"] = [SUBMIT_TROUBLES[6][1]]
    results += run_each(kaggle, tmp_path, line)
    for (_, _, said), done in zip(SUBMIT_TROUBLES, results, strict=True):
        assert said in refusal(done)
    assert not (work / "ledger.csv").exists() and kaggle.submissions == []
    assert (work / "paddy_train.csv").stat().st_mode & 0o200


def test_an_upload_cut_half_way_is_sent_again_by_the_client(kaggle, tmp_path, work):
    kaggle.troubles["upload"] = [CUT]
    assert submit(kaggle, tmp_path, "--no-wait").returncode == 0
    assert list(kaggle.uploads.values()) == [(work / "paddy_train.csv").read_bytes()]


def test_successfully_submitted_is_not_believed_when_the_list_does_not_show_it(
    kaggle, tmp_path, work
):
    kaggle.loses_submissions = True
    kaggle.limits = {"numToday": 5, "numTotal": 9}
    line = refusal(submit(kaggle, tmp_path))
    assert "does not show it" in line and "daily limit" in line
    assert not (work / "ledger.csv").exists()
    assert len(kaggle.called("CreateSubmission")) == 1


def test_a_submission_whose_answer_was_lost_is_found_on_the_list(kaggle, tmp_path, work):
    kaggle.troubles["CreateSubmission answer"] = [CUT]
    assert submit(kaggle, tmp_path).returncode == 0
    assert len(read_ledger(work)) == 1 and len(kaggle.called("CreateSubmission")) == 1


def test_a_file_kaggle_cannot_score_is_an_error_with_its_reason(kaggle, tmp_path, work):
    kaggle.rejection = "Submission must have 3469 rows"
    assert "Submission must have 3469 rows" in refusal(submit(kaggle, tmp_path))
    assert len(read_ledger(work)) == 1


def test_a_score_that_never_comes_is_waited_for_only_so_long(kaggle, tmp_path, work):
    kaggle.score_after = None
    done = submit(kaggle, tmp_path, "--patience", "0.3")
    assert done.returncode == 0 and "no score after" in done.stdout
    assert [row["public"] for row in read_ledger(work).values()] == [""]


def test_scores_knows_files_sent_with_the_plain_client(kaggle, tmp_path, work):
    csv = work / "paddy_train.csv"
    line = ["competitions", "submit", "-c", SLUG, "-f", str(csv), "-m", "by hand"]
    done = subprocess.run([sys.executable, "-m", "kaggle", *line], env=kaggle.env(tmp_path),
                          text=True, capture_output=True, timeout=100)
    assert "Successfully submitted" in done.stdout, done.stderr
    kaggle.add_submission("paddy_train.csv", csv.stat().st_size, "an older one", days_ago(3))
    kaggle.add_submission("elsewhere.csv", 99, "from the website", days_ago(2))
    run(kaggle, tmp_path, "scores")
    done = run(kaggle, tmp_path, "scores")
    assert done.returncode == 0, done.stderr
    rows = {row["time"]: row for row in read_ledger(work).values()}
    old, website, mine = (rows[time] for time in sorted(rows))
    assert mine["sha256"] == sha256(csv) and mine["holdout_wrong"] == "2"
    assert old["sha256"] == website["sha256"] == ""
    assert website["file"] == "elsewhere.csv" and website["public"] == "0.98000"
    assert csv.stat().st_mode & 0o222 == 0
    assert "2,569 ± 5.6" in done.stdout and "1. paddy_train.csv" in done.stdout
