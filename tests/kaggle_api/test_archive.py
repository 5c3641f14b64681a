"""The download through the real client: whole, checked and in one piece, or not there at all."""

import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from src.core import ROOT, UserError
from src.kaggle_api import download as archive
from tests.kaggle_stand_in import CUT, HOLD, KEY, StandIn
from tests.kaggle_user import (
    SLUG,
    command,
    competition_files,
    folder_of,
    left_over,
    refusal,
    run,
    run_each,
    unpack,
    zip_of,
)


def killed_once(begun: Callable[[], object], kaggle: StandIn, home: Path, *line: str) -> None:
    """A command that is killed as soon as `begun()`."""
    env = kaggle.env(home, PADDY_DATA=str(folder_of(home)))
    process = subprocess.Popen(command(*line), env=env, cwd=ROOT, stderr=subprocess.DEVNULL)
    while not begun():
        assert process.poll() is None
    process.kill()
    process.wait()


def test_download_brings_a_checked_folder_and_the_second_call_does_nothing(kaggle, tmp_path):
    done, again = run_each(kaggle, tmp_path, "download", "download")
    assert done.returncode == again.returncode == 0 and "100%" in done.stderr, done.stderr
    assert "18 images, 3 classes" in done.stdout and "13,876" in done.stdout
    assert (folder_of(tmp_path) / "train_images" / "hispa" / "100001.jpg").stat().st_size == 3000
    note = json.loads((folder_of(tmp_path) / "archive.json").read_text())
    assert len(note["sha256"]) == 64 and note["bytes"] == len(kaggle.archive)
    assert left_over(tmp_path) == []
    assert "nothing to do" in again.stdout and len(kaggle.seen) == 2


def test_the_plain_client_lists_the_files_of_the_same_competition(kaggle, tmp_path):
    line = ["-m", "kaggle", "competitions", "files", "-c", SLUG, "--csv"]
    done = subprocess.run([sys.executable, *line], env=kaggle.env(tmp_path),
                          text=True, capture_output=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert "train.csv" in done.stdout and "sample_submission.csv" in done.stdout


def test_a_download_cut_half_way_is_continued_from_there(kaggle, tmp_path):
    kaggle.archive, kaggle.body_troubles = zip_of(competition_files(size=200_000)), [CUT]
    assert run(kaggle, tmp_path, "download").returncode == 0
    first, second = [headers.get("Range", "0") for _, headers, _ in kaggle.called("/archive.zip")]
    assert first == "0" and re.fullmatch(r"bytes=\d{6,}-", second)
    assert folder_of(tmp_path).is_dir()


def test_a_killed_download_is_continued_by_the_next_call(kaggle, tmp_path):
    kaggle.archive, kaggle.body_troubles = zip_of(competition_files(size=200_000)), [HOLD]
    part = tmp_path / "data" / f"{SLUG}.zip"
    killed_once(lambda: part.exists() and part.stat().st_size, kaggle, tmp_path, "download")
    kaggle.release.set()
    assert not folder_of(tmp_path).exists()
    here = part.stat().st_size
    assert run(kaggle, tmp_path, "download").returncode == 0
    assert kaggle.called("/archive.zip")[-1][1]["Range"] == f"bytes={here}-"


def test_a_killed_unpacking_leaves_no_folder_and_the_next_call_a_whole_one(kaggle, tmp_path):
    path = tmp_path / "archive.zip"
    path.write_bytes(zip_of(competition_files(images=1500, size=50)))
    line = ["download", "--zip", str(path)]
    begun = tmp_path / "data" / f".{SLUG}.unpacking" / "train_images"
    killed_once(begun.exists, kaggle, tmp_path, *line)
    assert begun.exists() and not folder_of(tmp_path).exists()
    done = run(kaggle, tmp_path, *line)
    assert "4,506 images" in done.stdout and left_over(tmp_path) == []


def test_a_folder_that_lost_an_image_is_refused_with_the_way_out(tmp_path):
    unpack(tmp_path / SLUG)
    archive.fill(tmp_path / SLUG, None)
    (tmp_path / SLUG / "test_images" / "200002.jpg").unlink()
    with pytest.raises(UserError, match="200002.jpg.*delete .* and run the same command again"):
        archive.fill(tmp_path / SLUG, None)


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
