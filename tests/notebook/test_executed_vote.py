"""The ensemble's notebook executed for real by papermill: what it shows, and how it ends."""

import json
import shutil
import subprocess
from pathlib import Path

import papermill
import pytest
from conftest import ROOT, cells, draw_competition, run
from executed import as_text, last_line, outputs, said
from small_bundles import strong_and_weak_in

from src.ensemble import PARAMETERS
from src.ensemble.search import STACKING
from src.ensemble.weights import METHODS

ENSEMBLE = ROOT / "notebooks" / "paddy_ensemble.ipynb"


def ensemble_notebook(
    data: Path, work: Path, template: Path = ENSEMBLE, **parameters: object
) -> subprocess.CompletedProcess:
    """The real notebook, or a copy, through the real papermill; the executed one is in `work`."""
    words = [word for k, v in parameters.items() for word in ("-p", k, str(v))]
    return run("-m", "papermill", str(template), str(work / "vote.ipynb"), *words,
               PADDY_DATA=str(data), PADDY_WORK=str(work))


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
    assert "kaggle competitions submit" in said(voted / "vote.ipynb", "write_ensemble(ensemble")


@pytest.mark.parametrize("work", ["voted", "selected"])
@pytest.mark.parametrize(
    "figure", ["error_plot", "disagreement_map", "reliability_plot", "class_plot"]
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
    assert "needs 2 models and 50 images" in told
    assert "there are 2 and 6:" in told


def test_the_search_s_table_and_its_decision_are_shown(selected):
    executed = selected / "vote.ipynb"
    table = as_text(outputs(executed, "trials_table"), "text/html")
    for method in ("equal", *METHODS, STACKING):
        assert f">{method}</td>" in table
    told = json.loads((selected / "submissions" / "paddy_ensemble.json").read_text())
    assert told["select"] == "auto" and "is taken" in told["why"]
    assert said(executed, "trials_table").splitlines() == [
        told["why"], f"to repeat it: --weights {told['weights']}"
    ]
    members = as_text(outputs(executed, "members_table"), "text/html")
    assert "of 60 wrong" in members and "strong" in members


def test_a_misspelt_parameter_stops_the_ensemble_with_one_line(competition_once, tmp_path):
    done = ensemble_notebook(competition_once, tmp_path, weigths="vit=2")
    assert done.returncode != 0
    assert last_line(done) == "error: unknown parameter 'weigths'; did you mean 'weights'?"
    assert not (tmp_path / "submissions").exists()
