"""Average the finished models of a notebook into one submission.

    python -m src.ensemble                              all of them, equally
    python -m src.ensemble vit_small_squish_224 …       only these
    python -m src.ensemble --weights vit=2 swinv2=1.5   per family, or per model name
    python -m src.ensemble --mean geometric --temperatures vit=1.3
    python -m src.ensemble --select auto                any of these only if it proves better
    python -m src.ensemble --twins identical            known labels of identical images taken
"""

import argparse
from pathlib import Path

from src import competition
from src.core import command
from src.ensemble import ensemble as ensembles
from src.ensemble import report, search
from src.ensemble.weights import SELECT
from src.evidence import as_text


def main() -> None:
    """The command: see the module's first lines."""
    args = _parse()
    ensemble = ensembles.open_ensemble(
        " ".join(args.weights), args.select, args.notebook, args.data, mean=args.mean,
        temperatures=" ".join(args.temperatures), names=args.names, trust=args.trust,
        twins=args.twins,
    )
    if ensemble.select != "equal":
        trials = search.find_trials(ensemble)
        ensemble = search.reweigh(ensemble, trials)
        print(as_text(search.trials_table(trials, ensemble.labels)))
        print(f"{search.search_text(ensemble, trials)}\n")
    print(as_text(report.members_table(ensemble)))
    print(report.members_sentence(ensemble))
    if not args.names and (line := report.notebook_sentence(ensemble)):
        print(line)
    print(f"\n{report.holdout_text(ensemble)}")
    if ensemble.twins:
        print(report.twins_sentence(ensemble))
    if not ensembles.lacking(ensemble):
        print(report.agreement(ensemble))
        table = as_text(report.contributions(ensemble))
        print(f"\ncontributions to the equal mean:\n{table}")
    _print_solution(ensemble)
    ensembles.write_ensemble(ensemble, args.good, args.force)


def _print_solution(ensemble: ensembles.Ensemble) -> None:
    """Only where the answers are known, as in the demo: the error on the test images."""
    if (answers := competition.solution(ensemble.folder)) is None:
        return
    print("\ntest images, by solution.csv:")
    print(as_text(report.answers_table(ensemble, answers)))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m src.ensemble", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("names", nargs="*", metavar="NAME", help="models to average (default: all that fit)")
    add("--weights", nargs="+", action="extend", default=[], metavar="NAME=W",
        help="by family or model; usual is 1")
    add("--mean", default="arithmetic", choices=ensembles.MEANS,
        help="of probabilities or of their logarithms")
    add("--temperatures", nargs="+", action="extend", default=[], metavar="NAME=T",
        help="by family or model; usual is 1, above it a model becomes less confident")
    add("--select", default="equal", choices=SELECT,
        help="search for these; auto takes them only if the hold-out proves them better")
    add("--twins", default="none", choices=ensembles.TWINS,
        help="identical: a test image with the bytes of a training image takes its label")
    add("--notebook", default="", metavar="NAME",
        help="name of the submission; if models of a notebook NAME exist, only these are "
             "averaged, else all (models named one by one always are)")
    add("--good", nargs="+", type=Path, metavar="FILE", help="submissions known to be good")
    add("--force", action="store_true", help="write what the guard refuses; it is recorded")
    add("--data", default="", metavar="DIR", help="the competition's folder")
    add("--trust", action="store_true", help="load a .pkl of another sha256 than its card's")
    return parser.parse_args()


if __name__ == "__main__":
    command(main)
