"""The training notebook executed for real by papermill: what it shows, and how it ends."""

import json
import os
import re
import shutil
import subprocess
import sys

import nbformat
import pandas as pd
from conftest import TINY, TRAIN, bundle_files, cells, train_notebook
from executed import html_of, last_line, pictures, run_without_error, text_of


def test_executed_notebook_shows_pictures_errors_in_images_and_what_comes_next(trained_once):
    path = trained_once / "executed.ipynb"
    run_without_error(path)
    drawn = {"show_batch": 1, "loss_plot": 1, "schedule_plot": 1, "plot_mistakes": 2}
    sizes = {fragment: pictures(path, fragment) for fragment in drawn}
    assert {fragment: len(each) for fragment, each in sizes.items()} == drawn
    assert min(min(each) for each in sizes.values()) > 5_000
    begin, holdout = html_of(path, "variant_table("), html_of(path, "holdout_table")
    assert ">test_vit_squish_32</td>" in begin and ">24</td>" in begin
    assert holdout.count("of 6 wrong") == 2  # plain and with TTA
    end = text_of(path, "next_steps(")
    assert "test_vit_squish_32.pkl" in end and "\npython -m src.ensemble" in end


def test_every_epoch_is_a_row_with_its_error_in_images(trained_once):
    table = html_of(trained_once / "executed.ipynb", "fit(get_learner")
    names, *rows = (re.findall(r"<t[dh]>(.*?)</t[dh]>", row) for row in table.split("<tr>")[1:])
    assert names == ["epoch", "train_loss", "valid_loss", "hold-out error (95 % interval)", "time"]
    assert [row[0] for row in rows] == ["1", "2", "3"]
    for row in rows:
        wrong, error = re.fullmatch(r"(\d) of 6 wrong: (.*) % \(.* to .*\)", row[3]).groups()
        assert error == f"{100 * int(wrong) / 6:.2f}"


def test_misspelt_name_stops_papermill_before_any_work(competition_once, tmp_path):
    done = train_notebook(competition_once, tmp_path, archh="test_vit")
    assert done.returncode == 1
    assert last_line(done) == "error: unknown parameter 'archh'; did you mean 'arch'?"
    executed = [cell.execution_count for cell in cells(tmp_path / "executed.ipynb", "code")]
    assert set(executed[3:]) == {None}  # after defaults, injected ones and the check
    assert not list(tmp_path.glob("models/*"))


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
    assert (bundle_files(work), TRAIN.read_bytes()) == (before, template)


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
    run_without_error(work / "executed.ipynb")  # the bars are for the terminal alone
    after = bundle_files(work)
    redone = {name for name in before if after[name][1] != before[name][1]}
    assert redone == {f"{stem.name}{kind}" for kind in (".pkl", ".json", ".valid.parquet")}
    card = json.loads(stem.with_suffix(".json").read_text())
    assert (card["notebook"], card["weights"]) == ("my try", "random")
    # another process, and all that is random in it: loaders, augmentation, weights
    again = pd.read_parquet(f"{stem}.valid.parquet")
    pd.testing.assert_frame_equal(again, first, rtol=0, atol=1e-6)
