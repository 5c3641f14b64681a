"""A variant that holds nothing out, from its notebook to the submission: no error is claimed."""

import pytest
from conftest import cells, train_notebook
from small_bundles import (
    bundle_in,
    call,
    random_table,
    record,
    snapshot,
    strong_and_weak_in,
    sure,
    weights_of,
)  # fmt: skip

from src import bundle, competition
from src.core import make_variant
from src.ensemble import find_trials, open_ensemble, reweigh, write_ensemble
from src.evidence import read_probs
from src.predict.__main__ import main as predict

NAME = "test_resnet_squish_32_all"
UNKNOWN = "no hold-out, so no error is known"


@pytest.fixture(scope="module")
def trained(competition_once, tmp_path_factory):
    """A work folder in which the real notebook trained on all images."""
    work = tmp_path_factory.mktemp("all")
    done = train_notebook(competition_once, work, fold="all")
    assert done.returncode == 0, done.stderr[-3000:]
    return work


@pytest.fixture
def models(trained, competition_once, monkeypatch):
    monkeypatch.setenv("PADDY_WORK", str(trained))
    monkeypatch.setenv("PADDY_DATA", str(competition_once))
    return trained / "models"


def test_the_notebook_says_so_where_it_would_show_an_error(trained):
    printed = {cell.source: "".join(o.text for o in cell.outputs if o.output_type == "stream")
               for cell in cells(trained / "executed.ipynb", "code")}
    for fragment, text in (("holdout_table", UNKNOWN), ("plot_mistakes", "nothing was held out")):
        assert [text in out for source, out in printed.items() if fragment in source] == [True]
    assert not any("warn" in out.lower() for out in printed.values())


def test_the_bundle_has_no_hold_out_and_is_finished(models, competition_once):
    files = {path.name for path in models.glob(f"{NAME}.*")}
    assert files >= {f"{NAME}.pkl", f"{NAME}.json"} and f"{NAME}.valid.parquet" not in files
    card = bundle.read_card(models, NAME)
    assert card["holdout"] == {
        "images": 0, "wrong_plain": 0, "wrong_tta": 0, "error_plain": None, "error_tta": None,
    }
    variant = make_variant(**card["variant"])
    assert variant.fold == "all" and variant.name == NAME
    assert bundle.is_done(variant, models, competition.train_fingerprint(competition_once))


def test_only_its_test_images_are_predicted_also_when_it_is_asked_another_way(models):
    for words, views in ((), ["plain", "views"]), (("--tta", "none"), ["plain"]):
        assert call(predict, NAME, *words).stdout == f"{NAME}: predicted\n"
        tables, meta = read_probs(bundle.probs_path(models, NAME, "test"))
        assert list(tables) == views
        assert bundle.tta_settings(bundle.read_card(models, NAME)) == meta["tta"]
        before = snapshot(models)
        assert call(predict, NAME, *words).stdout == f"{NAME}: up to date\n"
        assert snapshot(models) == before
    assert not bundle.probs_path(models, NAME, "valid").exists()


def test_a_search_leaves_those_that_held_nothing_out_a_weight_of_1(sixty):
    data = competition.find("")
    strong_and_weak_in(sixty, data)
    nothing = sure({}, competition.classes(data))
    bundle_in(sixty, data, "whole", valid=nothing, test=random_table(data, 5))
    trials = find_trials(open_ensemble())
    for select in ("auto", "temperature"):
        ensemble = reweigh(open_ensemble(select=select), trials)
        assert list(ensemble.tables) == ["strong", "weak_one", "weak_two"]
        (whole,) = [m for m in ensemble.members if m.name == "whole"]
        assert (whole.weight, whole.temperature) == (1, 1)
        assert "whole" in ensemble.why
        write_ensemble(ensemble, force=True)
        written = record(sixty)
        assert written["not_in_holdout"] == ["whole"] and written["holdout"]["images"] == 60
        assert weights_of(sixty)["whole"] == 1
