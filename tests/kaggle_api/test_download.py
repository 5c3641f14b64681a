"""The download through the real client: whole, checked and in one piece, or not there at all."""

import json
import re
import shutil
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from small_bundles import refused
from small_tables import SIX, text_competition

from src.kaggle_api.download import download
from tests.kaggle_stand_in import CUT, HOLD, KEY
from tests.kaggle_user import call, competition_files, folder_of, left_over, run, start, zip_of


def killed_once(begun, process):
    while not begun():
        assert process.poll() is None
    process.kill()
    process.wait()


def damaged(content):
    """A zip with one image overwritten."""
    at = content.index(b"test_images/200003.jpg") + 1000
    return content[:at] + bytes(50) + content[at + 50 :]


def test_download_brings_a_checked_folder_and_the_second_call_does_nothing(kaggle, tmp_path):
    done, again = (run(kaggle, tmp_path, "download") for _ in range(2))
    assert done.returncode == again.returncode == 0 and "100%" in done.stderr, done.stderr
    assert "18 images, 3 classes" in done.stdout and "13,876" in done.stdout
    assert (folder_of(tmp_path) / "train_images" / "hispa" / "100001.jpg").stat().st_size == 3000
    note = json.loads((folder_of(tmp_path) / "archive.json").read_text())
    assert len(note["sha256"]) == 64 and note["bytes"] == len(kaggle.archive)
    assert left_over(tmp_path) == []
    assert "nothing to do" in again.stdout and len(kaggle.seen) == 2
    (folder_of(tmp_path) / "test_images" / "200002.jpg").unlink()
    line = refused(run(kaggle, tmp_path, "download"))
    assert re.search("200002.jpg.*delete .* and run the same command again", line)


@pytest.mark.parametrize(("images", "classes", "published"), [
    (20_579, 0, " (published: 20,579 images)"),
    (0, 120, " (published: 120 classes)"),
    (0, 0, ""),
])  # fmt: skip
def test_published_numbers_are_printed_where_they_are_known(
    own_params, tmp_path, capsys, images, classes, published
):
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["competition"] |= {"images": images, "classes": classes}
    own_params(yaml.safe_dump(params))
    download(str(text_competition(tmp_path / "data", SIX, ["200000.jpg"])))
    assert f": 7 images, 2 classes{published}: already here" in capsys.readouterr().out


def test_a_download_cut_half_way_is_continued_from_there(kaggle, tmp_path):
    kaggle.archive, kaggle.body_troubles = zip_of(competition_files(size=200_000)), [CUT]
    assert run(kaggle, tmp_path, "download").returncode == 0
    first, second = [headers.get("Range", "0") for _, headers, _ in kaggle.called("/archive.zip")]
    assert first == "0" and re.fullmatch(r"bytes=\d{6,}-", second)
    assert folder_of(tmp_path).is_dir()


def test_a_killed_download_is_continued_by_the_next_call(kaggle, tmp_path):
    kaggle.archive, kaggle.body_troubles = zip_of(competition_files(size=200_000)), [HOLD]
    part = folder_of(tmp_path).with_suffix(".zip")
    killed_once(lambda: part.exists() and part.stat().st_size, start(kaggle, tmp_path, "download"))
    kaggle.release.set()
    assert not folder_of(tmp_path).exists()
    here = part.stat().st_size
    assert run(kaggle, tmp_path, "download").returncode == 0
    assert kaggle.called("/archive.zip")[-1][1]["Range"] == f"bytes={here}-"


def test_a_killed_unpacking_leaves_no_folder_and_the_next_call_a_whole_one(kaggle, tmp_path):
    path = tmp_path / "archive.zip"
    path.write_bytes(zip_of(competition_files(images=600, size=50)))
    words = f"download --zip {path}"
    begun = tmp_path / "data" / f".{folder_of(tmp_path).name}.unpacking" / "train_images"
    killed_once(begun.exists, start(kaggle, tmp_path, words))
    assert begun.exists() and not folder_of(tmp_path).exists()
    done = run(kaggle, tmp_path, words)
    assert "1,806 images" in done.stdout and left_over(tmp_path) == []
    assert kaggle.seen == [] and path.exists()  # a zip from the browser needs no Kaggle and stays


def test_a_damaged_archive_is_downloaded_once_more(kaggle, tmp_path):
    whole, kaggle.archive = kaggle.archive, damaged(kaggle.archive)
    assert "damaged" in refused(run(kaggle, tmp_path, "download"))  # at its source
    assert len(kaggle.called("/archive.zip")) == 2 and not folder_of(tmp_path).exists()
    kaggle.archive, path = whole, folder_of(tmp_path).with_suffix(".zip")
    path.write_bytes(damaged(whole))
    done = run(kaggle, tmp_path, "download")
    assert done.returncode == 0 and f"{path} is damaged" in done.stdout, done.stderr
    assert len(kaggle.called("/archive.zip")) == 3 and left_over(tmp_path) == []


@pytest.mark.parametrize("name", ["test_images/200002.jpg", "sample_submission.csv", "half of it"])
def test_a_zip_that_is_not_whole_is_refused_by_name(kaggle, tmp_path, name):
    path, files = tmp_path / "archive.zip", competition_files()
    whole = files.pop(name, None) is None
    path.write_bytes(kaggle.archive[:9000] if whole else zip_of(files))
    line = refused(run(kaggle, tmp_path, f"download --zip {path}"))
    assert (f"{path} is damaged" if whole else Path(name).name) in line and ".unpack" not in line
    assert left_over(tmp_path) == [] and not folder_of(tmp_path).exists()


def test_a_disk_too_small_is_found_out_before_anything_is_fetched(kaggle, tmp_path):
    kaggle.announced = int(shutil.disk_usage(tmp_path).free * 0.7)  # the zip alone would fit
    path = tmp_path / "huge.zip"
    with zipfile.ZipFile(path, "w") as huge:
        huge.writestr("train.csv", b"x")
        huge.infolist()[0].file_size = 10**16
    for words in ("download", f"download --zip {path}"):
        assert "GB free" in refused(run(kaggle, tmp_path, words))
    assert left_over(tmp_path) == []


@pytest.mark.parametrize(("trouble", "remedy"), [
    ((401, "Unauthenticated"), "make a token at"),
    ((403, "You must accept this competition's rules"), "/rules"),
    ((404, "Not found"), "closed"),
    ((400, f"{'x' * 190}{KEY}"), "x***"),
    ((429, f"too many, {KEY}", {"Retry-After": "7200"}), "wait 7200 seconds"),
])  # fmt: skip
def test_a_refused_download_is_one_line_with_the_remedy(kaggle, tmp_path, trouble, remedy):
    kaggle.troubles["DownloadDataFiles"] = [trouble]
    line = refused(run(kaggle, tmp_path, "download"))
    assert remedy in line and KEY[:7] not in line
    assert len(kaggle.seen) == 1 and left_over(tmp_path) == [] and kaggle.slept == []


def test_transient_errors_are_waited_for(kaggle, tmp_path):
    slower = (429, "slower", {"Retry-After": "5"})
    kaggle.troubles["DownloadDataFiles"] = [(500, "oops"), slower, (503, "unavailable")]
    assert run(kaggle, tmp_path, "download").returncode == 0
    assert len(kaggle.called("DownloadDataFiles")) == 4 and kaggle.slept == [0.5, 5, 8]


def test_without_credentials_the_line_names_their_file(kaggle, tmp_path):
    bare = ["env", "-u", "KAGGLE_USERNAME", "-u", "KAGGLE_KEY", sys.executable, "-m"]
    done = call(kaggle, tmp_path, [*bare, "src.kaggle_api", "download"])
    assert "~/.kaggle/access_token" in refused(done) and kaggle.seen == []
