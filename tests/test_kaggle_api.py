"""The official client, unpatched, against a stand-in for Kaggle; commands as a user types them."""

import io
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from src.config import ROOT
from tests.kaggle_stand_in import CUT, HOLD, KEY, StandIn

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


def command(*args: str) -> list[str]:
    return [sys.executable, "-m", "src.kaggle_api", *args]


def run(kaggle: StandIn, home: Path, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    """The command with its data and work below `home`; its output never holds the key."""
    places = {"PADDY_DATA": str(home / "data" / SLUG), "PADDY_WORK": str(home / "work")}
    done = subprocess.run(
        command(*args), env=kaggle.env(home, **places | env), cwd=ROOT, text=True,
        capture_output=True, timeout=100,
    )
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
    done = run(kaggle, tmp_path, "download")
    assert done.returncode == 0, done.stderr
    assert "18 images, 3 classes" in done.stdout and "13,876" in done.stdout
    assert (folder_of(tmp_path) / "train_images" / "hispa" / "100001.jpg").stat().st_size == 3000
    note = json.loads((folder_of(tmp_path) / "archive.json").read_text())
    assert len(note["sha256"]) == 64 and note["bytes"] == len(kaggle.archive)
    assert left_over(tmp_path) == []
    requests = len(kaggle.seen)
    again = run(kaggle, tmp_path, "download")
    assert "nothing to do" in again.stdout and len(kaggle.seen) == requests


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
    done = run(kaggle, tmp_path, "download", "--zip", str(path), KAGGLE_KEY="")
    assert done.returncode == 0 and kaggle.seen == [] and path.exists()
    path.write_bytes(kaggle.archive[:9000])
    elsewhere = str(tmp_path / "data" / "other")
    line = refusal(run(kaggle, tmp_path, "download", "--zip", str(path), "--data", elsewhere))
    assert "damaged" in line and "browser" in line and not Path(elsewhere).exists()


@pytest.mark.parametrize(
    "gone, said",
    [("test_images/200002.jpg", "200002.jpg"), ("train_images/blast/100003.jpg", "100003.jpg"),
     ("sample_submission.csv", "sample_submission.csv")],
)
def test_a_zip_that_lacks_a_file_is_refused_by_name(kaggle, tmp_path, gone, said):
    files = competition_files()
    del files[gone]
    path = tmp_path / "archive.zip"
    path.write_bytes(zip_of(files))
    assert said in refusal(run(kaggle, tmp_path, "download", "--zip", str(path)))
    assert left_over(tmp_path) == [] and not folder_of(tmp_path).exists()


def test_a_disk_too_small_is_found_out_before_anything_is_fetched(kaggle, tmp_path):
    kaggle.announced = 10**16
    line = refusal(run(kaggle, tmp_path, "download"))
    assert "GB free" in line and left_over(tmp_path) == []
    path = tmp_path / "huge.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("train.csv", b"x")
        archive.infolist()[0].file_size = 10**16
    assert "GB free" in refusal(run(kaggle, tmp_path, "download", "--zip", str(path)))


REFUSALS = {
    "wrong credentials": ((401, "Unauthenticated"), "make a token at"),
    "rules not accepted": ((403, "You must accept this competition's rules"), "/rules"),
    "no such competition": ((404, "Not found"), "closed"),
    "too many requests": ((429, "Too many requests", {"Retry-After": "7200"}), "wait 7200 seconds"),
}


@pytest.mark.parametrize("trouble, said", REFUSALS.values(), ids=REFUSALS)
def test_a_refused_download_is_one_line_with_the_remedy(kaggle, tmp_path, trouble, said):
    kaggle.troubles["DownloadDataFiles"] = [trouble]
    assert said in refusal(run(kaggle, tmp_path, "download"))
    assert len(kaggle.seen) == 1 and left_over(tmp_path) == []


@pytest.mark.parametrize(
    "trouble", [(500, "oops"), (429, "slower", {"Retry-After": "1"}), CUT], ids=str
)
def test_a_passing_trouble_is_waited_for(kaggle, tmp_path, trouble: Any):
    kaggle.troubles["DownloadDataFiles"] = [trouble]
    assert run(kaggle, tmp_path, "download").returncode == 0
    assert len(kaggle.called("DownloadDataFiles")) == 2


def test_without_credentials_the_line_says_where_they_belong(kaggle, tmp_path):
    env = kaggle.env(tmp_path, PADDY_DATA=str(folder_of(tmp_path)))
    bare = {k: v for k, v in env.items() if k not in ("KAGGLE_USERNAME", "KAGGLE_KEY")}
    done = subprocess.run(command("download"), env=bare, cwd=ROOT, text=True, capture_output=True)
    assert "~/.kaggle/access_token" in refusal(done) and kaggle.seen == []


def test_a_client_told_to_be_verbose_still_shows_no_credentials(kaggle, tmp_path):
    done = run(kaggle, tmp_path, "download", VERBOSE="1")
    assert done.returncode == 0 and "Authorization" not in done.stdout + done.stderr


def test_a_secret_that_kaggle_echoes_is_not_passed_on(kaggle, tmp_path):
    kaggle.troubles["DownloadDataFiles"] = [(400, f"bad key {KEY}")]
    assert "bad key ***" in refusal(run(kaggle, tmp_path, "download"))
