"""Every finished model of a notebook votes: one weighted mean, one submission.

    python -m src.ensemble                              all of them, equally
    python -m src.ensemble vit_small_squish_224 …       only these
    python -m src.ensemble --weights vit=2 swinv2=1.5   per family, or per model name
    python -m src.ensemble --select auto                other weights only if they prove better
"""

import argparse
from pathlib import Path
from typing import Any

import pandas as pd

from src import competition
from src.config import UserError, command, models_dir, nearest
from src.evidence import error_phrase, wrong_of
from src.members import Cards, Member, common_holdout, find_members, holdout_average, read_members
from src.probs import average
from src.search import (
    SELECT,
    choose,
    contributions,
    contributions_text,
    search,
    trials_text,
    worth,
)
from src.submission import submit_command, write_submission

LEAST = 50  # images; fewer cannot tell one weight from another
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


def reweigh(members: list[Member], labels: pd.Series, select: str) -> list[Member]:
    """The members with the weights that a nested search on the hold-out chooses; it is printed."""
    tables = common_holdout(members)
    images = len(next(iter(tables.values())))
    if len(tables) < 2 or images < LEAST:
        raise UserError(
            f"--select {select} needs two models and {LEAST} images that all of them held out; "
            f"there are {len(tables)} models and {images} images: train the same fold and seed"
        )
    families = {m.card["name"]: m.card["family"] for m in members}
    trials = search(tables, families, labels)
    method, why = choose(trials, select)
    weights = trials[method].weights
    print(f"{trials_text(trials, labels)}\n{why}\n")
    print(contributions_text(contributions(tables, families, labels), images))
    print(worth(tables, labels, weights))
    print("--weights " + " ".join(f"{name}={weight:g}" for name, weight in weights.items()), "\n")
    return [m._replace(weight=weights[m.card["name"]]) for m in members]


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
    labels = competition.train_table(folder).label
    if args.select != "equal":
        members = reweigh(members, labels, args.select)
    print(members_table(members))
    for name, reason in reasons.items():
        print(f"does not vote: {name}: {reason}")
    valid = holdout_average(members)
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
    add("--select", default="equal", choices=SELECT,
        help="search for weights; auto keeps equal ones unless the hold-out proves others better")
    add("--notebook", default="", help="source notebook, and the name of the submission")
    add("--good", nargs="+", type=Path, metavar="FILE", help="submissions known to be good")
    add("--force", action="store_true", help="write what the guard refuses; it is recorded")
    add("--data", default="", metavar="DIR", help="the competition's folder")
    add("--trust", action="store_true", help="load a .pkl of another sha256 than its card's")
    args = parser.parse_args()
    if args.weights and args.select != "equal":
        raise UserError("--weights and --select both decide the weights; give one of them")
    return args


if __name__ == "__main__":
    command(main)
