"""What is printed of an ensemble: its members, their errors, what each one contributes.

Tables of probabilities go by model name and hold the same images.
"""

from collections import Counter
from collections.abc import Mapping

import numpy as np
import pandas as pd

from src import evidence
from src.competition import some
from src.ensemble.cards import title
from src.ensemble.ensemble import Ensemble, families, is_equal_mean
from src.ensemble.members import Member, common_images, counted, holdout_problem, unmeasured
from src.ensemble.search import nested
from src.ensemble.weights import gather, temperatures
from src.evidence import (
    ALPHA,
    INTERVAL,
    average,
    compare,
    error_cell,
    error_phrase,
    too_few,
    wrong_of,
)

BINS = 10  # of the reliability diagram
ENSEMBLE = "ensemble"  # the row beside the models'
Tables = Mapping[str, pd.DataFrame]


def as_text(table: pd.DataFrame) -> str:
    """`table` as text whose columns, headers too, start at the left."""
    cells = [list(table.columns), *table.astype(str).to_numpy().tolist()]
    widths = [max(len(row[k]) for row in cells) for k in range(table.shape[1])]
    lines = ("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in cells)
    return "\n".join(line.rstrip() for line in lines)


def members_table(members: list[Member], labels: pd.Series) -> pd.DataFrame:
    """The members for a reader: hold-out errors plain and with TTA, weight, temperature if any.

    Where they held out different images, also the error on those that all did, if there are
    enough: it alone compares.
    """
    common, rows = common_images(members), []
    differ = any(len(member.valid) not in (0, len(common)) for member in members)
    for member in members:
        card, held = member.card, member.card["holdout"]
        row = {"model": title(card), "family": card["family"]}
        row[f"hold-out error ({INTERVAL})"] = error_cell(held["wrong_plain"], held["images"])
        row["with TTA"] = _error(held["wrong_tta"], held["images"])
        if differ and not too_few(len(common)):
            seen = member.valid.loc[member.valid.index.intersection(common)]
            row[f"on the {len(common):,} common images"] = _error(*wrong_of(seen, labels))
        row["weight"] = f"{member.weight:g}"
        if any(m.temperature != 1 for m in members):
            row["temperature"] = f"{member.temperature:g}"
        rows.append(row)
    return pd.DataFrame(rows)


def _error(wrong: int, images: int) -> str:
    return error_cell(wrong, images) if images else ""


def members_sentence(members: list[Member], left_out: Mapping[str, str]) -> str:
    """How many members of each family, which without TTA, and why other models are left out."""
    used = counted(members)
    counts = Counter(member.card["family"] for member in used)
    kinds = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    lines = [f"average of {len(used)} of {len(members)} models: {kinds}"]
    lines += [f"without TTA: {m.without_tta}" for m in used if m.without_tta]
    return "\n".join([*lines, *(f"left out: {n}: {why}" for n, why in left_out.items())])


def few_images(ensemble: Ensemble) -> str:
    """Why the members are not compared; empty where enough images were held out by all."""
    lacks = too_few(0 if ensemble.valid is None else len(ensemble.valid))
    return f"{lacks}: {holdout_problem(ensemble.members)}" if lacks else ""


def holdout_text(ensemble: Ensemble) -> str:
    """The ensemble's hold-out error, what it gains, and what typed weights do, a line each."""
    tables, labels, valid = ensemble.tables, ensemble.labels, ensemble.valid
    if valid is None:
        return f"ensemble: {error_phrase(0, 0)}: {holdout_problem(ensemble.members)}"
    usual = is_equal_mean(ensemble) and all(m.weight for m in ensemble.members)
    nested = "; each by what was learnt from others" * bool(ensemble.why and not usual)
    error = error_phrase(*wrong_of(valid, labels))
    lines = [f"ensemble, on the images all of them held out: {error}{nested}"]
    if names := unmeasured(ensemble.members):
        count = f"{len(tables)} member{'s' * (len(tables) > 1)}"
        lines += [f"this is the error of the {count} that held images out; "
                  f"{len(names)} trained on all: {some(names, 3)}"]
    if len(tables) < 2 or (few := few_images(ensemble)):
        return "\n".join([*lines, few] if len(tables) > 1 else lines)
    lines += [gain_sentence(tables, labels, valid)]
    if not ensemble.why and not is_equal_mean(ensemble):
        equal = average(tables.values())
        lines += ["; ".join(_compared(valid, equal, labels, "this average", "equal weights"))]
    return "\n".join(lines)


def gain_sentence(tables: Tables, labels: pd.Series, ensemble: pd.DataFrame) -> str:
    """The `ensemble` against the best single model, in one line.

    The best one is picked by these very images, so the ensemble rather gains more.
    """
    wrong = {name: wrong_of(tables[name], labels) for name in sorted(tables)}
    best = min(wrong, key=wrong.__getitem__)
    subject = f"averaging {len(tables)} models"
    found, loss = _compared(ensemble, tables[best], labels, subject, f"{best} alone")
    alone = error_phrase(*wrong[best])
    return f"gain of the ensemble: {found}, the best single model with {alone}; {loss}"


def _compared(
    new: pd.DataFrame, old: pd.DataFrame, labels: pd.Series, subject: str, other: str
) -> tuple[str, str]:
    """The difference of `new` and `old` in images with its verdict, and in log-loss."""
    found = evidence.sentence(compare(new, old, labels), subject, f"against {other}")
    return found, evidence.log_loss_phrase(evidence.compare_log_loss(new, old, labels))


def contributions(ensemble: Ensemble) -> pd.DataFrame:
    """What each family of several models and each model adds to the equal mean, in images.

    No rows where too few images were held out. An ensemble of one family has nothing left without
    it, hence no such row.
    """
    if few_images(ensemble):
        return pd.DataFrame()
    tables, family_of = ensemble.tables, families(ensemble)
    joined = dict(zip(tables, evidence.join(list(tables.values())), strict=True))
    kinds, total, rows = Counter(family_of[name] for name in tables), sum(joined.values()), []
    groups = {kind: [n for n in sorted(tables) if family_of[n] == kind]
              for kind, count in sorted(kinds.items()) if 1 < count < len(tables)}
    for name, out in (groups | {name: [name] for name in sorted(tables)}).items():
        if len(out) < len(tables):
            rest = total - sum(joined[n] for n in out)  # the argmax of a sum is that of the mean
            error = error_cell(*wrong_of(rest, ensemble.labels))
            gain = evidence.gain_phrase(compare(total, rest, ensemble.labels))
            rows.append([name, len(out), error, gain])
    error = f"hold-out error of the rest ({INTERVAL})"
    columns = ["without", "models", error, "images it brings"]
    return pd.DataFrame(rows, columns=columns if rows else None)


def disagreement(tables: Tables) -> pd.DataFrame:
    """Model x model: the number of images for which they predict different classes."""
    joined = evidence.join(list(tables.values()))
    picks = np.array([table.to_numpy().argmax(axis=1) for table in joined])
    counts = [(picks != pick).sum(axis=1) for pick in picks]
    return pd.DataFrame(counts, index=list(tables), columns=list(tables))


def error_correlation(tables: Tables, labels: pd.Series) -> pd.DataFrame:
    """Model x model: the correlation of being wrong; NaN where a model is never wrong."""
    joined = zip(tables, evidence.join(list(tables.values())), strict=True)
    right = pd.DataFrame({name: evidence.right(table, labels) for name, table in joined})
    return right.astype(float).corr()


def agreement(tables: Tables, labels: pd.Series) -> str:
    """In one line, how often two members disagree and how far their errors correlate."""
    images, names = len(next(iter(tables.values()), ())), list(tables)
    if few := too_few(images) or "there are no two of them" * (len(names) < 2):
        return f"how far the members agree is not known: {few}"
    pairs = np.triu_indices(len(names), k=1)
    differ = disagreement(tables).to_numpy()[pairs]
    closest = " and ".join(names[side[differ.argmin()]] for side in pairs)
    who, least = (closest, "") if len(differ) == 1 else ("two members", f", {closest} least")
    errors = error_correlation(tables, labels).to_numpy()[pairs]
    errors = errors[~np.isnan(errors)]
    together = f"; their errors correlate {_span(errors, '.2f')}" if len(errors) else ""
    return f"{who} disagree on {_span(differ, ',')} of {images:,} images{least}{together}"


def _span(values: np.ndarray, form: str) -> str:
    """`38 … 121`; a single value alone."""
    low, high = (f"{value:{form}}".replace("-", "−") for value in (values.min(), values.max()))
    return low if low == high else f"{low} … {high}"


def calibrated(ensemble: pd.DataFrame, labels: pd.Series) -> tuple[float, pd.DataFrame]:
    """The temperature that fits the `ensemble`, and each image at one fitted on other images."""
    held = gather({ENSEMBLE: ensemble}, {ENSEMBLE: ENSEMBLE}, labels)
    probs, blend = nested(temperatures, held)
    return float(blend.temperatures[0]), pd.DataFrame(probs, held.images, held.classes)


def confidence_bins(probs: pd.DataFrame, labels: pd.Series) -> pd.DataFrame:
    """Images by their confidence: how many, mean confidence, share right and its interval."""
    sure = probs.to_numpy(dtype=float).max(axis=1)
    table = pd.DataFrame({"sure": sure, "right": evidence.right(probs, labels)})
    groups = table.groupby(np.minimum((sure * BINS).astype(int), BINS - 1))
    bins = groups.agg(images=("right", "size"), sure=("sure", "mean"), right=("right", "mean"))
    counts = zip((bins.images * bins.right).round().astype(int), bins.images, strict=True)
    bins[["low", "high"]] = [evidence.wilson(count, images) for count, images in counts]
    return bins


def reliability_sentence(ensemble: pd.DataFrame | None, labels: pd.Series) -> str:
    """How confident the `ensemble` is, how often wrong, and whether a temperature helps."""
    if few := too_few(0 if ensemble is None else len(ensemble)):
        return f"the calibration of the ensemble is not known: {few}"
    temperature, after = calibrated(ensemble, labels)
    before, then = (100 * probs.max(axis=1).mean() for probs in (ensemble, after))
    change = evidence.compare_log_loss(after, ensemble, labels)
    loss = evidence.log_loss_phrase(change)
    decided = change.high < 0 or change.low > 0
    verdict = ("helps" if change.difference < 0 else "hurts") if decided else "matters"
    return (
        f"the ensemble's mean confidence is {before:.1f} %, with "
        f"{error_phrase(*wrong_of(ensemble, labels))}; a temperature of {temperature:.2f}, judged "
        f"on images it was not fitted on, makes it {then:.1f} %: {loss}, "
        f"{'' if decided else 'no '}evidence that it {verdict}"
    )


def class_counts(probs: pd.DataFrame, labels: pd.Series) -> pd.DataFrame:
    """Class by class the images of `labels` (training) and those `probs` predict (submission)."""
    predicted = probs.sort_index(axis=1).idxmax(axis=1).value_counts()
    counts = pd.DataFrame({"training": labels.value_counts(), "submission": predicted})
    return counts.fillna(0).astype(int).sort_values("training", ascending=False, kind="stable")


def class_sentence(counts: pd.DataFrame) -> str:
    """Whether the submission's classes are as frequent as in training, and which is least so."""
    expected = counts.training / counts.training.sum() * counts.submission.sum()
    name = (counts.submission - expected).abs().idxmax()
    p = evidence.same_mix(counts.submission, counts.training)
    return (
        f"the class mix differs from training's {'more' if p < ALPHA else 'no more'} than chance "
        f"explains (chi-square p = {f'{p:.2g}'}); furthest off is {name}: "
        f"{counts.submission[name]:,} images where {expected[name]:,.0f} are expected"
    )
