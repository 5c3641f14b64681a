"""Two rows of params.yaml, trained over the same seeds, and their paired difference in images.

    python -m src.compare vit_small_squish_224 vit_small_mixup --seeds 5
    python -m src.compare vit_small_squish_224 vit_small_mixup --seeds 2 --out-of-fold

Each seed has its own split, the same for both rows; one fold of it is held out, or with
--out-of-fold each in turn, so that every image is predicted by a model that did not see it. What
is finished in models/ is taken from there; what is trained for the comparison is written to
models/compare/ and joins no ensemble.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from src import bundle, competition, evidence
from src.core import UserError, Variant, command, find_variants, models_dir, write_text
from src.run import run_notebook


class Repeat(NamedTuple):
    """A row at one of the seeds."""

    variant: Variant
    models: Path  # where its model is, or will be
    done: bool
    held_out: str  # the fingerprint of its hold-out


def plan(row: Variant, seeds: int, folder: Path, out_of_fold: bool = False) -> list[Repeat]:
    """`row` at each of the seeds, on its fold or all; refused before any work if it cannot be."""
    from src.vision import backbone, weights  # both need torch

    if seeds < 1:
        raise UserError(f"--seeds {seeds} must be 1 or more")
    if row.fold == "all":
        raise UserError(f"{row.name}: fold=all holds nothing out; compare rows that do")
    backbone.check_arch(row)
    competition.read_corrections(row, folder)
    folds = range(competition.FOLDS) if out_of_fold else [row.fold]
    repeats = [_repeat(replace(row, seed=row.seed + number, fold=fold), folder)
               for number in range(seeds) for fold in folds]
    if not all(repeat.done for repeat in repeats):
        weights.find(row)
    return repeats


def _repeat(variant: Variant, folder: Path) -> Repeat:
    models, data = models_dir(), competition.train_fingerprint(folder)
    done = bundle.is_done(variant, models, data)
    if not done:
        models = models / "compare"
        try:
            done = bundle.is_done(variant, models, data)
        except UserError as error:  # its remedy is for members of ensembles
            remedy = f"delete {models / variant.name}.* to have it trained again"
            raise UserError(error.problem, remedy) from error
    if done:
        return Repeat(variant, models, True, bundle.read_card(models, variant.name)["held_out"])
    saved = [m for m in (models, models_dir()) if _folds_in(m, variant, folder).exists()]
    place = saved[0] if saved else models
    folds = competition.get_folds(folder, variant.seed, place, variant.split)
    held_out = competition.holdout_digest(list(folds.index[folds == variant.fold]))
    return Repeat(variant, models, False, held_out)


def _folds_in(models: Path, variant: Variant, folder: Path) -> Path:
    return competition.folds_path(folder, variant.seed, models, variant.split)


def require_distinct_holdouts(old: list[Repeat], new: list[Repeat]) -> None:
    """Refuse rows that hold out different images, and seeds that hold out the same ones."""
    digests = [repeat.held_out for repeat in old]
    if digests != [repeat.held_out for repeat in new]:
        raise UserError(
            f"{old[0].variant.name} and {new[0].variant.name} hold out different images; give both "
            "the same fold, split and seed, or restore the folds_….csv of the finished one"
        )
    for digest in digests:
        first, *others = (str(repeat.variant.seed) for repeat in old if repeat.held_out == digest)
        if others:
            raise UserError(
                f"seeds {', '.join([first, *others])} hold out the same images; use --seeds "
                f"{int(others[0]) - old[0].variant.seed}, or delete the folds_….csv of "
                f"{', '.join(others)} in models/ and models/compare/ and what was trained on them"
            )


def share_split(repeat: Repeat, folder: Path) -> None:
    """Have `repeat` trained on a split that is saved already, that of models/ first."""
    own = _folds_in(repeat.models, repeat.variant, folder)
    saved = [_folds_in(m, repeat.variant, folder) for m in (models_dir(), models_dir() / "compare")]
    if found := [path for path in saved if path.exists() and not own.exists()]:
        write_text(own, found[0].read_text(encoding="utf-8"))


def holdout_of(repeat: Repeat, folder: Path) -> pd.DataFrame:
    """The hold-out's probabilities, with TTA if the row has it; trained first if not done."""
    variant, models = repeat.variant, repeat.models
    if not repeat.done:
        print(f"{variant.name}: training", flush=True)
        share_split(repeat, folder)
        run_notebook(variant, folder, models)
    card = bundle.read_card(models, variant.name)
    return evidence.blend(bundle.read_predictions(models, card, "valid"), variant.beta)


def report(
    old: list[Repeat], new: list[Repeat], folder: Path
) -> list[tuple[pd.DataFrame, pd.DataFrame]]:
    """Train both over the seeds; print each difference at once, and at last that of all of them.

    Their probabilities are returned, a pair (new, old) for each seed.
    """
    labels, pairs = competition.train_table(folder).label, []
    for repeat in zip(new, old, strict=True):
        pairs.append(tuple(holdout_of(row, folder) for row in repeat))
        where = f"seed {repeat[1].variant.seed}, fold {repeat[1].variant.fold}"
        print(f"{where}: {_change(pairs[-1], labels)}", flush=True)
        seen = _with_twins(repeat[1], folder).intersection(pairs[-1][0].index)
        if 0 < len(seen) < len(pairs[-1][0]):
            rest = tuple(table.drop(seen) for table in pairs[-1])
            print(f"  without the {len(seen):,} with a twin in training: {_change(rest, labels)}")
    images = set().union(*(table.index for table, _ in pairs))
    c, log_loss = evidence.compare_repeats(pairs, labels)
    before, after = old[0].variant.name, new[0].variant.name
    print(f"{before} → {after}: {c.images:,} predictions of {len(images):,} images")
    print(f"{verdict(c, before, after)}; {evidence.log_loss_phrase(log_loss)}")
    return pairs


def _change(pair: tuple[pd.DataFrame, pd.DataFrame], labels: pd.Series) -> str:
    """What the new table of a `pair` changes against the old one, in images."""
    c, _ = evidence.compare_repeats([pair], labels)
    after, before = (evidence.wrong_of(table, labels)[0] for table in pair)
    return f"{before} → {after} of {c.images:,} wrong, {evidence.gain_phrase(c)}"


def _with_twins(repeat: Repeat, folder: Path) -> pd.Index:
    """The images with a twin in another fold, as far as review/twins.csv and the split say."""
    variant = repeat.variant
    if not _folds_in(repeat.models, variant, folder).exists():
        return pd.Index([])
    folds = competition.get_folds(folder, variant.seed, repeat.models, variant.split)
    return competition.leaking(folder, folds)


def verdict(c: evidence.Comparison, old: str, new: str) -> str:
    """`+4 predictions (95 % −8 … +15, p 0.62): no evidence of a difference`; + is for `new`."""
    result = f"{new} is {'better' if c.difference > 0 else 'worse'} than {old}"
    result = result if c.decided else "no evidence of a difference"
    return f"{evidence.signed(c.difference)} predictions ({evidence.interval_phrase(c)}): {result}"


def main() -> None:
    """The command: see the module's first lines."""
    parser = argparse.ArgumentParser(prog="python -m src.compare", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", metavar="A", help="the row to compare with")
    parser.add_argument("new", metavar="B", help="the row that may be better")
    parser.add_argument("--seeds", type=int, default=5, help="how many, from that of A on (5)")
    parser.add_argument("--out-of-fold", action="store_true", help="hold out every fold in turn")
    parser.add_argument("--data", default="", help="the competition's folder")
    args = parser.parse_args()
    rows = find_variants([args.old, args.new])
    folder = competition.find(args.data)
    old, new = (plan(row, args.seeds, folder, args.out_of_fold) for row in rows)
    require_distinct_holdouts(old, new)
    report(old, new, folder)


if __name__ == "__main__":
    command(main)
