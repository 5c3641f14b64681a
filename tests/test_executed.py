"""Notebooks executed for real by papermill: what they show, and how they end."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import papermill
import pytest
from conftest import (
    ROOT,
    TINY,
    TRAIN,
    bundle_files,
    cells,
    draw_competition,
    run,
    train_notebook,
)
from small_bundles import strong_and_weak_in

from src.blends import MEAN_METHODS, OTHERS, PLAIN
from src.jupyter import NO_BREAK
from src.vote import PARAMETERS

ENSEMBLE = ROOT / "notebooks" / "paddy_ensemble.ipynb"


def outputs(executed: Path, fragment: str) -> list[nbformat.NotebookNode]:
    """The outputs of the one code cell that has `fragment` in its source."""
    found = [c for c in cells(executed, "code") if fragment in c.source]
    assert len(found) == 1, fragment
    return found[0].outputs


def as_text(outputs: list[nbformat.NotebookNode], kind: str) -> str:
    shown = "".join(o.data[kind] for o in outputs if "data" in o and kind in o.data)
    return shown.replace(NO_BREAK, " ")


# the training notebook


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


def last_line(done: subprocess.CompletedProcess) -> str:
    """What papermill's user reads last."""
    return done.stderr.rstrip().splitlines()[-1]


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


# the ensemble's notebook


def ensemble_notebook(
    data: Path, work: Path, template: Path = ENSEMBLE, **parameters: object
) -> subprocess.CompletedProcess:
    """The real notebook, or a copy, through the real papermill; the executed one is in `work`."""
    words = [word for k, v in parameters.items() for word in ("-p", k, str(v))]
    return run("-m", "papermill", str(template), str(work / "vote.ipynb"), *words,
               PADDY_DATA=str(data), PADDY_WORK=str(work))


def said(executed: Path, fragment: str) -> str:
    """The text that the one cell with `fragment` in its source shows, as lines."""
    shown = [o for o in outputs(executed, fragment) if o.output_type == "display_data"]
    return as_text(shown, "text/plain")


@pytest.fixture(scope="module")
def voted(trained_once, competition_once, tmp_path_factory) -> Path:
    """A work folder whose two tiny models have voted, one of them doubly, in a copied notebook."""
    work = shutil.copytree(trained_once, tmp_path_factory.mktemp("voted") / "work")
    copy = shutil.copy(ENSEMBLE, work / "my_vote.ipynb")
    done = ensemble_notebook(competition_once, work, copy, weights="vit=2", force=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return work


@pytest.fixture(scope="module")
def selected(tmp_path_factory) -> Path:
    """The same for hand-made models that held out enough images for a search."""
    folder = tmp_path_factory.mktemp("selected")
    data, work = draw_competition(folder / "data", each=20), folder / "work"
    strong_and_weak_in(work / "models", data)
    done = ensemble_notebook(data, work, select="auto")
    assert done.returncode == 0, done.stderr[-3000:]
    return work


def test_the_ensemble_s_parameters_are_those_the_vote_knows():
    assert tuple(papermill.inspect_notebook(str(ENSEMBLE))) == PARAMETERS


def test_the_submission_is_named_after_the_copied_notebook_that_wrote_it(voted):
    told = json.loads((voted / "submissions" / "my_vote.json").read_text())
    assert told["notebook"] == "my_vote" and told["select"] == "equal"
    weights = {member["family"]: member["weight"] for member in told["members"]}
    assert weights == {"resnet": 1, "vit": 2}
    assert [path.name for path in (voted / "submissions").glob("*.csv")] == ["my_vote.csv"]
    assert "kaggle competitions submit" in said(voted / "vote.ipynb", "write_vote(vote")


@pytest.mark.parametrize("work", ["voted", "selected"])
@pytest.mark.parametrize(
    "figure",
    ["error_plot", "disagreement_map", "correlation_map", "reliability_plot", "class_plot"],
)
def test_every_figure_is_there_once_and_nothing_went_wrong(request, work, figure):
    executed = request.getfixturevalue(work) / "vote.ipynb"
    drawn = [o for o in outputs(executed, figure) if "image/png" in o.get("data", {})]
    assert len(drawn) == 1 and len(drawn[0].data["image/png"]) > 5_000
    code = cells(executed, "code")
    assert all(cell.execution_count for cell in code)
    kinds = {o.output_type for cell in code for o in cell.outputs}
    assert kinds == {"execute_result", "display_data"}  # no warnings, nothing printed in a <pre>


def test_without_enough_images_the_notebook_says_what_a_search_lacks(voted):
    told = said(voted / "vote.ipynb", "trials_table")
    assert "a search for weights needs two models and 50 images" in told
    assert "there are 2 and 6:" in told


def test_the_search_s_table_and_its_decision_are_shown(selected):
    executed = selected / "vote.ipynb"
    table = as_text(outputs(executed, "trials_table"), "text/html")
    for method in ("equal", *PLAIN, *MEAN_METHODS, *OTHERS):
        assert f">{method}</td>" in table
    told = json.loads((selected / "submissions" / "paddy_ensemble.json").read_text())
    assert told["select"] == "auto" and "are taken" in told["why"]
    assert said(executed, "trials_table").splitlines() == [
        told["why"], f"the same again: --weights {told['weights']}"
    ]
    members = as_text(outputs(executed, "members_table"), "text/html")
    assert "of 60 wrong" in members and "strong" in members


def test_a_misspelt_parameter_stops_the_ensemble_with_one_line(competition_once, tmp_path):
    done = ensemble_notebook(competition_once, tmp_path, weigths="vit=2")
    assert done.returncode != 0
    assert last_line(done) == "error: unknown parameter 'weigths'; did you mean 'weights'?"
    assert not (tmp_path / "submissions").exists()
