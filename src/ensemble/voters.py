"""Who votes: finished models of one notebook that know these classes and this data; who does not.

The folds of one variant count together, as one member under the name of fold 0.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from src import bundle, competition
from src.competition import some
from src.core import UserError, make_variant, require_once

# A finished card of this data has a `base` too; a member's `models`, their cards, and `grouped`.
Card = dict[str, Any]
Cards = dict[str, Card]  # by name
TWICE = "name it once (a variant stands for all of its folds); --weights NAME=2 counts it twice"


def find_members(
    models: Path, folder: Path, names: list[str], notebook: str
) -> tuple[Cards, dict[str, str]]:
    """The cards of the members by name, and why other models do not vote.

    Without `names` all finished models of one notebook vote that know these classes and images;
    a damaged one is refused, for whoever left it there counts on its vote.
    """
    finished, damaged = bundle.survey(models)
    if damaged and not names:
        raise UserError(_damage(damaged))
    data, classes = competition.train_fingerprint(folder), competition.classes(folder)
    strangers = {n: why for n, c in finished.items() if (why := _stranger(c, data, classes))}
    finished |= {n: _completed(c) for n, c in finished.items() if n not in strangers}
    cards = _named(models, finished, names, strangers) if names else finished
    known = {name: card for name, card in cards.items() if name not in strangers}
    told = {name: why for name, why in strangers.items() if name in cards}
    if not names and notebook in {card["notebook"] for card in known.values()}:
        told |= {n: f"from notebook {c['notebook']}" for n, c in known.items()
                 if c["notebook"] != notebook}
    for rule in (_unlike, _grouped_beside):
        told |= rule([card for name, card in known.items() if name not in told])
    for name in names:
        if name in told:
            raise UserError(f"{name} cannot vote: {told[name]}; leave it out")
    _refuse_doubles(names, known)
    voters = [card for name, card in known.items() if name not in told]
    others = (card for name, card in finished.items() if name not in strangers)
    grouped = [card for card in others if _is_grouped(card)]
    return {n: _member_card(n, c, grouped) for n, c in _folds(voters).items()}, told


def _damage(reasons: Mapping[str, str]) -> str:
    """What is wrong with the first damaged model, which others there are, and the way round."""
    first, *others = reasons
    more = f" (damaged, too: {some(others, 3)})" if others else ""
    return f"{reasons[first]}{more}; or name the models that vote"


def _refuse_doubles(names: list[str], known: Cards) -> None:
    """Refuse a name given twice, and a fold beside its variant, whose name stands for it, too."""
    within = [name for name in names if known[name]["base"] in {*names} - {name}]
    require_once([*names, *within], TWICE)


def _named(models: Path, finished: Cards, names: list[str], strangers: Mapping) -> Cards:
    """The cards of the models `names`; a variant's name stands for all of its folds."""
    chosen: Cards = {}
    for name in names:
        folds = {n: c for n, c in finished.items()
                 if n == name or (n not in strangers and c["base"] == name)}
        chosen |= folds or {name: bundle.read_card(models, name)}  # which tells what is wrong
    return chosen


def _stranger(card: Card, data: str, classes: list[str]) -> str:
    """Why a model cannot vote on this competition's data; empty when it can."""
    try:
        make_variant(**card["variant"])
    except UserError as error:
        return f"its recipe is none of this version ({error})"
    if set(card["classes"]) != set(classes):
        differ = sorted(set(card["classes"]) ^ set(classes))
        return f"trained for other classes ({', '.join(differ[:3])}{' …' * (len(differ) > 3)})"
    return "" if card["data"] == data else "trained on other images"


def _completed(card: Card) -> Card:
    """`card` with all fields of its variant, and the `base` all folds of it count under: fold 0."""
    variant = make_variant(**card["variant"])
    alone = variant.fold == "all" or variant.name != card["name"]
    base = card["name"] if alone else replace(variant, fold=0).name
    return {**card, "variant": variant.recipe, "base": base}


def _folds(cards: Iterable[Card]) -> dict[str, list[Card]]:
    """Member name → the models that count together; one alone keeps its own name."""
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


def _unlike(cards: list[Card]) -> dict[str, str]:
    """Folds of one variant that differ from its first in more than the fold: name → reason."""
    told = {}
    for first, *others in _folds(cards).values():
        one = _recipe(first, "fold")
        for card in others:
            other = _recipe(card, "fold")
            if differ := [key for key in one if one[key] != other[key]]:
                key = differ[0]
                again = "predict" if set(differ) <= set(bundle.TTA_FIELDS) else "train"
                told[card["name"]] = (
                    f"a fold of {first['name']}, but its {key} is {other[key]}, not {one[key]}; "
                    f"{again} both alike"
                )
    return told


def _grouped_beside(cards: list[Card]) -> dict[str, str]:
    """Models of grouped folds whose recipe votes with the usual ones: name → reason."""
    voting = {c["base"]: _twin(c) for c in cards if not _is_grouped(c)}
    return {
        card["name"]: f"{name} votes, the same recipe; beside it this one's error is shown"
        for card in cards if _is_grouped(card)
        for name, recipe in voting.items() if recipe == _twin(card)
    }


def _is_grouped(card: Card) -> bool:
    return card["variant"]["split"] == "grouped"


def _twin(card: Card) -> dict[str, Any]:
    """The recipe but for what is held out and how the model is asked."""
    return _recipe(card, "fold", "split", "split digest", *bundle.TTA_FIELDS)


def _member_card(name: str, cards: list[Card], grouped: list[Card]) -> Card:
    """The card of a member: of its first model, with the hold-out errors of all of them.

    Beside them, if it is not one of the `grouped` itself, those of the same recipe among these.
    """
    usual, own = not _is_grouped(cards[0]), _twin(cards[0])
    beside = [card for card in grouped if usual and _twin(card) == own]
    together = {"models": cards, "grouped": holdout(beside), "holdout": holdout(cards)}
    return {**cards[0], "name": name, **together}


def holdout(cards: Iterable[Card]) -> dict[str, Any]:
    """The hold-out errors of several models as one."""
    keys = ("images", "wrong_plain", "wrong_tta")
    rows = [[card["holdout"][key] for key in keys] for card in cards]
    return bundle.holdout_counts(*map(sum, zip(*rows, strict=True))) if rows else {}


def title(card: Card) -> str:
    """A member's name for a reader: `vit_small_squish_224 (5 folds)`."""
    folds = len(card["models"])
    return card["name"] if folds == 1 else f"{card['name']} ({folds} folds)"
