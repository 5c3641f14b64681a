"""Every finished model of a notebook votes: one weighted mean, one submission.

    python -m src.ensemble                              all of them, equally
    python -m src.ensemble vit_small_squish_224 …       only these
    python -m src.ensemble --weights vit=2 swinv2=1.5   per family, or per model name
    python -m src.ensemble --mean geometric --temperatures vit=1.3
    python -m src.ensemble --select auto                any of these only if it proves better
"""

import argparse
from pathlib import Path

import pandas as pd

from src import competition
from src.competition import some
from src.core import command
from src.ensemble.members import holdout_problem, members_sentence, members_table, unmeasured
from src.ensemble.report import as_text
from src.ensemble.search import SELECT, trials_table
from src.ensemble.vote import (
    MEANS,
    Vote,
    ensemble_probs,
    families,
    find_trials,
    is_plain,
    open_vote,
    reweigh,
    search_text,
    write_vote,
)
from src.ensemble.worth import alike, contributions, contributions_table, worth
from src.evidence import (
    INTERVAL,
    average,
    compare,
    compare_log_loss,
    error_cell,
    error_phrase,
    log_loss_phrase,
    sentence,
    too_few,
    wrong_of,
)


def few(vote: Vote) -> str:
    """Why the members are not compared; empty where enough images were held out by all."""
    images = 0 if vote.valid is None else len(vote.valid)
    return f"{lacks}: {holdout_problem(vote.members)}" if (lacks := too_few(images)) else ""


def brought(vote: Vote) -> pd.DataFrame:
    """What each family and each member brings to the equal mean, for a reader."""
    if few(vote):
        return pd.DataFrame()
    found = contributions(vote.tables, families(vote), vote.labels)
    return contributions_table(found, len(vote.valid))


def holdout_text(vote: Vote) -> str:
    """The ensemble's hold-out error, what ensembling is worth, and typed weights, a line each."""
    if vote.valid is None:
        return f"ensemble: {error_phrase(0, 0)}: {holdout_problem(vote.members)}"
    shown = error_phrase(*wrong_of(vote.valid, vote.labels))
    learnt = vote.why and not (is_plain(vote) and all(m.weight for m in vote.members))
    nested = "; each by what was learnt from others" if learnt else ""
    lines = [f"ensemble, on the images all of them held out: {shown}{nested}"]
    if names := unmeasured(vote.members):
        count = f"{len(vote.tables)} member{'s' * (len(vote.tables) > 1)}"
        lines += [f"this is the error of the {count} that held images out; "
                  f"{len(names)} trained on all: {some(names, 3)}"]
    if len(vote.tables) > 1:
        lines += [few(vote)] if few(vote) else _comparisons(vote)
    return "\n".join(lines)


def _comparisons(vote: Vote) -> list[str]:
    """What ensembling is worth, and what the typed weights, mean or temperatures bring."""
    lines = [worth(vote.tables, vote.labels, vote.valid)]
    if not vote.why and not is_plain(vote):
        both = vote.valid, average(list(vote.tables.values()))
        found = sentence(compare(*both, vote.labels), "weighing like this", "against equal weights")
        lines += [f"{found}; {log_loss_phrase(compare_log_loss(*both, vote.labels))}"]
    return lines


def print_solution(vote: Vote) -> None:
    """Only where the answers are known, as in the demo: the error on the test images."""
    if (answers := competition.solution(vote.folder)) is None:
        return
    print(f"\ntest images, by solution.csv ({INTERVAL}):")
    rows = {m.card["name"]: m.test for m in vote.members} | {"ensemble": ensemble_probs(vote)}
    for name, table in rows.items():
        print(f"  {name:<40} {error_cell(*wrong_of(table, answers))}")


def main() -> None:
    """The command: see the module's first lines."""
    args = _parse()
    vote = open_vote(
        " ".join(args.weights), args.select, args.notebook, args.data, mean=args.mean,
        temperatures=" ".join(args.temperatures), names=args.names, trust=args.trust,
    )
    if vote.select != "equal":
        trials = find_trials(vote)
        vote = reweigh(vote, trials)
        print(as_text(trials_table(trials, vote.labels)))
        print(f"{search_text(vote, trials)}\n")
    print(as_text(members_table(vote.members, vote.labels)))
    print(members_sentence(vote.members, vote.reasons))
    print(f"\n{holdout_text(vote)}")
    if len(vote.tables) > 1 and not few(vote):
        print(alike(vote.tables, vote.labels))
    if len(vote.tables) > 2 and not few(vote):
        print(f"\nwhat they bring to their equal mean:\n{as_text(brought(vote))}")
    print_solution(vote)
    write_vote(vote, args.good, args.force)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m src.ensemble", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("names", nargs="*", metavar="NAME", help="models that vote (default: all that fit)")
    add("--weights", nargs="+", action="extend", default=[], metavar="NAME=W",
        help="by family or model; usual is 1")
    add("--mean", default=MEANS[0], choices=MEANS, help="of probabilities or of their logarithms")
    add("--temperatures", nargs="+", action="extend", default=[], metavar="NAME=T",
        help="by family or model; usual is 1, above it a model is made less sure")
    add("--select", default="equal", choices=SELECT,
        help="search for these; auto keeps equal weights unless the hold-out proves others better")
    add("--notebook", default="", help="source notebook, and the name of the submission")
    add("--good", nargs="+", type=Path, metavar="FILE", help="submissions known to be good")
    add("--force", action="store_true", help="write what the guard refuses; it is recorded")
    add("--data", default="", metavar="DIR", help="the competition's folder")
    add("--trust", action="store_true", help="load a .pkl of another sha256 than its card's")
    return parser.parse_args()


if __name__ == "__main__":
    command(main)
