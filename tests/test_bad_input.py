"""Each bad input gets one line, a non-zero exit, and leaves every file as it was."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT, TINY, run
from PIL import Image
from small_bundles import RESNET, VIT, call, refused, snapshot, tables_of

from src.core import make_variant
from src.ensemble.__main__ import main as ensemble
from src.training import start

KINDS = ("truncated", "empty", "text", "huge")
SMALL = "tf_efficientnet_lite0_squish_96"  # a row of params.yaml


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


# Tables and folders; how each table is torn: test_inspection


FAULTS = {  # what the line names → the change
    "no competition in": lambda data: data.rename(data.with_name("away")),
    "lacks train.csv": lambda data: (data / "train.csv").unlink(),
    "train.csv is empty": lambda data: (data / "train.csv").write_text(""),
    "sample_submission.csv has a header but no rows": lambda data: (
        data / "sample_submission.csv").write_text("image_id,label\n"),
    "does not know (1): rust": lambda data: shutil.copytree(
        data / "train_images" / "disease_a", data / "train_images" / "rust"),
    "without a folder (1): disease_b": lambda data: shutil.rmtree(
        data / "train_images" / "disease_b"),
    "200004.jpg": lambda data: (data / "test_images" / "200004.jpg").unlink(),
}


@pytest.mark.parametrize("main", [ensemble, train])
@pytest.mark.parametrize("fault", FAULTS)
def test_data_that_is_missing_torn_or_not_whole(family, data, tmp_path, main, fault):
    FAULTS[fault](data)
    line = refused_by(main, tmp_path)
    assert fault in line and ("unpack" in line or "make demo" in line)


# Photographs


def test_the_command_names_unreadable_training_images_before_any_work(work, data):
    for number, kind in enumerate(KINDS):
        spoil(data / "train_images" / "disease_a" / f"1000{1 + 3 * number:02d}.jpg", kind)
    before = snapshot(work, data)
    line = refused(run("-m", "src.run", SMALL))
    assert "unreadable images (4)" in line
    assert all(f"disease_a/1000{n}.jpg" in line for n in ("01", "04", "07", "10"))
    after = snapshot(work, data)
    assert {path: after[path] for path in before} == before
    assert not list((work / "models").glob(f"{SMALL}*"))


@pytest.mark.parametrize("kind", ["text", "huge"])  # truncated: test_predict
def test_an_unreadable_test_image_is_named_and_no_file_changed(predicted, data, tmp_path, kind):
    spoil(data / "test_images" / "200006.jpg", kind)
    assert "200006.jpg" in refused_by(ensemble, tmp_path)


def test_grey_cmyk_transparent_and_turned_pictures_become_rgb_upright(predicted, data):
    y, x = np.mgrid[:64, :48]
    image = Image.fromarray(np.stack([4 * y, 5 * x, 0 * x + 90], 2).astype("uint8"))
    grey, turned, exif = image.convert("L"), image.rotate(90, expand=True), Image.Exif()
    exif[0x0112] = 6  # to be shown a quarter turn clockwise
    pairs = [  # a picture of a kind that is accepted, its file, what it must be taken for
        (grey, {"format": "PNG"}, grey.convert("RGB")),
        (image.convert("CMYK"), {"format": "TIFF"}, image),
        (image.convert("RGBA"), {"format": "PNG"}, image),
        (turned, {"format": "PNG", "exif": exif}, image),
    ]
    for number, (odd, options, plain) in enumerate(pairs):
        odd.save(data / f"test_images/20000{2 * number + 1}.jpg", **options)
        plain.save(data / f"test_images/20000{2 * number + 2}.jpg", format="PNG")
    turned.save(data / "test_images/200009.jpg", format="PNG")
    assert call(ensemble, "--force").returncode == 0
    for name in (RESNET, VIT):
        plain = tables_of(predicted, name)[0]["plain"]
        np.testing.assert_allclose(plain.iloc[0:8:2], plain.iloc[1:8:2], atol=1e-5)
        for other in ("200002.jpg", "200009.jpg"):  # else equal anyway
            assert np.log(plain.loc["200004.jpg"] / plain.loc[other]).abs().max() > 1e-2


# Places that cannot be written


def test_a_models_folder_that_cannot_be_written_is_refused_before_training(family, tmp_path):
    line = refused_by(lambda: train("/proc/nowhere"), tmp_path)
    assert "cannot write" in line and "PADDY_WORK" in line


def test_a_work_folder_that_cannot_be_written_is_refused_by_the_command(data, tmp_path):
    (tmp_path / "file").write_text("in the way")
    line = refused(run("-m", "src.run", SMALL, PADDY_WORK=str(tmp_path / "file")))
    assert "cannot write" in line and "PADDY_WORK" in line


def test_a_submission_that_cannot_be_written(family, tmp_path):
    (family.parent / "submissions").write_text("in the way")
    line = refused_by(ensemble, tmp_path)
    assert "cannot write" in line and "paddy_train" in line
    (family.parent / "submissions").unlink()
    before = snapshot(tmp_path)
    full = 'ulimit -f 0; exec "$0" -m src.ensemble'  # no file may have a single byte
    done = subprocess.run(["sh", "-c", full, sys.executable], cwd=ROOT, capture_output=True,
                          text=True)
    assert "cannot write" in refused(done) and snapshot(tmp_path) == before


def test_predictions_that_cannot_be_written(predicted, data, tmp_path):
    path = predicted / f"{VIT}.test.parquet"
    path.unlink()
    (path / "in the way").mkdir(parents=True)
    before = snapshot(tmp_path)
    line = refused(call(ensemble))
    assert "cannot write" in line and path.name in line
    after = snapshot(tmp_path)  # the answers stay for the next try
    assert {file: after[file] for file in before} == before
    assert all("cache/predicting_" in file for file in after.keys() - before.keys())
