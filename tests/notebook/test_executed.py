"""The training notebook executed for real by papermill: what it shows, and how it ends."""

import json
import os
import re
import shutil
import subprocess
import sys

import nbformat
import pandas as pd
import pytest
from conftest import TINY, TRAIN, bundle_files, cells, train_notebook
from executed import as_text, last_line, outputs


@pytest.mark.parametrize(
    ("fragment", "pictures"),
    [("show_batch", 1), ("loss_plot", 1), ("schedule_plot", 1), ("plot_mistakes", 2)],
)
def test_executed_notebook_has_its_pictures(trained_once, fragment, pictures):
    shown = outputs(trained_once / "executed.ipynb", fragment)
    drawn = [output.data.get("image/png") for output in shown if "data" in output]
    sizes = [len(png) for png in drawn if png]
    assert len(sizes) == pictures and min(sizes) > 5_000


def test_executed_notebook_shows_the_hold_out_error_in_images_with_and_without_tta(trained_once):
    table = as_text(outputs(trained_once / "executed.ipynb", "holdout_table"), "text/html")
    assert "hold-out error" in table and "plain" in table and "with TTA" in table
    assert table.count("of 6") == 2  # a fifth of 30 images


def test_executed_notebook_tells_the_error_of_every_epoch_in_images(trained_once):
    table = as_text(outputs(trained_once / "executed.ipynb", "fit(get_learner"), "text/html")
    names, *rows = (re.findall(r"<t[dh]>(.*?)</t[dh]>", row) for row in table.split("<tr>")[1:])
    assert names == ["epoch", "train_loss", "valid_loss", "hold-out error (95 % interval)", "time"]
    assert [row[0] for row in rows] == ["1", "2", "3"]
    for row in rows:
        told = re.fullmatch(r"(\d) of 6 wrong: (.*) % \(.* to .*\)", row[3])
        assert told and told[2] == f"{100 * int(told[1]) / 6:.2f}"


def test_executed_notebook_ran_to_its_end(trained_once):
    executed = cells(trained_once / "executed.ipynb", "code")
    assert all(cell.execution_count for cell in executed)
    assert not any(o.output_type == "error" for cell in executed for o in cell.outputs)
    kinds = {(o.output_type, o.get("name")) for cell in executed for o in cell.outputs}
    assert kinds <= {("execute_result", None), ("display_data", None)}


def test_executed_notebook_begins_with_the_variant_and_ends_with_what_comes_next(trained_once):
    path = trained_once / "executed.ipynb"
    table = as_text(outputs(path, "variant_table("), "text/html")
    rows = re.findall(r"<tr>(.*?)</tr>", table.replace("\n", ""))
    shown = [re.findall(r"<td.*?>(.*?)</td>", row) for row in rows]
    assert ["name", "test_vit_squish_32", ""] in shown and ["size", "32", "224"] in shown
    assert ["images trained on", "24", ""] in shown and ["images held out", "6", ""] in shown
    cells_of_code = cells(path, "code")
    last = as_text(cells_of_code[-1].outputs, "text/plain")
    assert "test_vit_squish_32.pkl" in last and "of 6 wrong: " in last
    assert "\npython -m src.ensemble" in last


def test_misspelt_name_stops_papermill_before_any_work(competition_once, tmp_path):
    done = train_notebook(competition_once, tmp_path, archh="test_vit")
    assert done.returncode != 0
    assert last_line(done) == "error: unknown parameter 'archh'; did you mean 'arch'?"
    assert not (tmp_path / "models").exists()
    executed = [c.execution_count for c in cells(tmp_path / "executed.ipynb", "code")]
    assert executed[3:] == [None] * len(executed[3:])  # defaults, injected, the check: no more


def test_weights_that_cannot_be_had_are_the_last_line_before_any_photograph_is_read(
    competition_once, tmp_path, monkeypatch
):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    done = train_notebook(competition_once, tmp_path, pretrained=True)
    line = last_line(done)
    assert done.returncode == 1 and line.startswith("error: no weights for test_resnet from")
    assert "HF_HUB_OFFLINE=1" in line and line.endswith("random weights: -p pretrained false")
    executed = [c.execution_count for c in cells(tmp_path / "executed.ipynb", "code")]
    assert executed[3:] == [None] * len(executed[3:])
    assert list((tmp_path / "models").iterdir()) == []


def as_a_user(monkeypatch):
    """Kernels that do not know of pytest: beneath it, ipykernel leaves out the terminal."""
    monkeypatch.delenv("PYTEST_CURRENT_TEST")  # in the test's body: pytest sets it for each phase


def test_rerun_is_skipped_and_goes_to_standard_output_without_a_path(
    competition_once, work, monkeypatch
):
    as_a_user(monkeypatch)
    before, template = bundle_files(work), TRAIN.read_bytes()
    words = [word for name, value in TINY.items() for word in ("-p", name, str(value))]
    done = subprocess.run(
        [sys.executable, "-m", "papermill", "paddy_train.ipynb", *words],
        cwd=TRAIN.parent, capture_output=True, text=True,
        env=os.environ | {"PADDY_DATA": str(competition_once), "PADDY_WORK": str(work)},
    )
    assert done.returncode == 0, done.stderr
    assert "finished already" in done.stderr and "-p overwrite true" in done.stderr
    printed = nbformat.reads(done.stdout, as_version=4)
    assert printed.cells[0].source.startswith("# Train one variant")
    assert bundle_files(work) == before
    assert TRAIN.read_bytes() == template


def test_overwrite_of_a_copy_trains_again_visibly_under_its_own_name_to_the_same_end(
    competition_once, work, tmp_path, monkeypatch
):
    as_a_user(monkeypatch)
    copy = shutil.copy(TRAIN, tmp_path / "my try.ipynb")
    stem = work / "models" / "test_resnet_squish_32"
    before, first = bundle_files(work), pd.read_parquet(f"{stem}.valid.parquet")
    done = train_notebook(competition_once, work, copy, overwrite=True)
    assert done.returncode == 0, done.stderr
    # while papermill runs: before its own bar comes to the end
    assert 0 < done.stderr.index("epoch 1/3") < done.stderr.index("Executing: 100%")
    assert "of 6 wrong: " in done.stderr
    streams = [o.name for cell in cells(work / "executed.ipynb", "code") for o in cell.outputs
               if o.output_type == "stream"]
    assert "stderr" not in streams  # the bars are for the terminal, not for the reader
    after = bundle_files(work)
    redone = {name for name in before if after[name][1] != before[name][1]}
    assert redone == {f"{stem.name}{kind}" for kind in (".pkl", ".json", ".valid.parquet")}
    card = json.loads(stem.with_suffix(".json").read_text())
    assert (card["notebook"], card["weights"]) == ("my try", "random")
    # another process, and all that is random in it: loaders, augmentation, weights
    again = pd.read_parquet(f"{stem}.valid.parquet")
    pd.testing.assert_frame_equal(again, first, rtol=0, atol=1e-6)
