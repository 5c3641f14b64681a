"""The members of an ensemble: which finished models, why others are not, what they predict.

The folds of one variant are one member, under the name of fold 0.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from src import bundle, competition
from src.competition import some
from src.core import UserError, make_variant, require_once
from src.evidence import average, blend, compare, sentence

Card = dict[str, Any]  # of a finished model, with `base`, the name of its member
TWICE = "name it once (a variant stands for all of its folds); --weights NAME=2 counts it twice"


class Member(NamedTuple):
    """A member as its models predict; `average_of` applies weight and temperature."""

    name: str
    models: list[Card]
    weight: float
    temperature: float
    valid: pd.DataFrame  # of all folds together; no rows when nothing was held out
    test: pd.DataFrame  # the mean of the folds
    plain_valid: pd.DataFrame  # without TTA: the guard compares submissions with these
    plain_test: pd.DataFrame
    without_tta: str = ""  # why `valid` and `test` are the plain ones; empty when they have TTA

    @property
    def family(self) -> str:
        """The family of its architecture."""
        return self.models[0]["family"]

    @property
    def title(self) -> str:
        """`vit_small_squish_224 (5 folds)`."""
        folds = len(self.models)
        return self.name if folds == 1 else f"{self.name} ({folds} folds)"


def find_members(
    models: Path, folder: Path, names: Sequence[str], notebook: str
) -> tuple[dict[str, list[Card]], dict[str, str]]:
    """Member name → the cards of its models, by fold; and model name → why it is left out.

    Without `names` all finished models of one notebook, these classes and images are members; a
    damaged one is refused, since leaving it out would change the ensemble.
    """
    finished, damaged = bundle.read_cards(models)
    if damaged and not names:
        first = next(iter(damaged.values()))
        raise UserError(f"{first} (damaged: {some(damaged, 4)}); or name the models to average")
    data, classes = competition.train_fingerprint(folder), competition.classes(folder)
    left_out = {name: why for name, c in finished.items() if (why := _foreign(c, data, classes))}
    cards = [_completed(card) for name, card in finished.items() if name not in left_out]
    if names:
        cards = [card for name in names for card in _named(models, name, cards, left_out)]
        left_out = {}
    elif any(card["notebook"] == notebook for card in cards):
        left_out |= {card["name"]: f"from notebook {card['notebook']}" for card in cards
                     if card["notebook"] != notebook}
    for rule in (_odd_folds, _other_splits):
        left_out |= rule([card for card in cards if card["name"] not in left_out])
    for name in names:
        _refuse_left_out(name, left_out)
    require_once([card["name"] for card in cards], TWICE)
    return _by_member(card for card in cards if card["name"] not in left_out), left_out


def _refuse_left_out(name: str, left_out: dict[str, str]) -> None:
    if name in left_out:
        raise UserError(f"{name} cannot be a member: {left_out[name]}", "leave it out")


def _named(models: Path, name: str, cards: list[Card], left_out: dict[str, str]) -> list[Card]:
    """The cards that `name` stands for, of a model or of all folds of a variant."""
    _refuse_left_out(name, left_out)
    found = [card for card in cards if name in (card["name"], card["base"])]
    return found or [bundle.read_card(models, name)]  # which raises what is wrong with it


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


def _by_member(cards: Iterable[Card]) -> dict[str, list[Card]]:
    """Member name → its models, by fold; one alone has its own name."""
    found: dict[str, list[Card]] = {}
    for card in sorted(cards, key=lambda card: str(card["variant"]["fold"])):
        found.setdefault(card["base"], []).append(card)
    return {c[0]["name"] if len(c) == 1 else base: c for base, c in sorted(found.items())}


def _recipe(card: Card, *without: str) -> dict[str, Any]:
    """What decides the model of `card`, but for the fields `without`."""
    facts = card["variant"] | {"split digest": card.get("folds")}
    return {key: value for key, value in facts.items() if key not in without}


def _odd_folds(cards: list[Card]) -> dict[str, str]:
    """Folds of one variant that differ from its first in more than the fold: name → reason."""
    reasons = {}
    for name, (first, *others) in _by_member(cards).items():
        one = _recipe(first, "fold")
        for card in others:
            other = _recipe(card, "fold")
            if differ := [key for key in one if one[key] != other[key]]:
                key, again = differ[0], "predict" if {*differ} <= {*bundle.TTA_FIELDS} else "train"
                reasons[card["name"]] = (f"a fold of {name}, but its {key} is {other[key]}, "
                                         f"not {one[key]}; {again} both the same way")
    return reasons


def _other_splits(cards: list[Card]) -> dict[str, str]:
    """Models of other folds whose recipe is a member already, and counts once: name → reason."""
    ignored = ("fold", "split", "split digest", *bundle.TTA_FIELDS)
    usual = [card for card in cards if card["variant"]["split"] == "stratified"]
    return {
        card["name"]: f"the same recipe as {other['base']}, trained on {split} folds"
        for card in cards if (split := card["variant"]["split"]) != "stratified"
        for other in usual if _recipe(other, *ignored) == _recipe(card, *ignored)
    }


def read_members(
    models: Path, folder: Path, found: Mapping[str, list[Card]], labels: pd.Series, trust: bool
) -> list[Member]:
    """The members with their probabilities; missing or stale ones are predicted first."""
    images = competition.test_fingerprint(folder)
    names = [card["name"] for cards in found.values() for card in cards]
    known = {name: bundle.read_card(models, name, trust) for name in names}
    if any(bundle.stale(models, card, images) for card in known.values()):
        from src.predict import predict_bundles  # the only branch that needs torch

        predict_bundles(dict.fromkeys(names, {}), models, folder, trust)
        known = {name: bundle.read_card(models, name, trust) for name in names}
    return [
        _read_member(models, name, [_completed(known[c["name"]]) for c in cards], images, labels)
        for name, cards in found.items()
    ]


def _read_member(
    models: Path, name: str, cards: list[Card], images: str, labels: pd.Series
) -> Member:
    """A member from its models' files, with TTA unless its hold-out proves that it hurts."""
    tests, valids = (
        [bundle.read_predictions(models, card, split, images)
         for card in cards if split in bundle.splits(card)] for split in ("test", "valid")
    )
    beta = cards[0]["variant"]["beta"]  # the same for all folds, see _odd_folds
    plain_test, test = average(t["plain"] for t in tests), average(blend(t, beta) for t in tests)
    plain_valid = valid = plain_test.iloc[:0]
    if valids:
        plain_valid = pd.concat([tables["plain"] for tables in valids])
        valid = pd.concat([blend(tables, beta) for tables in valids])
    for table in (plain_test, test, plain_valid, valid):
        table.attrs["model"] = name
    found = compare(valid, plain_valid, labels)
    if found.high >= 0:
        return Member(name, cards, 1.0, 1.0, valid, test, plain_valid, plain_test)
    why = sentence(found, "TTA", name)
    return Member(name, cards, 1.0, 1.0, plain_valid, plain_test, plain_valid, plain_test, why)


def counted(members: list[Member]) -> list[Member]:
    """The members whose weight is not 0."""
    return [member for member in members if member.weight > 0]


def unmeasured(members: list[Member]) -> list[str]:
    """Names of those that were trained on all images: their part in the error is unknown."""
    return [member.name for member in counted(members) if member.valid.empty]
