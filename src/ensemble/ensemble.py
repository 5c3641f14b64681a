"""An ensemble: its members, how they are averaged, and the submission it writes.

`python -m src.ensemble` and paddy_ensemble.ipynb are the two ways to use one.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from src import competition
from src.competition import some
from src.core import UserError, models_dir, nearest, require_once
from src.ensemble.cards import Cards, find_cards
from src.ensemble.members import (
    Member,
    average_of,
    common_images,
    counted,
    holdout_problem,
    measured,
    origin,
    read_members,
    unmeasured,
)  # fmt: skip
from src.ensemble.search import SELECT, Trial, choose, search
from src.evidence import FEWEST_IMAGES, error_phrase, wrong_of
from src.submission import Members, Predicted, labels_of, submit_command, write_submission

# The parameters cell of paddy_ensemble.ipynb.
PARAMETERS = (
    "weights", "mean", "temperatures", "select", "data", "models", "notebook", "force",
)  # fmt: skip
MEANS = ("arithmetic", "geometric")


class Ensemble(NamedTuple):
    """The members, how they are averaged, and what they are measured by."""

    folder: Path  # of the competition
    notebook: str  # and name of the submission
    members: list[Member]
    left_out: dict[str, str]  # model that is no member → reason
    labels: pd.Series  # of the training images
    # Of the images that all measured members held out (those of fold=all are not among them): the
    # members' probabilities, and their weighted mean, None where there is no such image.
    tables: dict[str, pd.DataFrame]
    valid: pd.DataFrame | None
    select: str  # who decides the weights, a word of SELECT
    why: str  # what the search found; empty without one
    mean: str  # a word of MEANS


def open_ensemble(
    weights: str = "", select: str = "equal", notebook: str = "", data: str = "",
    models: str = "", mean: str = MEANS[0], temperatures: str = "", names: Sequence[str] = (),
    trust: bool = False,
) -> Ensemble:
    """The ensemble of finished models; `weights` as typed after --weights, `names` empty for all.

    Every mistake is refused before any model predicts; missing predictions are made here.
    """
    place, folder = models_dir(models), competition.find(data)
    weighed, heated = str(weights).split(), str(temperatures).split()
    for name, value, known in (("select", select, SELECT), ("mean", mean, MEANS)):
        if value not in known:
            raise UserError(f"{name}={value!r} is no choice; {nearest(str(value), known)}")
    if select != "equal" and (weighed or heated or mean != MEANS[0]):
        given = "weights" if weighed else "temperatures" if heated else "mean"
        raise UserError(f"{given} and select both decide the average; give one of them")
    cards, left_out = find_cards(place, folder, list(names), notebook)
    if not cards:
        why = "; ".join(f"{name}: {reason}" for name, reason in left_out.items()) or "it is empty"
        raise UserError(f"no model in {place} can be used ({why}); train: python -m src.run --all")
    notebook = notebook or _only_notebook(cards)
    by_name = _by_model(weighed, cards, "weight")
    softened = _by_model(heated, cards, "temperature")
    if not any(by_name.values()):
        raise UserError("all weights are 0; give at least one model a weight above 0")
    members = [m._replace(temperature=softened[m.card["name"]])
               for m in read_members(place, folder, cards, by_name, trust)]
    labels, images = competition.train_table(folder).label, common_images(members)
    tables = {m.card["name"]: m.valid.reindex(images) for m in measured(members)}
    valid = average_of(members, tables, mean) if len(images) else None
    return Ensemble(folder, notebook, members, left_out, labels, tables, valid, select, "", mean)


def _only_notebook(cards: Cards) -> str:
    """The source notebook of all models, after which the submission is named."""
    first, *others = sorted({c["notebook"] for card in cards.values() for c in card["models"]})
    if others:
        names = ", ".join([first, *others])
        raise UserError(f"the models come from several notebooks ({names}); add --notebook NAME")
    return first


def _by_model(words: list[str], cards: Cards, kind: str) -> dict[str, float]:
    """`["vit=2"]` → model name → number, usually 1; a family's counts for each of its models."""
    families = {name: card["family"] for name, card in cards.items()}
    known = sorted({*families.values()}) + list(cards)
    pairs = [_number(word, known, kind) for word in words]
    require_once((name for name, _ in pairs), "give one number", f"the {kind} of ")
    given = dict(pairs)
    return {name: given.get(name, given.get(families[name], 1.0)) for name in cards}


def _number(word: str, known: list[str], kind: str) -> tuple[str, float]:
    key, _, number = word.partition("=")
    if key not in known:
        raise UserError(f"no family or model {key!r} among the members; {nearest(key, known)}")
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    least = 0 if kind == "weight" else 0.001
    if not least <= value < float("inf"):
        remedy = f"write {key}=2, a number of {least} or more"
        raise UserError(f"{kind} {word!r} is not understood; {remedy}")
    return key, value


def families(ensemble: Ensemble) -> dict[str, str]:
    """Model name → family."""
    return {m.card["name"]: m.card["family"] for m in ensemble.members}


def lacking(ensemble: Ensemble) -> str:
    """What a search for weights lacks; empty when it has all it needs."""
    models, images = len(ensemble.tables), len(common_images(ensemble.members))
    if models >= 2 and images >= FEWEST_IMAGES:
        return ""
    remedy = "train another model that holds images out"
    remedy = holdout_problem(ensemble.members) if models > 1 else remedy
    return (
        f"a search for weights needs two models and {FEWEST_IMAGES} images that all of them held "
        f"out; there are {models} and {images}: {remedy}"
    )


def find_trials(ensemble: Ensemble) -> dict[str, Trial]:
    """Every method beside equal weights; none where `lacking` has a reason."""
    if lacking(ensemble):
        return {}
    return search(ensemble.tables, families(ensemble), ensemble.labels)


def reweigh(ensemble: Ensemble, trials: dict[str, Trial]) -> Ensemble:
    """The ensemble with the weights, temperatures and mean that its `select` takes from the search.

    Its hold-out probabilities are then the nested ones: each image by fits that never saw it.
    A member that held nothing out was not searched with and weighs 1, the mean of the others.
    """
    if ensemble.select == "equal":
        return ensemble
    if not trials:
        raise UserError(f"select={ensemble.select}: {lacking(ensemble)}")
    method, why = choose(trials, ensemble.select)
    trial, members = trials[method], []
    for m in ensemble.members:
        name = m.card["name"]
        weight, temperature = trial.weights.get(name, 1.0), trial.temperatures.get(name, 1.0)
        members.append(m._replace(weight=weight, temperature=temperature))
    if names := unmeasured(ensemble.members):
        why = f"{why}; held nothing out, so of weight 1, the others' mean: {some(names, 3)}"
    return ensemble._replace(members=members, valid=trial.probs, why=why, mean=trial.mean)


def search_text(ensemble: Ensemble, trials: dict[str, Trial]) -> str:
    """What the search decided, or would, and how to repeat it without one, a line each."""
    if not trials:
        return lacking(ensemble)
    if ensemble.select == "equal":
        return f"select auto would do this: {choose(trials)[1]}"
    usual = ("", MEANS[0])
    words = [f"--{name} {value}" for name, value in typed(ensemble).items() if value not in usual]
    return f"{ensemble.why}\nto repeat it: {' '.join(words)}"


def is_equal_mean(ensemble: Ensemble) -> bool:
    """Whether it is the arithmetic mean of its members, all of one weight, as they predict."""
    kinds = {(m.weight, m.temperature) for m in counted(ensemble.members)}
    return ensemble.mean == MEANS[0] and len(kinds) == 1 and min(kinds)[1] == 1


def typed(ensemble: Ensemble) -> dict[str, str]:
    """How the members are averaged, as --weights, --mean and --temperatures take it."""
    def _text(numbers: dict[str, float]) -> str:
        return " ".join(f"{name}={number:g}" for name, number in numbers.items())

    others = {m.card["name"]: m.temperature for m in ensemble.members if m.temperature != 1}
    return {
        "weights": _text({m.card["name"]: m.weight for m in ensemble.members}),
        "mean": ensemble.mean,
        "temperatures": _text(others),
    }


def ensemble_probs(ensemble: Ensemble) -> pd.DataFrame:
    """The ensemble's probabilities of the test images."""
    tests = {m.card["name"]: m.test for m in ensemble.members}
    return average_of(ensemble.members, tests, ensemble.mean)


def provenance(ensemble: Ensemble) -> dict[str, Any]:
    """The members and their weights, who chose these, the error on the hold-out.

    `expected` is for the guard: how often each label is predicted there, and how often the same as
    by each member's plain view.
    """
    valid, expected = ensemble.valid, {"images": 0}
    wrong, images = (None, 0) if valid is None else wrong_of(valid, ensemble.labels)
    if valid is not None:
        picks = labels_of(valid)
        agree = {m.card["name"]: int((labels_of(m.plain_valid).reindex(picks.index) == picks).sum())
                 for m in counted(ensemble.members)}
        labels = picks.value_counts().sort_index().to_dict()
        expected = {"images": len(picks), "labels": labels, "agree": agree}
    return {
        "members": [origin(m) for m in counted(ensemble.members)],
        "select": ensemble.select, "why": ensemble.why, **typed(ensemble),
        "holdout": {"wrong": wrong, "images": images},
        "not_in_holdout": unmeasured(ensemble.members), "expected": expected,
    }


def write_ensemble(
    ensemble: Ensemble, good: Sequence[Path] | None = None, force: bool = False
) -> Path:
    """Guard and write the submission, and print how to send it."""
    probs, facts, folder = ensemble_probs(ensemble), provenance(ensemble), ensemble.folder
    used = [Predicted(m.card["name"], m.plain_valid, m.plain_test)
            for m in counted(ensemble.members)]
    path = write_submission(probs, folder, ensemble.notebook, facts, good, force, Members(used))
    held = facts["holdout"]
    error = f"{'hold-out ' * bool(held['images'])}{error_phrase(held['wrong'], held['images'])}"
    print(f"\nwritten: {path}")
    if competition.is_drawn(folder):
        print("not for Kaggle: the competition is drawn, nobody there knows its images")
    else:
        print(submit_command(path, f"{ensemble.notebook}: {len(used)} models, {error}"))
    return path
