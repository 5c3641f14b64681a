"""A vote: the members of one submission, their weights, and what it writes.

`python -m src.ensemble` and paddy_ensemble.ipynb are the two ways to call one.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from src import competition
from src.competition import some
from src.core import UserError, models_dir, nearest, require_once
from src.ensemble.members import (
    Member,
    common_holdout,
    expected,
    holdout_problem,
    origin,
    predicted,
    read_members,
    unmeasured,
    vote_average,
    voters_of,
)
from src.ensemble.search import SELECT, Trial, choose, search
from src.ensemble.voters import Cards, find_members
from src.evidence import LEAST, error_phrase, wrong_of
from src.submission import submit_command, write_submission

# The parameters cell of paddy_ensemble.ipynb.
PARAMETERS = (
    "weights", "mean", "temperatures", "select", "data", "models", "notebook", "force",
)  # fmt: skip
MEANS = ("arithmetic", "geometric")


class Vote(NamedTuple):
    """Who votes, how they are asked to, and what they are measured by."""

    folder: Path  # of the competition
    notebook: str  # and name of the submission
    members: list[Member]
    reasons: dict[str, str]  # by model that does not vote
    labels: pd.Series  # of the training images
    # Of the images that all measured voters held out, those of fold=all are not among them: the
    # voters' probabilities, and their weighted mean, None where there is no such image.
    tables: dict[str, pd.DataFrame]
    valid: pd.DataFrame | None
    select: str  # who decides the weights, a word of SELECT
    why: str  # what the search found; empty without one
    mean: str  # a word of MEANS


def open_vote(
    weights: str = "", select: str = "equal", notebook: str = "", data: str = "",
    models: str = "", mean: str = MEANS[0], temperatures: str = "", names: Sequence[str] = (),
    trust: bool = False,
) -> Vote:
    """The vote of finished models; `weights` as typed after --weights, `names` empty for all.

    Every mistake is refused before any model is asked; missing predictions are made here.
    """
    place, folder = models_dir(models), competition.find(data)
    words, heats = str(weights).split(), str(temperatures).split()
    for name, value, known in (("select", select, SELECT), ("mean", mean, MEANS)):
        if value not in known:
            raise UserError(f"{name}={value!r} is no choice; {nearest(str(value), known)}")
    if select != "equal" and (words or heats or mean != MEANS[0]):
        given = "weights" if words else "temperatures" if heats else "mean"
        raise UserError(f"{given} and select both decide how models vote; give one of them")
    cards, reasons = find_members(place, folder, list(names), notebook)
    if not cards:
        why = "; ".join(f"{name}: {reason}" for name, reason in reasons.items()) or "it is empty"
        raise UserError(f"no model in {place} can vote ({why}); train: python -m src.run --all")
    notebook = submission_name(cards, notebook)
    weighed, heated = parse_weights(words, cards), parse_temperatures(heats, cards)
    members = read_members(place, folder, cards, weighed, trust)
    members = [m._replace(temperature=heated[m.card["name"]]) for m in members]
    labels, tables = competition.train_table(folder).label, common_holdout(members)
    held_out = any(len(table) for table in tables.values())
    valid = vote_average(members, tables, mean) if held_out else None
    return Vote(folder, notebook, members, reasons, labels, tables, valid, select, "", mean)


def submission_name(cards: Cards, notebook: str) -> str:
    """What the submission is called: its source notebook; asked for when there are several."""
    sources = sorted({c["notebook"] for card in cards.values() for c in card["models"]})
    if notebook:
        return notebook
    if len(sources) > 1:
        raise UserError(
            f"the models come from several notebooks ({', '.join(sources)}); "
            "choose with --notebook NAME"
        )
    return sources[0]


def parse_weights(words: list[str], cards: Cards) -> dict[str, float]:
    """`["vit=2"]` → model name → weight; a family's weight counts for each of its models."""
    weights = _by_model(words, cards, "weight")
    if not any(weights.values()):
        raise UserError("all weights are 0; give at least one model a weight above 0")
    return weights


def parse_temperatures(words: list[str], cards: Cards) -> dict[str, float]:
    """`["vit=1.3"]` → model name → temperature, by the same rules."""
    return _by_model(words, cards, "temperature")


def _by_model(words: list[str], cards: Cards, kind: str) -> dict[str, float]:
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
        told = f"write {key}=2, a number of {least} or more"
        raise UserError(f"{kind} {word!r} is not understood; {told}")
    return key, value


def families(vote: Vote) -> dict[str, str]:
    """Model name → family."""
    return {m.card["name"]: m.card["family"] for m in vote.members}


def lacking(vote: Vote) -> str:
    """What a search for weights lacks; empty when it has all it needs."""
    models, images = len(vote.tables), len(next(iter(vote.tables.values()), ()))
    if models >= 2 and images >= LEAST:
        return ""
    remedy = "train another model that holds images out"
    remedy = holdout_problem(vote.members) if models > 1 else remedy
    return (
        f"a search for weights needs two models and {LEAST} images that all of them held out; "
        f"there are {models} and {images}: {remedy}"
    )


def find_trials(vote: Vote) -> dict[str, Trial]:
    """Every way of weighing, judged beside equal weights; none where `lacking` tells why."""
    return {} if lacking(vote) else search(vote.tables, families(vote), vote.labels)


def reweigh(vote: Vote, trials: dict[str, Trial]) -> Vote:
    """The vote with the weights, temperatures and mean that its `select` takes from the search.

    Its hold-out probabilities are then the nested ones: each image by fits that never saw it.
    A member that held nothing out was not searched with and weighs 1, the mean of the others.
    """
    if vote.select == "equal":
        return vote
    if not trials:
        raise UserError(f"select={vote.select}: {lacking(vote)}")
    method, why = choose(trials, vote.select)
    trial, members = trials[method], []
    for m in vote.members:
        name = m.card["name"]
        weight, heat = trial.weights.get(name, 1.0), trial.temperatures.get(name, 1.0)
        members.append(m._replace(weight=weight, temperature=heat))
    if names := unmeasured(vote.members):
        why = f"{why}; held nothing out, so of weight 1, the others' mean: {some(names, 3)}"
    return vote._replace(members=members, valid=trial.probs, why=why, mean=trial.mean)


def search_text(vote: Vote, trials: dict[str, Trial]) -> str:
    """What the search decided, or would, and how to repeat it without one, a line each."""
    if not trials:
        return lacking(vote)
    if vote.select == "equal":
        return f"select auto would do this: {choose(trials)[1]}"
    usual = ("", MEANS[0])
    words = [f"--{name} {said}" for name, said in plainly(vote).items() if said not in usual]
    return f"{vote.why}\nthe same again: {' '.join(words)}"


def is_plain(vote: Vote) -> bool:
    """Whether all who vote weigh the same, as they are, in an arithmetic mean."""
    kinds = {(m.weight, m.temperature) for m in vote.members if m.weight > 0}
    return vote.mean == MEANS[0] and len(kinds) == 1 and min(kinds)[1] == 1


def plainly(vote: Vote) -> dict[str, str]:
    """How the members vote, as --weights, --mean and --temperatures take it back."""
    heats = {m.card["name"]: m.temperature for m in vote.members if m.temperature != 1}
    return {
        "weights": _text({m.card["name"]: m.weight for m in vote.members}),
        "mean": vote.mean,
        "temperatures": _text(heats),
    }


def _text(numbers: dict[str, float]) -> str:
    return " ".join(f"{name}={number:g}" for name, number in numbers.items())


def provenance(vote: Vote) -> dict[str, Any]:
    """Who voted and how, who chose that, how the vote did on the hold-out."""
    voters = [origin(member) for member in voters_of(vote.members)]
    wrong, images = (None, 0) if vote.valid is None else wrong_of(vote.valid, vote.labels)
    return {
        "members": voters, "select": vote.select, "why": vote.why, **plainly(vote),
        "holdout": {"wrong": wrong, "images": images}, "not_in_holdout": unmeasured(vote.members),
        "expected": expected(vote.valid, vote.members),
    }


def ensemble_probs(vote: Vote) -> pd.DataFrame:
    """The ensemble's probabilities of the test images."""
    tests = {m.card["name"]: m.test for m in vote.members}
    return vote_average(vote.members, tests, vote.mean)


def write_vote(vote: Vote, good: Sequence[Path] | None = None, force: bool = False) -> Path:
    """Guard and write the submission, and print how to send it."""
    probs, facts, said = ensemble_probs(vote), provenance(vote), predicted(vote.members)
    path = write_submission(probs, vote.folder, vote.notebook, facts, good, force, said)
    error = error_phrase(0, 0)
    if vote.valid is not None:
        error = f"hold-out {error_phrase(*wrong_of(vote.valid, vote.labels))}"
    message = f"{vote.notebook}: {len(said.tables)} models, {error}"
    print(f"\nwritten: {path}")
    if competition.is_drawn(vote.folder):
        print("not for Kaggle: the competition is drawn, nobody there knows its images")
    else:
        print(submit_command(path, message))
    return path
