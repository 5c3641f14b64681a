"""Every finished model of a notebook votes: one weighted mean, one submission.

    python -m src.ensemble                              all of them, equally
    python -m src.ensemble vit_small_squish_224 …       only these
    python -m src.ensemble --weights vit=2 swinv2=1.5   per family, or per model name
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from src import bundle, competition
from src.config import UserError, command, models_dir, nearest
from src.evidence import error_phrase, wrong_of
from src.probs import average, blend, is_fresh, read_probs
from src.submission import submit_command, write_submission

Cards = dict[str, dict[str, Any]]


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


def submission_name(cards: Cards, notebook: str) -> str:
    """What the submission is called: its source notebook; asked for when there are several."""
    sources = sorted({card["notebook"] for card in cards.values()})
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
    weights = dict.fromkeys(cards, 1.0)
    families = {name: card["family"] for name, card in cards.items()}
    known = sorted({*families.values()}) + list(cards)
    given = dict(_parse_weight(word, known) for word in words)
    for name in cards:
        weights[name] = given.get(name, given.get(families[name], 1.0))
    if not any(weights.values()):
        raise UserError("all weights are 0; give at least one model a weight above 0")
    return weights


def _parse_weight(word: str, known: list[str]) -> tuple[str, float]:
    key, _, number = word.partition("=")
    if key not in known:
        raise UserError(f"no family or model {key!r} among the members; {nearest(key, known)}")
    try:
        weight = float(number)
    except ValueError:
        weight = -1.0
    if not 0 <= weight < float("inf"):
        raise UserError(f"weight {word!r} is not understood; write {key}=2, a number of 0 or more")
    return key, weight


def read_members(
    models: Path, folder: Path, cards: Cards, weights: Mapping[str, float], trust: bool
) -> list[Member]:
    """The members with their probabilities; missing or stale ones are predicted first."""
    images = competition.test_fingerprint(folder)
    stale = [
        name for name, card in cards.items()
        if not (_is_fresh(models, card, "test", images)
                and _is_fresh(models, card, "valid", card["held_out"]))
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


def _is_fresh(models: Path, card: Mapping, split: str, images: str) -> bool:
    path = bundle.probs_path(models, card["name"], split)
    return is_fresh(path, bundle.expected_meta(card, split, images))


def _read(models: Path, card: Mapping, split: str, images: str) -> pd.DataFrame:
    path = bundle.probs_path(models, card["name"], split)
    tables, meta = read_probs(path, bundle.expected_meta(card, split, images))
    return blend(tables, meta["tta"]["beta"])


def holdout_average(members: list[Member]) -> pd.DataFrame | None:
    """The ensemble's probabilities on the images every voter held out; None if there are none."""
    voters = [m for m in members if m.weight > 0]
    common = voters[0].valid.index
    for member in voters[1:]:
        common = common.intersection(member.valid.index)
    if common.empty:
        return None
    return average([m.valid.loc[common] for m in voters], [m.weight for m in voters])


def members_table(members: list[Member]) -> str:
    """The members as aligned text: name, family, hold-out error plain and with TTA, weight."""
    rows = []
    for card, weight, *_ in members:
        held = card["holdout"]
        errors = [error_phrase(held[f"wrong_{way}"], held["images"]) for way in ("plain", "tta")]
        rows.append([card["name"], card["family"], *errors, f"{weight:g}"])
    columns = ["model", "family", "hold-out error", "with TTA", "weight"]
    return pd.DataFrame(rows, columns=columns).to_string(index=False, justify="left")


def provenance(members: list[Member], error: tuple[int, int] | None) -> dict[str, Any]:
    """Who voted with which weight, and how the vote did on the hold-out."""
    voters = [
        {key: m.card[key] for key in ("name", "family", "sha256", "commit")} | {"weight": m.weight}
        for m in members if m.weight > 0
    ]
    wrong, images = error or (None, 0)
    return {"members": voters, "holdout": {"wrong": wrong, "images": images}}


def print_solution(folder: Path, members: list[Member], probs: pd.DataFrame) -> None:
    """Only where the answers are known, as in the demo: test images right, model by model."""
    if (answers := competition.solution(folder)) is None:
        return
    print("\ntest images right, by solution.csv:")
    rows = {m.card["name"]: m.test for m in members} | {"ensemble": probs}
    for name, table in rows.items():
        wrong, images = wrong_of(table, answers)
        print(f"  {name:<40} {images - wrong:,} of {images:,}")


def main() -> None:
    """The command: see the module's first lines."""
    args = _parse()
    models, folder = models_dir(), competition.find(args.data)
    cards, reasons = find_members(models, folder, args.names, args.notebook)
    if not cards:
        why = "; ".join(f"{name}: {reason}" for name, reason in reasons.items()) or "it is empty"
        raise UserError(f"no model in {models} can vote ({why}); train: python -m src.run --all")
    notebook = submission_name(cards, args.notebook)
    members = read_members(models, folder, cards, parse_weights(args.weights, cards), args.trust)
    print(members_table(members))
    for name, reason in reasons.items():
        print(f"does not vote: {name}: {reason}")
    valid, labels = holdout_average(members), competition.train_table(folder).label
    error = None if valid is None else wrong_of(valid, labels)
    shown = error_phrase(*error or (0, 0))
    print(f"\nensemble, on the images all of them held out: {shown}")
    probs = average([m.test for m in members], [m.weight for m in members])
    path = write_submission(
        probs, folder, notebook, provenance(members, error), args.good, args.force
    )
    print_solution(folder, members, probs)
    message = f"{notebook}: {len(members)} models, hold-out {shown}"
    print(f"\nwritten: {path}\n{submit_command(path, message)}")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m src.ensemble", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("names", nargs="*", metavar="NAME", help="models that vote (default: all that fit)")
    add("--weights", nargs="+", action="extend", default=[], metavar="NAME=W",
        help="by family or model; usual is 1")
    add("--notebook", default="", help="source notebook, and the name of the submission")
    add("--good", nargs="+", type=Path, metavar="FILE", help="submissions known to be good")
    add("--force", action="store_true", help="write what the guard refuses; it is recorded")
    add("--data", default="", metavar="DIR", help="the competition's folder")
    add("--trust", action="store_true", help="load a .pkl of another sha256 than its card's")
    return parser.parse_args()


if __name__ == "__main__":
    command(main)
