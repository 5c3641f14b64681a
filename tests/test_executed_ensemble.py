"""The ensemble's notebook executed for real by papermill: what it shows, and how it ends."""

import json
import shutil
import subprocess
from pathlib import Path

import papermill
import pytest
from conftest import ROOT, run
from executed import html_of, last_line, pictures, run_without_error, text_of
from small_bundles import strong_and_weak_in

from src.ensemble import PARAMETERS
from src.ensemble.search import STACKING
from src.ensemble.weights import METHODS

ENSEMBLE = ROOT / "notebooks" / "paddy_ensemble.ipynb"
FIGURES = ("error_plot", "disagreement_map", "reliability_plot", "class_plot")


def ensemble_notebook(
    data: Path, work: Path, template: Path = ENSEMBLE, **parameters: object
) -> subprocess.CompletedProcess:
    """The real notebook, or a copy, through the real papermill; the executed one is in `work`."""
    words = [word for k, v in parameters.items() for word in ("-p", k, str(v))]
    return run("-m", "papermill", str(template), str(work / "ensemble.ipynb"), *words,
               PADDY_DATA=str(data), PADDY_WORK=str(work))


@pytest.fixture(scope="module")
def averaged(trained_once, competition_once, tmp_path_factory) -> Path:
    """A work folder whose two tiny models a copied notebook has averaged, one of them doubly."""
    work = shutil.copytree(trained_once, tmp_path_factory.mktemp("averaged") / "work")
    copy = shutil.copy(ENSEMBLE, work / "my_ensemble.ipynb")
    done = ensemble_notebook(competition_once, work, copy, weights="vit=2", force=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return work


@pytest.fixture(scope="module")
def selected(sixty_once, tmp_path_factory) -> Path:
    """The same for hand-made models that held out enough images for a search."""
    work = tmp_path_factory.mktemp("selected")
    strong_and_weak_in(work / "models", sixty_once)
    done = ensemble_notebook(sixty_once, work, select="auto")
    assert done.returncode == 0, done.stderr[-3000:]
    return work


def test_its_parameters_are_those_of_the_ensemble():
    assert tuple(papermill.inspect_notebook(str(ENSEMBLE))) == PARAMETERS


@pytest.mark.parametrize("work", ["averaged", "selected"])
def test_every_figure_is_there_once_and_nothing_went_wrong(request, work):
    executed = request.getfixturevalue(work) / "ensemble.ipynb"
    for figure in FIGURES:
        (size,) = pictures(executed, figure)
        assert size > 5_000
    run_without_error(executed)


def test_submission_is_named_after_the_copied_notebook_that_wrote_it(averaged):
    record = json.loads((averaged / "submissions" / "my_ensemble.json").read_text())
    assert record["notebook"] == "my_ensemble" and record["select"] == "equal"
    weights = {member["family"]: member["weight"] for member in record["members"]}
    assert weights == {"resnet": 1, "vit": 2}
    assert [path.name for path in (averaged / "submissions").glob("*.csv")] == ["my_ensemble.csv"]
    executed = averaged / "ensemble.ipynb"
    assert "kaggle competitions submit" in text_of(executed, "write_ensemble(ensemble")
    assert "there are 2 and 6" in text_of(executed, "trials_table")  # no search


def test_table_and_decision_of_the_search_are_shown(selected):
    executed = selected / "ensemble.ipynb"
    table, text = html_of(executed, "trials_table"), text_of(executed, "trials_table")
    assert all(f">{method}</td>" in table for method in ("equal", *METHODS, STACKING))
    record = json.loads((selected / "submissions" / "paddy_ensemble.json").read_text())
    assert record["select"] == "auto" and record["why"] in text
    assert f"--weights {record['weights']}" in text
    assert "of 60 wrong" in html_of(executed, "members_table")
    assert "mean confidence" in text_of(executed, "reliability_plot")
    assert "chi-square" in text_of(executed, "class_plot")


def test_misspelt_parameter_is_one_line(competition_once, tmp_path):
    done = ensemble_notebook(competition_once, tmp_path, weigths="vit=2")
    assert done.returncode != 0
    assert last_line(done) == "error: unknown parameter 'weigths'; did you mean 'weights'?"
    assert not (tmp_path / "submissions").exists()
