"""Where predictions of held-out images are wrong: confusion, groups of images, top losses."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from src import competition, evidence
from src.core import models_dir
from src.ensemble import Ensemble
from src.evidence import ALPHA, INTERVAL, error_cell

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = {"leaf": "same leaf", "picture": "same picture", "identical": "identical file"}


def confusion(probs: pd.DataFrame, labels: pd.Series) -> pd.DataFrame:
    """Images by label (row) and prediction (column); confused classes stand together."""
    names, counts = probs.columns, np.zeros((probs.shape[1],) * 2, int)
    np.add.at(counts, (evidence.columns_of(probs, labels), probs.to_numpy().argmax(axis=1)), 1)
    order = _side_by_side(counts)
    return pd.DataFrame(counts[np.ix_(order, order)], names[order], names[order])


def _side_by_side(counts: np.ndarray) -> np.ndarray:
    """The order of classes as leaves of a tree that joins those most often confused."""
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    if len(counts) < 3:
        return np.arange(len(counts))
    images = counts.sum(axis=1)
    near = (counts + counts.T) / np.maximum(images[:, None] + images, 1)
    far = near[~np.eye(len(near), dtype=bool)].max() - near
    np.fill_diagonal(far, 0)
    return leaves_list(linkage(squareform(far), "average", optimal_ordering=True))


def confusion_plot(counts: pd.DataFrame) -> "Figure":
    """The table of `confusion`: what is wrong has the more colour the more it is."""
    size, wrong = len(counts), counts.to_numpy(dtype=float, copy=True)
    np.fill_diagonal(wrong, np.nan)
    most = max(1, np.nanmax(wrong, initial=0))
    fig, ax = evidence.new_figure(2.6 + 0.45 * size, 2 + 0.35 * size)
    ax.imshow(wrong, cmap="Oranges", vmin=0, vmax=1.5 * most, aspect="auto")
    for (row, column), count in np.ndenumerate(counts.to_numpy()):
        if count:
            ax.text(column, row, f"{count:,}", ha="center", va="center", fontsize=9,
                    color="#666666" if row == column else "black")
    ax.set_xticks(range(size), counts.columns, rotation=45, rotation_mode="anchor", ha="right")
    ax.set_yticks(range(size), counts.index)
    ax.set(xlabel="prediction", ylabel="label")
    ax.tick_params(length=0)
    return fig


def confused_pairs(counts: pd.DataFrame, most: int = 8) -> pd.DataFrame:
    """What is most often taken for what: label, prediction, how many of the label's images."""
    images = counts.sum(axis=1)
    found = [(count, label, pick) for label, row in counts.iterrows()
             for pick, count in row.items() if count and pick != label]
    rows = [(label, pick, error_cell(count, images[label]))
            for count, label, pick in sorted(found, key=lambda pair: -pair[0])[:most]]
    return pd.DataFrame(rows, columns=["label", "taken for", f"of the label's images ({INTERVAL})"])


def trained_twins(ensemble: Ensemble) -> pd.Series:
    """Held-out image → its nearest twin that a model which held it out was trained on."""
    pairs, held = competition.both_ways(competition.read_twins(ensemble.folder)), {}
    for member in (member for member in ensemble.members if member.name in ensemble.tables):
        key = tuple(member.models[0]["variant"][name] for name in ("seed", "split"))
        held[key] = held.get(key, pd.Index([])).union(member.valid.index)
    found, apart = [pairs[:0]], pd.Index([])
    for (seed, split), images in held.items():
        where = ensemble.folder, seed, models_dir(), split
        if competition.folds_path(*where).exists():  # it is not made for this
            folds = competition.get_folds(*where)
            other = pairs.b.isin(folds.index) & (pairs.a.map(folds) != pairs.b.map(folds))
            found.append(pairs[other & pairs.a.isin(images)])
            apart = apart.union(competition.leaking(ensemble.folder, folds).intersection(images))
    found = pd.concat(found, ignore_index=True).pipe(lambda t: t[t.kind.isin(KINDS)])
    ranks = found.kind.map([*KINDS].index).groupby(found.a).max()
    kinds = ranks.map(dict(enumerate(KINDS.values())))
    return kinds.reindex(apart).fillna(KINDS["leaf"])  # what is left is a twin's twin


def group_errors(probs: pd.DataFrame, labels: pd.Series, table: pd.DataFrame) -> pd.DataFrame:
    """The wrong images of each group, by each column of `table`, and how it differs from others."""
    from scipy.stats import fisher_exact

    wrong, rows = pd.Series(~evidence.right(probs, labels), probs.index), []
    for kind, names in table.loc[probs.index].items():
        for name, part in wrong.groupby(names) if names.nunique() > 1 else ():
            rest = wrong[names != name]
            counts = [[each.sum(), (~each).sum()] for each in (part, rest)]
            rows.append([kind, name, int(part.sum()), len(part), fisher_exact(counts).pvalue])
    return pd.DataFrame(rows, columns=["kind", "group", "wrong", "images", "p"])


def group_table(errors: pd.DataFrame) -> pd.DataFrame:
    """`group_errors` for a reader; each p-value is that of one look."""
    cells = [error_cell(row.wrong, row.images) for row in errors.itertuples()]
    return pd.DataFrame({"by": errors.kind, "group": errors.group, f"error ({INTERVAL})": cells,
                         "p against the others": errors.p.map(evidence.p_phrase)})


def group_sentence(errors: pd.DataFrame) -> str:
    """Whether a group differs from the other images more than chance does in as many looks."""
    if errors.empty:
        return "no groups to compare: all images are of one kind"
    looks, by_p = len(errors), errors.sort_values("p", kind="stable")
    found = by_p[by_p.p < ALPHA / looks]
    count, verb = len(found), "differ" if len(found) > 1 else "differs"
    named = "; ".join(f"{row.kind} {row.group}, {evidence.error_phrase(row.wrong, row.images)}"
                      for row in by_p[: count or 1].itertuples())
    return (f"{count or 'none'} of {looks} groups {verb} from the other "
            f"images by more than chance explains (Fisher's exact test, p below {ALPHA:g} / "
            f"{looks}){':' if count else '; furthest is'} {named}")


def top_losses(probs: pd.DataFrame, labels: pd.Series, count: int = 24) -> pd.DataFrame:
    """The images whose label is least probable: label, prediction, the probability of each."""
    order = np.argsort(-evidence.log_losses(probs, labels), kind="stable")[:count]
    worst = probs.iloc[order]
    of_label = worst.to_numpy()[np.arange(len(worst)), evidence.columns_of(worst, labels)]
    return pd.DataFrame({"label": labels.loc[worst.index], "predicted": worst.idxmax(axis=1),
                         "of_label": of_label, "of_predicted": worst.max(axis=1)})
