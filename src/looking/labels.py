"""Labels that may be wrong: a page of candidates to mark, and what the marked lists are worth."""

import argparse
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from src import bundle, competition, core
from src.core import UserError, Variant, load_facts, make_variant, models_dir, review_dir
from src.ensemble import find_members, fit_temperature, with_temperature
from src.evidence import FLOOR, blend, columns_of, compare_repeats, error_phrase, wrong_of
from src.looking.page import pictures, write_page

MOST = 500  # candidates on a page; more are slow to open
NEAREST = 3  # pictures of each label beside a candidate


def labels_command(words: Sequence[str]) -> None:
    """`python -m src.review labels`: write review/labels.html."""
    parser = argparse.ArgumentParser(prog="python -m src.review labels", description=__doc__)
    parser.add_argument("--top", type=int, default=150, help=f"candidates (150; at most {MOST})")
    top = parser.parse_args(words).top
    if top < 1:
        raise UserError(f"--top {top} must be 1 or more")
    folder, path = competition.find(), review_dir() / "labels.html"
    table, models = competition.train_table(folder), _held_out(folder)
    found = competition.twins_path().is_file()  # else nobody has looked
    pairs = competition.both_ways(competition.read_twins(folder)) if found else None
    mean, ranked = rank([_at_temperature(card, table.label) for card in models], table.label)
    ranked = contradicting_first(ranked, pairs, table.label)
    shown, paths = ranked.head(min(top, MOST)), competition.train_paths(folder)
    near = nearest(mean, table.label, shown.index.intersection(mean.index))
    small = {name for found in near.values() for names in found.values() for name in names}
    lines, facts = _coverage(mean, table.label, models), load_facts()
    if (wanted := min(top, len(ranked))) > MOST:
        lines.append(f"{wanted:,} candidates would be a page of {wanted / 100:.0f} MB or more: it "
                     f"has the first {MOST}")
    rows = [f"{image}\t{table.label[image]}" for image in shown.index]
    write_page(path, "labels.html", title="Labels to look at", lines=lines, shown=shown, near=near,
               table=table, mean=mean, pairs=pairs, facts=facts,
               large=pictures(paths[shown.index]), small=pictures(paths[list(small)], 88),
               classes=competition.classes(folder),
               known=[image.removesuffix(facts.suffix) for image in table.index],
               digest=core.sha256_lines([competition.train_fingerprint(folder), *rows])[:16])
    print("\n".join(lines))
    print(f"written: {path}: {len(shown):,} candidates, {path.stat().st_size / 1e6:.1f} MB")


def _held_out(folder: Path) -> list[dict[str, Any]]:
    """The cards of the finished models of this competition that held images out."""
    members, _ = find_members(models_dir(), folder, [], "")
    if models := [card for c in members.values() for card in c if card["holdout"]["images"]]:
        return models
    row = next(iter(core.load_params()["variants"]))
    raise UserError("no finished model held out photographs of this competition, so none can doubt "
                    "a label", f"train one: python -m src.run {row}")


def _at_temperature(card: dict[str, Any], labels: pd.Series) -> pd.DataFrame:
    """Probabilities of the images a model held out, at the temperature that suits these."""
    views = bundle.read_predictions(models_dir(), card, "valid")
    table = blend(views, card["variant"]["beta"]).astype(float)
    temperature = fit_temperature(table.to_numpy(), columns_of(table, labels))
    return pd.DataFrame(with_temperature(table.to_numpy(), temperature), table.index, table.columns)


def doubted(folder: Path) -> tuple[int, int]:
    """How many held-out images the finished models give another label than theirs, of how many."""
    labels = competition.train_table(folder).label
    tables = [_at_temperature(card, labels) for card in _held_out(folder)]
    return wrong_of(pd.concat(tables).groupby(level=0).mean(), labels)


def rank(tables: Sequence[pd.DataFrame], labels: pd.Series) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The mean of the models' `tables`, and its images, the least credible label first."""
    from cleanlab.rank import get_label_quality_scores  # 2 s to load

    every = pd.concat(tables)
    mean, picks = every.groupby(level=0).mean(), every.idxmax(axis=1)
    if mean.shape[1] < 2:
        raise UserError("the competition has one class, so no label can be another one")
    models = mean.idxmax(axis=1)
    ranked = (picks == models[picks.index]).groupby(level=0).agg(["sum", "size"])
    ranked = ranked.set_axis(["agree", "of"], axis=1).assign(
        models=models, quality=get_label_quality_scores(
            columns_of(mean, labels), mean.to_numpy(), method="normalized_margin"))
    return mean, ranked.sort_values("quality", kind="stable")


def contradicting_first(
    ranked: pd.DataFrame, pairs: pd.DataFrame | None, labels: pd.Series
) -> pd.DataFrame:
    """`ranked` after the training images, held out or not, with a twin of another label."""
    if pairs is None:
        return ranked
    both = pairs[pairs.a.isin(labels.index) & pairs.b.isin(labels.index)]
    first = both.a[labels[both.a].to_numpy() != labels[both.b].to_numpy()].unique()
    return ranked.reindex([*first, *ranked.index[~ranked.index.isin(first)]])


def nearest(mean: pd.DataFrame, labels: pd.Series, images: pd.Index) -> dict[str, dict]:
    """image → its own label and the models' → the most similar images of that label, to models."""
    logs = np.log(np.maximum(mean, FLOOR)).pipe(lambda t: t.sub(t.mean(axis=1), axis=0))
    units = logs.div(np.linalg.norm(logs, axis=1) + FLOOR, axis=0)
    models, own = mean.idxmax(axis=1), labels[mean.index]
    # Confirmed by the models, so that one wrong label does not vouch for another.
    sure = {label: units[(own == label) & (models == label)] for label in mean.columns}

    def _near(image: str, label: str) -> list[str]:
        likeness = (sure[label] @ units.loc[image]).drop(image, errors="ignore")
        return list(likeness.nlargest(NEAREST).index)

    return {image: {label: _near(image, label) for label in (own[image], models[image])}
            for image in images}


def _coverage(mean: pd.DataFrame, labels: pd.Series, models: list[dict[str, Any]]) -> list[str]:
    """How many images were looked at, by how many models, and how to look at the rest."""
    error = error_phrase(*wrong_of(mean, labels))
    lines = [f"{len(mean):,} of {len(labels):,} training photographs were held out, by "
             f"{len(models)} model{'s'[len(models) == 1:]}; by the given labels {error}"]
    if len(mean) < len(labels):
        row, base = make_variant(**models[0]["variant"]), models[0]["base"]
        done = {card["variant"]["fold"] for card in models if card["base"] == base}
        rest = [str(n) for n in range(competition.FOLDS) if n not in done]
        words = core.row_of(row) | {"fold": ",".join(rest)}
        words = [shlex.quote(f"{name}={value}") for name, value in words.items()]
        lines.append(f"to see the rest, train {row.name} on the other folds, too: "
                     f"python -m src.sweep --grid {' '.join(words)}")
    return lines


def effect_command(words: Sequence[str]) -> None:
    """`python -m src.review effect`: train a row with and without the lists, and compare."""
    from src import compare

    parser = argparse.ArgumentParser(prog="python -m src.review effect", description=__doc__)
    parser.add_argument("row", nargs="?", metavar="ROW",
                        help="of params.yaml, or a finished model (the best one)")
    for field in ("exclude", "relabel"):
        parser.add_argument(f"--{field}", default="", metavar="FILE", help="as review/ saves it")
    parser.add_argument("--seeds", type=int, default=3, help="how many, from that of ROW on (3)")
    args, folder = parser.parse_args(words), competition.find()
    finished = bundle.read_cards(models_dir())[0]
    if args.row in finished:  # papermill may have trained it, without a row of params.yaml
        old = make_variant(**finished[args.row]["variant"])
    elif args.row:
        old = core.find_variants([args.row])[0]
    else:
        best = min(_held_out(folder), key=lambda card: card["holdout"]["error_tta"])
        old = make_variant(**best["variant"])
    new = _with_lists(old, {"exclude": args.exclude, "relabel": args.relabel})
    if competition.digests(old) == competition.digests(new):
        raise UserError(f"{old.name} is trained with these lists already", "name another row")
    marked = [name for names in competition.read_corrections(new, folder) for name in names]
    rows = [compare.plan(row, args.seeds, folder) for row in (old, new)]
    compare.require_distinct_holdouts(*rows)
    found, labels = compare.report(*rows, folder), competition.train_table(folder).label
    pairs = [[table[~table.index.isin(marked)] for table in pair] for pair in found]
    if pairs := [pair for pair in pairs if len(pair[0])]:
        c, _ = compare_repeats(pairs, labels)
        print(f"the {c.images:,} of them of photographs that nobody marked: "
              f"{compare.verdict(c, old.name, new.name)}")


def _with_lists(row: Variant, lists: dict[str, str]) -> Variant:
    """`row` with these files of corrections, under a name that depends on what is in them."""
    found = {field: str(Path(file).expanduser().resolve()) for field, file in lists.items() if file}
    if not found:
        raise UserError("no list is given", "add --exclude FILE, --relabel FILE or both")
    new = replace(row, **found)
    digest = core.sha256_lines(list(competition.digests(new).values()))[:8]
    return replace(new, desc=f"{row.desc or f'{row.resize}_{row.size}'}_reviewed_{digest}")
