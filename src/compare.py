"""Two rows of params.yaml, trained over the same seeds, and their paired difference in images.

    python -m src.compare vit_small_squish_224 vit_small_mixup --seeds 5

Each seed has its own split, the same for both rows. What is finished in models/ is taken from
there; what is trained for the comparison goes to models/compare/, where it has no vote.
"""

import argparse
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from src import bundle, competition, evidence
from src.competition import folds_path, get_folds, holdout_digest, read_corrections
from src.core import UserError, Variant, command, load_variants, models_dir, nearest, write_text
from src.run import run_notebook


def holdout_of(variant: Variant, folder: Path) -> pd.DataFrame:
    """The hold-out's probabilities of `variant`, with TTA if its row has it; trained first if new.

    It is trained on the split saved in models/, where there is one.
    """
    models, done = _home(variant, folder)
    if not done:
        print(f"{variant.name}: training", flush=True)
        saved, own = (_folds_in(variant, folder, m) for m in (models_dir(), models))
        if saved.exists() and not own.exists():
            write_text(own, saved.read_text(encoding="utf-8"))
        run_notebook(variant, folder, models)
    card = bundle.read_card(models, variant.name)
    return evidence.blend(bundle.read_predictions(models, card, "valid"), variant.beta)


def require_trainable(rows: Sequence[Variant], seeds: int, folder: Path) -> None:
    """Refuse, before anything is trained, what the last training would be refused for."""
    from src.vision import backbone, weights  # both need torch

    for variant in rows:
        backbone.check_arch(variant)
        read_corrections(variant, folder)
        done = [_home(repeat, folder)[1] for repeat in _repeats(variant, seeds)]
        if not all(done):
            weights.find(variant)


def require_distinct_holdouts(old: Variant, new: Variant, seeds: int, folder: Path) -> None:
    """Refuse, before anything is trained, seeds that hold out the same images."""
    held: dict[str, list[int]] = {}
    for pair in zip(_repeats(old, seeds), _repeats(new, seeds), strict=True):
        both, seed = {_held_out(variant, folder) for variant in pair}, pair[0].seed
        if len(both) > 1:
            raise UserError(
                f"{old.name} and {new.name} hold out different images for seed {seed}; bring back "
                "the folds_….csv of the one that is finished, or train both on one split"
            )
        held.setdefault(both.pop(), []).append(seed)
    if shared := [same for same in held.values() if len(same) > 1]:
        fewer = min(same[1] for same in shared) - old.seed
        first, *others = map(str, shared[0])
        raise UserError(
            f"seeds {', '.join([first, *others])} hold out the same images, which would be counted "
            f"as new ones; use --seeds {fewer}, or if an older version made the folds_….csv of "
            f"{', '.join(others)}, delete it in models/ and models/compare/ and what was trained "
            "on it: another split is made"
        )


def _repeats(variant: Variant, seeds: int) -> list[Variant]:
    return [replace(variant, seed=variant.seed + number) for number in range(seeds)]


def _held_out(variant: Variant, folder: Path) -> str:
    """The fingerprint of what `variant` holds out, also before it is trained."""
    home, done = _home(variant, folder)
    if done:
        return bundle.read_card(home, variant.name)["held_out"]
    places = [m for m in (home, models_dir()) if _folds_in(variant, folder, m).exists()]
    folds = get_folds(folder, variant.seed, places[0] if places else home, variant.split)
    return holdout_digest(list(folds.index[folds == variant.fold]))


def _folds_in(variant: Variant, folder: Path, models: Path) -> Path:
    return folds_path(folder, variant.seed, models, variant.split)


def _home(variant: Variant, folder: Path) -> tuple[Path, bool]:
    """The models folder in which `variant` belongs, and whether it is finished there."""
    models, data = models_dir(), competition.train_fingerprint(folder)
    if bundle.is_done(variant, models, data):
        return models, True
    try:
        return models / "compare", bundle.is_done(variant, models / "compare", data)
    except UserError as error:  # its remedy is for models that vote
        remedy = f"delete {models / 'compare' / variant.name}.* to have it trained again"
        raise UserError(error.problem, remedy) from error


def report(old: Variant, new: Variant, seeds: int, folder: Path) -> list[str]:
    """Train both over the seeds, printing each difference at once; the lines about all of them."""
    labels, pairs = competition.train_table(folder).label, []
    for after, before in zip(_repeats(new, seeds), _repeats(old, seeds), strict=True):
        pairs.append((holdout_of(after, folder), holdout_of(before, folder)))
        one, _ = evidence.compare_repeats(pairs[-1:], labels)
        wrong_after, wrong = (evidence.wrong_of(table, labels)[0] for table in pairs[-1])
        gain = f"{wrong} → {wrong_after} of {one.images:,} wrong, {evidence.gain_phrase(one)}"
        print(f"seed {before.seed}: {gain}", flush=True)
    images = len(set().union(*(table.index for table, _ in pairs)))
    c, log_loss = evidence.compare_repeats(pairs, labels)
    return [
        f"{old.name} → {new.name}: {c.images:,} predictions of {images:,} images",
        verdict(c, log_loss, old.name, new.name),
    ]


def verdict(c: evidence.Comparison, log_loss: evidence.LogLoss, old: str, new: str) -> str:
    """`+4 predictions (95 % −8 … +15, p 0.62): …` and which is better, if decided; + is `new`."""
    result = f"{new} is {'better' if c.difference > 0 else 'worse'} than {old}"
    result = result if c.decided else "the difference cannot be told from zero"
    gain = f"{evidence.signed(c.difference)} predictions ({evidence.interval_phrase(c)})"
    return f"{gain}: {result}; {evidence.log_loss_phrase(log_loss)}"


def main() -> None:
    """The command: see the module's first lines."""
    parser = argparse.ArgumentParser(prog="python -m src.compare", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", metavar="A", help="the row to compare with")
    parser.add_argument("new", metavar="B", help="the row that may be better")
    parser.add_argument("--seeds", type=int, default=5, help="how many, from that of A on (5)")
    parser.add_argument("--data", default="", help="the competition's folder")
    args = parser.parse_args()
    logging.getLogger("papermill").setLevel(logging.ERROR)
    old, new = _rows([args.old, args.new])
    if args.seeds < 1:
        raise UserError(f"--seeds {args.seeds} must be 1 or more")
    folder = competition.find(args.data)
    require_trainable([old, new], args.seeds, folder)
    require_distinct_holdouts(old, new, args.seeds, folder)
    print("\n".join(report(old, new, args.seeds, folder)))


def _rows(names: list[str]) -> list[Variant]:
    """The two rows, refused unless they can be compared."""
    known = load_variants()
    for name in names:
        if name not in known:
            raise UserError(f"params.yaml has no row {name!r}; {nearest(name, list(known))}")
    old, new = rows = [known[name] for name in names]
    if old == new:
        raise UserError(f"{old.name} is compared with itself; name two rows")
    if "all" in (old.fold, new.fold):
        raise UserError("a row with fold=all holds nothing out; compare rows that do")
    if (old.fold, old.split, old.seed) != (new.fold, new.split, new.seed):
        raise UserError("the rows hold out other images; give both the same fold, split and seed")
    return rows


if __name__ == "__main__":
    command(main)
