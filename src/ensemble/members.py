"""What the members say: their probabilities of the hold-out and of the test set.

Folds that count together: their hold-outs are put together, their test probabilities averaged
before anybody else's are.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from src import bundle, competition
from src.competition import some
from src.core import DEFAULT_SEED
from src.ensemble.search import use_tta
from src.ensemble.temperature import temper_table
from src.ensemble.voters import Card, Cards, holdout, title
from src.evidence import INTERVAL, average, blend, error_cell, read_probs, too_few, wrong_of
from src.submission import Members, Predicted, labels_of


class Member(NamedTuple):
    """What votes: its card, its weight, its probabilities of the hold-out and of the test.

    They are as the model said them; `vote_average` applies the temperature. The plain ones, without
    TTA, are what the guard compares a submission with.
    """

    card: Card
    weight: float
    valid: pd.DataFrame  # empty when nothing was held out
    test: pd.DataFrame
    plain_valid: pd.DataFrame
    plain_test: pd.DataFrame
    without_tta: str = ""  # why its plain probabilities vote; empty when those with TTA do
    temperature: float = 1.0


def read_members(
    models: Path, folder: Path, cards: Cards, weights: Mapping[str, float], trust: bool
) -> list[Member]:
    """The members with their probabilities; missing or stale ones are predicted first."""
    images, labels = competition.test_fingerprint(folder), competition.train_table(folder).label
    names = [model["name"] for card in cards.values() for model in card["models"]]
    known = {name: bundle.read_card(models, name, trust) for name in names}
    stale = [n for n, card in known.items() if not _is_predicted(models, card, images)]
    if stale:
        from src.predict import predict_bundles  # the only branch that needs torch

        predict_bundles(dict.fromkeys(stale, {}), models, folder, trust)
        known |= {name: bundle.read_card(models, name, trust) for name in stale}
    members = []
    for name, card in cards.items():
        own = [known[c["name"]] for c in card["models"]]
        card = {**card, "models": own, "holdout": holdout(own), "sha256": own[0]["sha256"]}
        members.append(_read_member(models, card, weights[name], images, labels))
    return members


def _is_predicted(models: Path, card: Card, images: str) -> bool:
    test = bundle.has_fresh(models, card, "test", images)
    return test and bundle.has_fresh_valid(models, card)


def _read_member(
    models: Path, card: Card, weight: float, images: str, labels: pd.Series
) -> Member:
    """A member of its models' files, with TTA unless its hold-out says that it hurts."""
    own = card["models"]
    tests = [_read(models, model, "test", images) for model in own]
    valids = [_read(models, c, "valid", c["held_out"]) for c in own if c["holdout"]["images"]]
    valids = valids or [{way: table.iloc[:0] for way, table in tests[0].items()}]
    valid, test = {}, {}
    for way in ("plain", "tta"):
        held, seen = ([tables[way] for tables in split] for split in (valids, tests))
        valid[way] = held[0] if len(held) == 1 else pd.concat(held)
        test[way] = seen[0] if len(seen) == 1 else average(seen)
        valid[way].attrs["model"] = test[way].attrs["model"] = card["name"]
    why = _without_tta(valid["plain"], valid["tta"], labels, card["name"])
    way = "plain" if why else "tta"
    return Member(card, weight, valid[way], test[way], valid["plain"], test["plain"], why)


def _read(models: Path, card: Mapping, split: str, images: str) -> dict[str, pd.DataFrame]:
    """The probabilities of one model, plain and with TTA."""
    path = bundle.probs_path(models, card["name"], split)
    tables, meta = read_probs(path, bundle.expected_meta(card, split, images))
    return {"plain": tables["plain"], "tta": blend(tables, meta["tta"]["beta"])}


def _without_tta(plain: pd.DataFrame, tta: pd.DataFrame, labels: pd.Series, name: str) -> str:
    """Why TTA is not used for the model `name`; empty when it is."""
    if tta is plain or plain.empty:  # predicted without, or nothing was held out
        return ""
    used, why = use_tta(plain, tta, labels, name)
    return "" if used else why


def measured(members: list[Member]) -> list[Member]:
    """The voters whose error is known: those that held images out."""
    return [m for m in members if m.weight > 0 and len(m.valid)]


def unmeasured(members: list[Member]) -> list[str]:
    """Names of the voters that were trained on all images: their part in the error is unknown."""
    return [m.card["name"] for m in members if m.weight > 0 and m.valid.empty]


def common_images(members: list[Member]) -> pd.Index:
    """The images that all measured voters held out; none where nobody is measured."""
    first, *others = [m.valid.index for m in measured(members)] or [pd.Index([])]
    for images in others:
        first = first.intersection(images)
    return first


def common_holdout(members: list[Member]) -> dict[str, pd.DataFrame]:
    """Hold-out tables of the measured voters, cut to the images every one of them held out."""
    images = common_images(members)
    return {m.card["name"]: m.valid.reindex(images) for m in measured(members)}


def vote_average(
    members: list[Member], tables: Mapping[str, pd.DataFrame], mean: str
) -> pd.DataFrame:
    """The voters' `tables`, by name, at their temperatures, as one weighted `mean`.

    A voter without a table has no part in it: on the hold-out, one that held nothing out.
    """
    voters = [m for m in members if m.weight > 0 and m.card["name"] in tables]
    heated = {m.card["name"]: temper_table(tables[m.card["name"]], m.temperature) for m in voters}
    return average(heated, [m.weight for m in voters], geometric=mean == "geometric")


def holdout_problem(members: list[Member]) -> str:
    """Why the measured voters have no hold-out in common, or a small one, and what to train."""
    held: dict[str, list[str]] = {}
    for member in measured(members):
        held.setdefault(_held_out(member.card), []).append(title(member.card))
    if not held:
        return f"{some(unmeasured(members), 3)} held nothing out (fold=all): train a fold, too"
    told = ", ".join(f"{some(names, 3)} held out {folds}" for folds, names in held.items())
    return f"{told}: train them for the same fold" if len(held) > 1 else f"{told}, no more"


def _held_out(card: Card) -> str:
    """`folds 0, 1` of a member, with split and seed when they are not the usual."""
    variant = card["variant"]
    folds = ", ".join(str(model["variant"]["fold"]) for model in card["models"])
    split = " of the grouped split" * (variant["split"] == "grouped")
    seed = f" of seed {variant['seed']}" * (variant["seed"] != DEFAULT_SEED)
    return f"fold{'s' * (len(card['models']) > 1)} {folds}{split}{seed}"


def origin(member: Member) -> dict[str, Any]:
    """What the provenance of a submission tells of a member."""
    card, why = member.card, member.without_tta
    models = {c["name"]: {key: c[key] for key in ("sha256", "commit")} for c in card["models"]}
    tta = {"tta": "none", "why": why} if why else {"tta": card["variant"]["tta"]}
    told = {key: card[key] for key in ("name", "family")}
    return {**told, "weight": member.weight, **tta, "models": models}


def voters_of(members: list[Member]) -> list[Member]:
    """The members whose weight is not 0."""
    return [member for member in members if member.weight > 0]


def predicted(members: list[Member]) -> Members:
    """What the voters predict by themselves, for the guard."""
    voters = voters_of(members)
    return Members([Predicted(m.card["name"], m.plain_valid, m.plain_test) for m in voters])


def expected(valid: pd.DataFrame | None, members: list[Member]) -> dict[str, Any]:
    """What the guard may expect of the test labels, by `valid`, the ensemble on the hold-out.

    That is how often it predicts each label, and how often the same as each member's plain view.
    """
    if valid is None:
        return {"images": 0}
    picks, agree = labels_of(valid), {}
    for name, held, _ in predicted(members).tables:
        agree[name] = int((labels_of(held).reindex(picks.index) == picks).sum())
    counts = picks.value_counts().sort_index().to_dict()
    return {"images": len(picks), "labels": counts, "agree": agree}


def members_table(members: list[Member], labels: pd.Series) -> pd.DataFrame:
    """The members for a reader: hold-out errors plain and with TTA, weight, temperature if any.

    Where they held out different images, also the error on those that all did, if there are
    enough: it alone compares. Where a recipe was trained on grouped folds too, that second error.
    """
    common = common_images(members)
    differ = any(len(member.valid) not in (0, len(common)) for member in members)
    compared = differ and not too_few(len(common))
    twice, rows = any(member.card["grouped"] for member in members), []
    for member in members:
        card, valid = member.card, member.valid
        row = {"model": title(card), "family": card["family"]}
        row[f"hold-out error ({INTERVAL})"], row["with TTA"] = _errors(card["holdout"])
        if compared:
            seen = valid.loc[valid.index.intersection(common)]
            row[f"on the {len(common):,} common images"] = _error(*wrong_of(seen, labels))
        if twice:
            hard = card["grouped"]
            row["grouped hold-out, with TTA"] = _errors(hard)[1] if hard else ""
        row["weight"] = f"{member.weight:g}"
        if any(m.temperature != 1 for m in members):
            row["temperature"] = f"{member.temperature:g}"
        rows.append(row)
    return pd.DataFrame(rows)


def _errors(held: Mapping[str, Any]) -> list[str]:
    """Plain and with TTA; that nothing was held out is said once."""
    images = held["images"]
    return [error_cell(held["wrong_plain"], images), _error(held["wrong_tta"], images)]


def _error(wrong: int, images: int) -> str:
    return error_cell(wrong, images) if images else ""


def members_sentence(members: list[Member], reasons: Mapping[str, str]) -> str:
    """How many vote, how many of each family, who without TTA, and why others do not vote."""
    voters = [member for member in members if member.weight > 0]
    counts = Counter(member.card["family"] for member in voters)
    families = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    lines = [f"{len(voters)} of {len(members)} models vote: {families}"]
    lines += [f"votes without TTA: {m.without_tta}" for m in voters if m.without_tta]
    return "\n".join([*lines, *(f"does not vote: {n}: {why}" for n, why in reasons.items())])
