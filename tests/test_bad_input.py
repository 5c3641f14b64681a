"""Each bad input gets one line, a non-zero exit, and leaves every file as it was."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, TINY, run
from PIL import Image
from small_bundles import RESNET, VIT, call, refused, snapshot, tables_of

from src.core import make_variant
from src.ensemble.__main__ import main as ensemble
from src.notebook import start

KINDS = ("truncated", "empty", "text", "huge")


@pytest.fixture
def vote(family) -> Path:
    """A work folder with three bundles that only need to be averaged."""
    return family.parent


@pytest.fixture
def finished(predicted) -> Path:
    """A work folder where another test set has to be predicted by real models."""
    return predicted.parent


def train(models: str = "") -> None:
    """What the training notebook does before any work."""
    start(make_variant(**TINY, desc="new"), "", models, "paddy_train", False)


def spoil(path, kind):
    """Make a photograph unreadable in one of the KINDS of ways."""
    raw = path.read_bytes()
    size = raw.index(b"\xff\xc0") + 5  # where a JPEG tells its height and width
    spoilt = {
        "truncated": raw[:700],
        "empty": b"",
        "text": b"no picture at all\n" * 9,
        "huge": raw[:size] + b"\xff" * 4 + raw[size + 4 :] + b"\0",
    }
    path.write_bytes(spoilt[kind])


def refused_by(main, *folders):
    """The line `main` refuses with; no file below `folders` has changed."""
    before = snapshot(*folders)
    line = refused(call(main))
    assert snapshot(*folders) == before
    return line


# Tables and folders


@pytest.mark.parametrize("main", [ensemble, train])
def test_no_data(vote, tmp_path, monkeypatch, main):
    monkeypatch.setenv("PADDY_DATA", str(tmp_path / "nowhere"))
    line = refused_by(main, tmp_path)
    assert "nowhere" in line and "src.kaggle_api download" in line and "make demo" in line


HEADERS = {"train.csv": b"image_id,label,variety,age", "sample_submission.csv": b"image_id,label"}
ROWS = {"train.csv": b"100001.jpg,disease_a,ADT45,45", "sample_submission.csv": b"200001.jpg,"}


@pytest.mark.parametrize(
    "main, name",
    [(main, name) for main in (ensemble, train) for name in HEADERS],
)
@pytest.mark.parametrize(
    "content, told",
    [
        (None, ""),
        ("", "is empty"),
        ("{header}\n", "no rows"),
        ("label\ndisease_a\n", "image_id"),
        ("{header}\n{row}\n{row},more\n", "fields instead of"),
        ('{header}\n"{row}\n', "no readable CSV"),
        ("{header}\n{row}\n\udcff\n", "no readable CSV"),
        ("{header}\n{row}\n{row}\n", "id twice"),
    ],
)
def test_a_table_that_is_missing_empty_or_torn(vote, data, tmp_path, main, name, content, told):
    path = data / name
    if content is None:
        path.unlink()
    else:
        text = content.format(header=HEADERS[name].decode(), row=ROWS[name].decode())
        path.write_bytes(text.encode(errors="surrogateescape"))
    line = refused_by(main, tmp_path)
    assert name in line and told in line


def test_a_test_set_that_is_not_whole_is_told_before_training(work, data, tmp_path):
    (data / "test_images" / "200003.jpg").unlink()
    line = refused_by(train, tmp_path)
    assert "rows of the sample without an image (1): 200003.jpg" in line


def unknown_class(data):
    shutil.copytree(data / "train_images" / "disease_a", data / "train_images" / "rust")
    return "rust"


def missing_class(data):
    shutil.rmtree(data / "train_images" / "disease_b")
    return "disease_b"


def image_without_a_row(data):
    folder = data / "train_images" / "disease_a"
    shutil.copy(folder / "100001.jpg", folder / "999.jpg")
    return "disease_a/999.jpg"


def row_without_an_image(data):
    (data / "train_images" / "disease_a" / "100001.jpg").unlink()
    return "disease_a/100001.jpg"


@pytest.mark.parametrize("main", [ensemble, train])
@pytest.mark.parametrize(
    "change", [unknown_class, missing_class, image_without_a_row, row_without_an_image]
)
def test_folders_that_train_csv_does_not_describe(vote, data, tmp_path, main, change):
    name = change(data)
    assert name in refused_by(main, tmp_path)


@pytest.mark.parametrize("extra", [True, False])
def test_a_test_folder_that_the_sample_does_not_describe(vote, data, tmp_path, extra):
    path = data / "test_images" / "200004.jpg"
    path.rename(path.with_name("200099.jpg")) if extra else path.unlink()
    assert "200004.jpg" in refused_by(ensemble, tmp_path)


# Photographs


def test_unreadable_training_images_are_named_before_any_work(work, data, tmp_path):
    for number, kind in enumerate(KINDS):
        spoil(data / "train_images" / "disease_a" / f"1000{1 + 3 * number:02d}.jpg", kind)
    line = refused_by(train, tmp_path)
    assert "4 unreadable images" in line
    assert all(f"disease_a/1000{n}.jpg" in line for n in ("01", "04", "07", "10"))


def test_the_command_tells_an_unreadable_training_image_in_one_line(work, data):
    spoil(data / "train_images" / "disease_a" / "100004.jpg", "text")
    before = snapshot(work, data)
    line = refused(run("-m", "src.run", "test_resnet_squish_96"))
    assert "100004.jpg" in line and "restore" in line
    after = snapshot(work, data)
    assert {path: after[path] for path in before} == before
    assert not list((work / "models").glob("test_resnet_squish_96*"))


@pytest.mark.parametrize("kind", ["text", "empty", "huge"])  # truncated: test_predict
def test_an_unreadable_test_image_is_named_and_no_file_changed(finished, data, tmp_path, kind):
    spoil(data / "test_images" / "200006.jpg", kind)
    line = refused_by(ensemble, tmp_path)
    assert "200006.jpg" in line


def stored_oddly(folder):
    """Pictures of kinds that are accepted, and below the next id what they must be taken for."""
    y, x = np.mgrid[:64, :48]
    image = Image.fromarray(np.stack([4 * y, 5 * x, 0 * x + 90], 2).astype("uint8"))
    grey, turned, exif = image.convert("L"), image.rotate(90, expand=True), Image.Exif()
    exif[0x0112] = 6  # to be shown a quarter turn clockwise
    pairs = [
        (grey, {"format": "PNG"}, grey.convert("RGB")),
        (image.convert("CMYK"), {"format": "TIFF"}, image),
        (image.convert("RGBA"), {"format": "PNG"}, image),
        (turned, {"format": "PNG", "exif": exif}, image),
    ]
    for number, (odd, options, plain) in enumerate(pairs):
        odd.save(folder / f"20000{2 * number + 1}.jpg", **options)
        plain.save(folder / f"20000{2 * number + 2}.jpg", format="PNG")
    turned.save(folder / "200009.jpg", format="PNG")


def test_grey_cmyk_transparent_and_turned_pictures_become_rgb_upright(finished, data):
    stored_oddly(data / "test_images")
    assert call(ensemble, "--force").returncode == 0
    for name in (RESNET, VIT):
        plain = tables_of(finished / "models", name)[0]["plain"]
        grey, upright, turned = (plain.loc[f"20000{n}.jpg"] for n in (2, 4, 9))
        np.testing.assert_allclose(plain.iloc[0:8:2], plain.iloc[1:8:2], atol=1e-5)
        for other in (grey, turned):
            assert (upright - other).abs().max() > 1e-3, "alike anyway: this shows nothing"


# Places that cannot be written


@pytest.mark.parametrize("place", ["/proc/nowhere", "file"])
def test_a_models_folder_that_cannot_be_written_is_refused_before_training(vote, tmp_path, place):
    (tmp_path / "file").write_text("in the way")
    folder = str(tmp_path / "file" / "models") if place == "file" else place
    line = refused_by(lambda: train(folder), tmp_path)
    assert "cannot write" in line and "PADDY_WORK" in line


def test_a_work_folder_that_cannot_be_written_is_told_by_the_command(data, tmp_path):
    (tmp_path / "file").write_text("in the way")
    done = run("-m", "src.run", "test_resnet_squish_96", PADDY_WORK=str(tmp_path / "file"))
    line = refused(done)
    assert "cannot write" in line and "PADDY_WORK" in line


def test_a_submissions_folder_that_cannot_be_written(vote, tmp_path):
    (vote / "submissions").write_text("in the way")
    line = refused_by(ensemble, tmp_path)
    assert "cannot write" in line and "paddy_train" in line


def test_a_full_disk_while_the_submission_is_written(vote, tmp_path):
    """No file may have a single byte; `ulimit` makes the kernel say so."""
    before = snapshot(tmp_path)
    done = subprocess.run(
        ["sh", "-c", 'ulimit -f 0; exec "$0" -m src.ensemble', sys.executable],
        cwd=ROOT, capture_output=True, text=True,
    )
    assert "cannot write" in refused(done)
    assert snapshot(tmp_path) == before


def test_predictions_that_cannot_be_written(finished, data, tmp_path):
    path = finished / "models" / f"{VIT}.test.parquet"
    path.unlink()
    (path / "in the way").mkdir(parents=True)
    before = snapshot(tmp_path)
    line = refused(call(ensemble))
    assert "cannot write" in line and path.name in line
    after = snapshot(tmp_path)  # the answers are kept for the next try
    assert {file: after[file] for file in before} == before
    assert all("cache/predicting_" in file for file in after.keys() - before.keys())
