"""Who votes: finished models of one notebook, these classes, this data; and what they say."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from src import bundle, competition
from src.config import UserError
from src.probs import average, blend, read_probs

Cards = dict[str, dict[str, Any]]  # by model name


class Member(NamedTuple):
    """A model that votes: its card, its weight, its probabilities of the hold-out and the test."""

    card: dict[str, Any]
    weight: float
    valid: pd.DataFrame
    test: pd.DataFrame


def find_members(
    models: Path, folder: Path, names: list[str], notebook: str
) -> tuple[Cards, dict[str, str]]:
    """The cards of the models that vote, and why the others do not.

    Without `names` all finished models of one notebook vote that know these classes and images.
    """
    cards, reasons = bundle.survey(models)
    if names:
        cards = {name: bundle.read_card(models, name) for name in names}
    data, classes = competition.train_fingerprint(folder), competition.classes(folder)
    for name, card in list(cards.items()):
        if reason := _stranger(card, data, classes):
            if names:
                raise UserError(f"{name} cannot vote: {reason}; leave it out")
            reasons[name] = reason
            del cards[name]
    if not names and notebook in {card["notebook"] for card in cards.values()}:
        others = {n: f"from notebook {c['notebook']}" for n, c in cards.items()
                  if c["notebook"] != notebook}
        return {n: c for n, c in cards.items() if n not in others}, reasons | others
    return cards, reasons


def _stranger(card: Mapping[str, Any], data: str, classes: list[str]) -> str:
    """Why a model cannot vote on this competition's data; empty when it can."""
    if set(card["classes"]) != set(classes):
        differ = sorted(set(card["classes"]) ^ set(classes))
        return f"trained for other classes ({', '.join(differ[:3])}{' …' * (len(differ) > 3)})"
    return "" if card["data"] == data else "trained on other images"


def read_members(
    models: Path, folder: Path, cards: Cards, weights: Mapping[str, float], trust: bool
) -> list[Member]:
    """The members with their probabilities; missing or stale ones are predicted first."""
    images = competition.test_fingerprint(folder)
    stale = [
        name for name, card in cards.items()
        if not (bundle.has_fresh(models, card, "test", images)
                and bundle.has_fresh(models, card, "valid", card["held_out"]))
    ]
    if stale:
        from src.predict import predict_bundles  # the only branch that needs torch

        predict_bundles(dict.fromkeys(stale, {}), models, folder, trust)
        cards |= {name: bundle.read_card(models, name) for name in stale}
    return [
        Member(card, weights[name], _read(models, card, "valid", card["held_out"]),
               _read(models, card, "test", images))
        for name, card in cards.items()
    ]


def _read(models: Path, card: Mapping, split: str, images: str) -> pd.DataFrame:
    path = bundle.probs_path(models, card["name"], split)
    tables, meta = read_probs(path, bundle.expected_meta(card, split, images))
    return blend(tables, meta["tta"]["beta"])


def common_holdout(members: list[Member]) -> dict[str, pd.DataFrame]:
    """Hold-out tables of all voters, cut to the images every one of them held out."""
    voters = [m for m in members if m.weight > 0]
    common = voters[0].valid.index
    for member in voters[1:]:
        common = common.intersection(member.valid.index)
    return {m.card["name"]: m.valid.loc[common] for m in voters}


def holdout_average(members: list[Member]) -> pd.DataFrame | None:
    """The ensemble's probabilities on the images every voter held out; None if there are none."""
    tables = common_holdout(members)
    if next(iter(tables.values())).empty:
        return None
    return average(tables, {m.card["name"]: m.weight for m in members if m.weight > 0})
