"""The members of an ensemble: their weights, their probabilities of the hold-out and of the test.

Of folds that are one member the hold-outs are put together and the test probabilities averaged.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from src import bundle, competition
from src.competition import some
from src.core import DEFAULT_SEED
from src.ensemble.cards import Card, Cards, merged, title
from src.ensemble.weights import with_temperature
from src.evidence import average, blend, compare, sentence


class Member(NamedTuple):
    """A member as its models predict; `average_of` applies weight and temperature.

    The plain tables, without TTA, are what the guard compares a submission with.
    """

    card: Card
    weight: float
    valid: pd.DataFrame  # no rows when nothing was held out
    test: pd.DataFrame
    plain_valid: pd.DataFrame
    plain_test: pd.DataFrame
    without_tta: str = ""  # why `valid` and `test` are the plain ones; empty when they have TTA
    temperature: float = 1.0


def read_members(
    models: Path, folder: Path, cards: Cards, weights: Mapping[str, float], trust: bool
) -> list[Member]:
    """The members with their probabilities; missing or stale ones are predicted first."""
    images, labels = competition.test_fingerprint(folder), competition.train_table(folder).label
    names = [model["name"] for card in cards.values() for model in card["models"]]
    known = {name: bundle.read_card(models, name, trust) for name in names}
    stale = [n for n, card in known.items() if bundle.stale(models, card, images)]
    if stale:
        from src.predict import predict_bundles  # the only branch that needs torch

        predict_bundles(dict.fromkeys(stale, {}), models, folder, trust)
        known |= {name: bundle.read_card(models, name, trust) for name in stale}
    members = []
    for name, card in cards.items():
        card = card | merged([known[c["name"]] for c in card["models"]])
        members.append(_read_member(models, card, weights[name], images, labels))
    return members


def _read_member(
    models: Path, card: Card, weight: float, images: str, labels: pd.Series
) -> Member:
    """A member of its models' files, with TTA unless its hold-out proves that it hurts."""
    own = card["models"]
    tests = [_read(models, model, "test", images) for model in own]
    valids = [_read(models, c, "valid", images) for c in own if "valid" in bundle.splits(c)]
    valids = valids or [{way: table.iloc[:0] for way, table in tests[0].items()}]
    valid, test = {}, {}
    for way in ("plain", "tta"):
        held, seen = ([tables[way] for tables in split] for split in (valids, tests))
        valid[way] = held[0] if len(held) == 1 else pd.concat(held)
        test[way] = seen[0] if len(seen) == 1 else average(seen)
        valid[way].attrs["model"] = test[way].attrs["model"] = card["name"]
    why = harm_of_tta(valid["plain"], valid["tta"], labels, card["name"])
    way = "plain" if why else "tta"
    return Member(card, weight, valid[way], test[way], valid["plain"], test["plain"], why)


def _read(models: Path, card: Mapping, split: str, images: str) -> dict[str, pd.DataFrame]:
    """The probabilities of one model, plain and with TTA."""
    tables = bundle.read_predictions(models, card, split, images)
    return {"plain": tables["plain"], "tta": blend(tables, card["variant"]["beta"])}


def harm_of_tta(plain: pd.DataFrame, tta: pd.DataFrame, labels: pd.Series, name: str) -> str:
    """The evidence that TTA hurts the model `name` on its hold-out; empty where there is none."""
    if tta is plain or plain.empty:  # predicted without, or nothing was held out
        return ""
    found = compare(tta, plain, labels)
    return sentence(found, "TTA", name) if found.decided and found.difference < 0 else ""


def counted(members: list[Member]) -> list[Member]:
    """The members whose weight is not 0."""
    return [member for member in members if member.weight > 0]


def measured(members: list[Member]) -> list[Member]:
    """Those of them whose error is known: they held images out."""
    return [member for member in counted(members) if len(member.valid)]


def unmeasured(members: list[Member]) -> list[str]:
    """Names of those that were trained on all images: their part in the error is unknown."""
    return [member.card["name"] for member in counted(members) if member.valid.empty]


def common_images(members: list[Member]) -> pd.Index:
    """The images that all measured members held out; none where nobody is measured."""
    first, *others = [m.valid.index for m in measured(members)] or [pd.Index([])]
    for images in others:
        first = first.intersection(images)
    return first


def average_of(
    members: list[Member], tables: Mapping[str, pd.DataFrame], mean: str
) -> pd.DataFrame:
    """The members' `tables`, by name, at their temperatures, as one weighted `mean`.

    A member without a table is left out: on the hold-out, one that held nothing out.
    """
    used = [m for m in counted(members) if m.card["name"] in tables]
    heated = {m.card["name"]: _heated(tables[m.card["name"]], m.temperature) for m in used}
    return average(heated.values(), [m.weight for m in used], geometric=mean == "geometric")


def _heated(table: pd.DataFrame, temperature: float) -> pd.DataFrame:
    if temperature == 1:
        return table
    values = with_temperature(table.to_numpy(dtype=float), temperature)
    return pd.DataFrame(values, table.index, table.columns)


def holdout_problem(members: list[Member]) -> str:
    """Why the measured members have no hold-out in common, or a small one, and what to train."""
    held: dict[str, list[str]] = {}
    for member in measured(members):
        held.setdefault(_held_out(member.card), []).append(title(member.card))
    if not held:
        return f"{some(unmeasured(members), 3)} held nothing out (fold=all): train a fold, too"
    found = ", ".join(f"{some(names, 3)} held out {folds}" for folds, names in held.items())
    return f"{found}: train them for the same fold" if len(held) > 1 else f"{found}, no more"


def _held_out(card: Card) -> str:
    """`folds 0, 1` of a member, with split and seed when they are not the usual."""
    variant = card["variant"]
    folds = ", ".join(str(model["variant"]["fold"]) for model in card["models"])
    split = " of the grouped split" * (variant["split"] == "grouped")
    seed = f" of seed {variant['seed']}" * (variant["seed"] != DEFAULT_SEED)
    return f"fold{'s' * (len(card['models']) > 1)} {folds}{split}{seed}"


def origin(member: Member) -> dict[str, Any]:
    """A member in the provenance of a submission."""
    card, why = member.card, member.without_tta
    models = {c["name"]: {key: c[key] for key in ("sha256", "commit")} for c in card["models"]}
    tta = {"tta": "none", "why": why} if why else {"tta": card["variant"]["tta"]}
    known = {"name": card["name"], "family": card["family"], "weight": member.weight}
    return {**known, **tta, "models": models}
