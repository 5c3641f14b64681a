"""Which finished models become members of an ensemble, by their cards, and why others do not.

The folds of one variant are one member, under the name of fold 0.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from src import bundle, competition
from src.competition import some
from src.core import UserError, make_variant, require_once

# The card of a finished model has a `base` too, the name of its member; a member's has `models`.
Card = dict[str, Any]
Cards = dict[str, Card]  # by name
TWICE = "name it once (a variant stands for all of its folds); --weights NAME=2 counts it twice"
COUNTS = ("images", "wrong_plain", "wrong_tta")


def find_cards(
    models: Path, folder: Path, names: list[str], notebook: str
) -> tuple[Cards, dict[str, str]]:
    """The cards of the members by name, and why other models are left out.

    Without `names` the members are all finished models of one notebook that were trained on these
    classes and images. UserError if one is damaged: leaving it out would change the ensemble.
    """
    finished, damaged = bundle.survey(models)
    if damaged and not names:
        raise UserError(_damage(damaged))
    data, classes = competition.train_fingerprint(folder), competition.classes(folder)
    foreign = {name: why for name, c in finished.items() if (why := _foreign(c, data, classes))}
    finished |= {n: _completed(c) for n, c in finished.items() if n not in foreign}
    cards = _named(models, finished, names, foreign) if names else finished
    known = {name: card for name, card in cards.items() if name not in foreign}
    left_out = {name: why for name, why in foreign.items() if name in cards}
    if not names and notebook in {card["notebook"] for card in known.values()}:
        left_out |= {n: f"from notebook {c['notebook']}" for n, c in known.items()
                     if c["notebook"] != notebook}
    for rule in (_odd_folds, _grouped_twins):
        left_out |= rule([card for name, card in known.items() if name not in left_out])
    for name in names:
        if name in left_out:
            raise UserError(f"{name} cannot be a member: {left_out[name]}; leave it out")
    within = [name for name in names if known[name]["base"] in {*names} - {name}]
    require_once([*names, *within], TWICE)
    folds = _folds(card for name, card in known.items() if name not in left_out)
    return {n: c[0] | {"name": n} | merged(c) for n, c in folds.items()}, left_out


def _damage(reasons: Mapping[str, str]) -> str:
    first, *others = reasons
    more = f" (damaged, too: {some(others, 3)})" if others else ""
    return f"{reasons[first]}{more}; or name the models to average"


def _named(models: Path, finished: Cards, names: list[str], foreign: Mapping) -> Cards:
    """The cards of the models `names`; a variant's name stands for all of its folds."""
    chosen: Cards = {}
    for name in names:
        folds = {n: c for n, c in finished.items()
                 if n == name or (n not in foreign and c["base"] == name)}
        chosen |= folds or {name: bundle.read_card(models, name)}  # raises what is wrong with it
    return chosen


def _foreign(card: Card, data: str, classes: list[str]) -> str:
    """Why a model cannot predict this competition's classes; empty when it can."""
    try:
        make_variant(**card["variant"])
    except UserError as error:
        return f"its recipe is none of this version ({error})"
    if differ := sorted({*card["classes"]} ^ {*classes}):
        return f"trained for other classes ({some(differ, 3)})"
    return "" if card["data"] == data else "trained on other images"


def _completed(card: Card) -> Card:
    """`card` with all fields of its variant, and its `base`: the variant's name at fold 0."""
    variant = make_variant(**card["variant"])
    alone = variant.fold == "all" or variant.name != card["name"]
    base = card["name"] if alone else replace(variant, fold=0).name
    return {**card, "variant": variant.recipe, "base": base}


def _folds(cards: Iterable[Card]) -> dict[str, list[Card]]:
    """Member name → its models, by fold; one alone keeps its own name."""
    found: dict[str, list[Card]] = {}
    for card in cards:
        found.setdefault(card["base"], []).append(card)
    for together in found.values():
        together.sort(key=lambda card: str(card["variant"]["fold"]))
    return {c[0]["name"] if len(c) == 1 else name: c for name, c in found.items()}


def _recipe(card: Card, *without: str) -> dict[str, Any]:
    """What decides the model of `card`, but for the fields `without`."""
    facts = card["variant"] | {"split digest": card.get("folds")}
    return {key: value for key, value in facts.items() if key not in without}


def _odd_folds(cards: list[Card]) -> dict[str, str]:
    """Folds of one variant that differ from its first in more than the fold: name → reason."""
    reasons = {}
    for first, *others in _folds(cards).values():
        one = _recipe(first, "fold")
        for card in others:
            other = _recipe(card, "fold")
            if differ := [key for key in one if one[key] != other[key]]:
                key, again = differ[0], "predict" if {*differ} <= {*bundle.TTA_FIELDS} else "train"
                reasons[card["name"]] = (
                    f"a fold of {first['name']}, but its {key} is {other[key]}, not {one[key]}; "
                    f"{again} both alike"
                )
    return reasons


def _grouped_twins(cards: list[Card]) -> dict[str, str]:
    """Models of grouped folds whose recipe is a member with the usual folds: name → reason.

    A recipe counts once, so the same one on other folds may not double its weight.
    """
    ignored = ("fold", "split", "split digest", *bundle.TTA_FIELDS)
    recipes = [(card, _recipe(card, *ignored)) for card in cards]
    usual = [(c["base"], r) for c, r in recipes if c["variant"]["split"] != "grouped"]
    return {
        card["name"]: f"the same recipe as {base}, trained on grouped folds"
        for card, recipe in recipes if card["variant"]["split"] == "grouped"
        for base, other in usual if other == recipe
    }


def merged(cards: list[Card]) -> Card:
    """What a member's card says of all its models: their cards, their hold-out errors as one."""
    counts = [sum(card["holdout"][key] for card in cards) for key in COUNTS]
    return {"models": cards, "holdout": bundle.holdout_counts(*counts)}


def title(card: Card) -> str:
    """A member's name for a reader: `vit_small_squish_224 (5 folds)`."""
    folds = len(card["models"])
    return card["name"] if folds == 1 else f"{card['name']} ({folds} folds)"
