"""What the members bring: who is missed, how alike they are, what ensembling is worth.

Tables are hold-out probabilities by model name, all of the same images.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from src.ensemble.blends import gather
from src.evidence import (
    INTERVAL,
    columns_of,
    compare,
    compare_log_loss,
    comparison_of,
    error_cell,
    error_phrase,
    gain_phrase,
    join,
    log_loss_phrase,
    sentence,
    too_few,
)


def contributions(
    tables: Mapping[str, pd.DataFrame], families: Mapping[str, str], labels: pd.Series
) -> pd.DataFrame:
    """The equal mean without each family of several models, and each model: index what is left out.

    Columns: models left out, `wrong` images without them, `gain`: the Comparison of the mean with
    that of the rest. An ensemble of one family has nothing left without it, hence no such row.
    """
    held = gather(tables, families, labels)
    total, rows = held.stack.sum(axis=0), {}
    full = total.argmax(axis=1) == held.truth
    several = {f for f in held.families if held.families.count(f) > 1}  # else the model's row
    for name in [*sorted(several), *held.models]:
        out = np.array([name in pair for pair in zip(held.models, held.families, strict=True)])
        if not out.all():
            rest = (total - held.stack[out].sum(axis=0)).argmax(axis=1) == held.truth
            gain = comparison_of(full * 1 - rest)
            rows[name] = [int(out.sum()), int((~rest).sum()), gain]
    columns = ["models", "wrong", "gain"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def contributions_table(found: pd.DataFrame, images: int) -> pd.DataFrame:
    """`contributions` of so many held-out images for a reader, in images."""
    rows = [
        [name, r.models, error_cell(r.wrong, images), gain_phrase(r.gain)]
        for name, r in zip(found.index, found.itertuples(), strict=True)
    ]
    error = f"hold-out error of the rest ({INTERVAL})"
    columns = ["without", "models", error, "images it brings"]
    return pd.DataFrame(rows, columns=columns if rows else None)


def disagreement(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Model x model: the share of images for which they predict different classes."""
    picks = np.array([table.to_numpy().argmax(axis=1) for table in join(list(tables.values()))])
    shares = [(picks != pick).mean(axis=1) for pick in picks]
    return pd.DataFrame(shares, index=list(tables), columns=list(tables))


def error_correlation(tables: Mapping[str, pd.DataFrame], labels: pd.Series) -> pd.DataFrame:
    """Model x model: the correlation of being wrong; NaN where a model is never wrong."""
    return _wrong(tables, labels).astype(float).corr()


def _wrong(tables: Mapping[str, pd.DataFrame], labels: pd.Series) -> pd.DataFrame:
    """Image x model: whether it is wrong."""
    joined = join(list(tables.values()))
    truth = columns_of(joined[0], labels)
    picks = {n: t.to_numpy().argmax(axis=1) for n, t in zip(tables, joined, strict=True)}
    return pd.DataFrame({name: pick != truth for name, pick in picks.items()})


def alike(tables: Mapping[str, pd.DataFrame], labels: pd.Series) -> str:
    """How alike the members are, in one line: in their predictions, in their errors."""
    images, names = len(next(iter(tables.values()), ())), list(tables)
    if few := too_few(images) or "there are no two of them" * (len(names) < 2):
        return f"how alike the members are is not known: {few}"
    pairs = np.triu_indices(len(names), k=1)
    differ = np.rint(disagreement(tables).to_numpy()[pairs] * images).astype(int)
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


def worth(
    tables: Mapping[str, pd.DataFrame], labels: pd.Series, ensemble: pd.DataFrame
) -> str:
    """What ensembling is worth: the `ensemble` against the best single model, in one line.

    The best one is picked by these very images, so the ensemble is rather worth more.
    """
    if few := too_few(len(ensemble)):
        return f"what ensembling is worth is not known: {few}"
    wrong = _wrong(tables, labels).sum()
    best = min(sorted(tables), key=wrong.get)
    comparison = compare(ensemble, tables[best], labels)
    found = sentence(comparison, f"averaging {len(tables)} models", f"against {best} alone")
    alone = error_phrase(int(wrong[best]), comparison.images)
    beside = log_loss_phrase(compare_log_loss(ensemble, tables[best], labels))
    return f"what ensembling is worth: {found}, the best single model with {alone}; {beside}"
