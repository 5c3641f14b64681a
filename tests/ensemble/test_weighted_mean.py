"""The weights: who decides them, by what evidence, and what the submission records."""

import numpy as np
import pandas as pd
import pytest
from conftest import draw_competition
from small_bundles import (
    bundle_in,
    probabilities,
    random_table,
    record,
    snapshot,
    strong_and_weak_in,
    sure,
    tables_of,
    weights_of,
)

from src import bundle, competition
from src.core import UserError
from src.ensemble.ensemble import (
    ensemble_probs,
    find_trials,
    lacking,
    open_ensemble,
    reweigh,
    search_text,
    write_ensemble,
)
from src.ensemble.report import holdout_text
from src.ensemble.search import SELECT
from src.evidence import wrong_of


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A competition of 60 training images."""
    return draw_competition(tmp_path_factory.mktemp("sixty"), each=20)


@pytest.fixture
def models(drawn, tmp_path, monkeypatch):
    """An empty models folder for models of that competition."""
    monkeypatch.setenv("PADDY_DATA", str(drawn))
    monkeypatch.setenv("PADDY_WORK", str(tmp_path / "work"))
    return tmp_path / "work" / "models"


@pytest.fixture(scope="module")
def trials(drawn, tmp_path_factory):
    """What a search finds among the strong and the weak models, whichever way then is taken."""
    models = tmp_path_factory.mktemp("searched") / "models"
    strong_and_weak_in(models, drawn)
    return find_trials(open_ensemble(data=str(drawn), models=str(models)))


def decided(select):
    """The ensemble after the search, written."""
    ensemble = open_ensemble(select=select)
    ensemble = reweigh(ensemble, find_trials(ensemble))
    write_ensemble(ensemble)
    return ensemble


def test_a_model_that_proves_better_gets_more_weight(models, drawn):
    strong_and_weak_in(models, drawn)
    ensemble = decided("auto")
    weights = weights_of(models)  # those of weight 0 are not listed
    assert weights["strong"] > 2 * max(weights.get("weak_one", 0), weights.get("weak_two", 0))
    told = record(models)
    assert told["select"] == "auto" and "is taken" in told["why"]
    assert told["why"] == ensemble.why


@pytest.mark.parametrize("select", ["auto", *SELECT[2:]])
def test_what_was_chosen_and_passed_back_writes_the_same_bytes(models, drawn, trials, select):
    strong_and_weak_in(models, drawn)
    for number, name in enumerate(("strong", "weak_one", "weak_two")):
        test = random_table(drawn, number, competition.classes(drawn))
        family, valid = bundle.read_card(models, name)["family"], tables_of(models, name, "valid")
        bundle_in(models, drawn, name, family, valid[0]["plain"], test)
    write_ensemble(reweigh(open_ensemble(select=select), trials), force=True)
    told = record(models)
    again = open_ensemble(
        told["weights"], mean=told["mean"], temperatures=told["temperatures"], notebook="again"
    )
    write_ensemble(again, force=True)
    first, second = (models.parent / "submissions" / f"{n}.csv" for n in ("paddy_train", "again"))
    assert first.read_bytes() == second.read_bytes()
    pd.testing.assert_frame_equal(
        probabilities(models), probabilities(models, "again"), check_exact=True
    )
    same = ("weights", "mean", "temperatures")
    assert {key: record(models, "again")[key] for key in same} == {key: told[key] for key in same}
    assert (told["mean"] == "geometric") == (select == "geometric")
    assert bool(told["temperatures"]) == (select == "temperature")


def test_the_mean_and_temperatures_are_worked_by_hand(models, drawn):
    ids = dict.fromkeys(competition.sample(drawn).image_id, "disease_a")
    classes = competition.classes(drawn)
    bundle_in(models, drawn, "one", "vit", test=sure(ids, classes, 0.8))  # 8 : 1 : 1
    bundle_in(models, drawn, "two", "swin", test=sure(ids, classes, 0.5))  # 2 : 1 : 1
    geometric = ensemble_probs(open_ensemble(mean="geometric")).iloc[0]
    assert geometric.to_list() == pytest.approx([4 / 6, 1 / 6, 1 / 6], abs=1e-6)  # √(8 × 2) = 4
    cooled = ensemble_probs(open_ensemble("swin=0", temperatures="vit=3")).iloc[0]
    assert cooled.to_list() == pytest.approx([2 / 4, 1 / 4, 1 / 4], abs=1e-6)  # ∛8 = 2
    both = ensemble_probs(open_ensemble(temperatures="one=3")).iloc[0]
    assert both.to_list() == pytest.approx([0.5, 0.25, 0.25], abs=1e-6)


def test_typed_weights_means_and_temperatures_are_compared_with_the_equal_mean(models, drawn):
    strong_and_weak_in(models, drawn)
    assert "against equal weights" not in holdout_text(open_ensemble())
    for words in ({"weights": "vit=3"}, {"mean": "geometric"}, {"temperatures": "weak_one=2"}):
        assert "that this average" in holdout_text(open_ensemble(**words))


def test_the_error_of_chosen_weights_is_the_nested_one(models, drawn, trials):
    strong_and_weak_in(models, drawn)
    ensemble = open_ensemble(select="simplex")
    equal, chosen = ensemble.valid, reweigh(ensemble, trials).valid
    pd.testing.assert_frame_equal(chosen, trials["simplex"].probs)
    assert wrong_of(chosen, ensemble.labels)[0] < wrong_of(equal, ensemble.labels)[0] == 20


def test_members_that_are_alike_keep_equal_weights(models, drawn):
    truth = dict(competition.train_table(drawn).label)
    classes = competition.classes(drawn)
    for number in range(3):
        bundle_in(models, drawn, f"vit_{number}", valid=sure(truth, classes, 0.6 + number / 10))
    decided("auto")
    assert weights_of(models) == {"vit_0": 1, "vit_1": 1, "vit_2": 1}
    told = record(models)
    assert "equal weights are kept" in told["why"]
    assert told["weights"] == "vit_0=1 vit_1=1 vit_2=1"


def test_typed_weights_are_recorded_as_such(models, drawn):
    strong_and_weak_in(models, drawn)
    write_ensemble(open_ensemble("vit=2 weak_one=0"))
    told = record(models)
    assert (told["select"], told["why"]) == ("equal", "")
    assert told["weights"] == "strong=2 weak_one=0 weak_two=1"
    assert weights_of(models) == {"strong": 2, "weak_two": 1}


def test_without_a_say_the_search_tells_what_it_would_do_and_changes_nothing(
    models, drawn, trials
):
    strong_and_weak_in(models, drawn)
    ensemble = open_ensemble()
    assert search_text(ensemble, trials).startswith("select auto would do this: ")
    assert reweigh(ensemble, trials) is ensemble


# What is refused


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"weights": "vit=2", "select": "auto"}, "weights and select both decide"),
        ({"mean": "geometric", "select": "auto"}, "mean and select both decide"),
        ({"temperatures": "vit=2", "select": "auto"}, "temperatures and select both decide"),
        ({"weights": "vit=2 vit=3"}, "the weight of vit is given twice; give one number"),
        ({"mean": "geometrc"}, "mean='geometrc' is no choice; did you mean 'geometric'"),
        ({"temperatures": "vit=0"}, "temperature 'vit=0' is not understood; .* 0.001 or more"),
        ({"temperatures": "vitt=2"}, "did you mean 'vit'"),
        ({"select": "gredy"}, "select='gredy' is no choice; did you mean 'greedy'"),
        ({"weights": "vitt=2"}, "did you mean 'vit'"),
        ({"weights": 2}, "no family or model '2'"),
        ({"models": "none"}, "no model in"),
        ({"data": "none"}, "no competition in"),
    ],
)
def test_a_mistake_is_refused_before_any_work(models, drawn, given, told, monkeypatch):
    strong_and_weak_in(models, drawn)
    fail = lambda *_: pytest.fail("models were read")  # noqa: E731
    monkeypatch.setattr("src.ensemble.ensemble.read_members", fail)
    with pytest.raises(UserError, match=told) as error:
        open_ensemble(**given)
    assert "\n" not in str(error.value)


def few_in(models, drawn):
    """Two models that held out but four of the same images."""
    truth, classes = competition.train_table(drawn).label, competition.classes(drawn)
    for number, rows in enumerate((truth.iloc[:30], truth.iloc[26:])):
        bundle_in(models, drawn, f"vit_{number}", valid=sure(dict(rows), classes),
                  test=random_table(drawn, number))


def test_too_few_common_images_are_told_instead_of_searched(models, drawn):
    few_in(models, drawn)
    ensemble = open_ensemble()
    assert find_trials(ensemble) == {}
    assert search_text(ensemble, {}) == lacking(ensemble)
    assert "50 images that all of them held out; there are 2 and 4:" in lacking(ensemble)


def test_a_search_that_was_asked_for_but_lacks_images_is_refused(models, drawn):
    few_in(models, drawn)
    before = snapshot(models.parent)
    with pytest.raises(UserError, match="select=auto: a search .* 2 and 4: vit_0, vit_1 held out"):
        decided("auto")
    assert snapshot(models.parent) == before


def test_one_model_has_nothing_to_be_searched(models, drawn):
    truth, classes = competition.train_table(drawn).label, competition.classes(drawn)
    bundle_in(models, drawn, "one", valid=sure(dict(truth), classes))
    assert "there are 1 and 60: train another model" in lacking(open_ensemble())
    assert np.isfinite(open_ensemble().valid.to_numpy()).all()
