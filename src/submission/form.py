"""A submission by itself: its bytes, its header, its rows and their order, its mix of labels."""

import codecs
import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from src.competition import internal_names, read_csv, some
from src.core import UserError, load_facts
from src.evidence import same_mix, signed

KINDS = ("error", "remark", "compared", "not compared")  # in the order they are printed
REFUSE, REMARK = 1e-11, 1e-3  # p-values; only what no weak model does is refused
# Biased but honest models fail any test on 3,469 rows; an error moves more rows than this share.
MOVED = 0.1


class Finding(NamedTuple):
    """One line about a submission."""

    kind: str  # one of KINDS
    text: str
    rows: Sequence[str] = ()  # what changed against a known good file, one line per image


def read_submission(path: Path) -> tuple[pd.DataFrame | None, list[Finding]]:
    """image_id and label of a CSV, None where it has no such table, and what its form shows."""
    if not path.is_file():
        raise UserError(f"{path} is missing; python -m src.ensemble writes submissions")
    columns = load_facts().columns
    try:
        table = read_csv(path, columns, f"write only {','.join(columns)}, as UTF-8")
    except UserError as error:
        return None, [Finding("error", str(error))]
    return internal_names(table), list(_header_findings(path.read_bytes(), columns))


def _header_findings(raw: bytes, columns: list[str]) -> Iterator[Finding]:
    rows, wanted = csv.reader(raw.decode("utf-8-sig").splitlines()), ",".join(columns)
    header = next(row for row in rows if row)  # as read_csv, which skips empty lines
    if stray := [repr(name) for name in header if name not in columns]:
        yield Finding("error", f"stray column {some(stray, 3)}; write only {wanted} (index=False)")
    elif header != columns:
        yield Finding("remark", f"columns are not in the usual order {wanted}")
    if raw.startswith(codecs.BOM_UTF8):
        yield Finding("error", "begins with a byte order mark; save it as UTF-8 without BOM")
    if b"\r\n" in raw:
        yield Finding("remark", "has CRLF line ends; Kaggle takes them, ours are LF")


def aligned(table: pd.DataFrame | None, ids: Sequence[str]) -> pd.Series | None:
    """The labels in the order of `ids`; None where the table holds other images."""
    if table is None or sorted(table.image_id) != sorted(ids):
        return None
    return table.set_index("image_id").label.loc[ids]


def row_findings(table: pd.DataFrame, ids: Sequence[str]) -> list[Finding]:
    """Whether the images are those of the sample, each once, in its order."""
    images, sample = pd.Index(table.image_id), pd.Index(ids)
    kinds = {
        "missing": sample.difference(images, sort=False),
        "not in the sample": images.difference(sample, sort=False),
        "there twice": images[images.duplicated()].unique(),
    }
    remedy = "predict the test set that belongs to this sample_submission.csv"
    findings = [
        Finding("error", f"{len(names):,} images {kind}: {some(names, 3)}; {remedy}")
        for kind, names in kinds.items() if len(names)
    ]  # fmt: skip
    if not findings and not images.equals(sample):
        row = int((images != sample).argmax())
        text = f"rows are not in the sample's order from row {row + 1:,} on ({images[row]})"
        return [Finding("error", f"{text}; sort them as the sample is")]
    return findings


def label_findings(
    labels: pd.Series, train: pd.Series, predicted: pd.Series | None = None
) -> list[Finding]:
    """Unknown labels, one class only, a class missing, or another mix of classes than expected.

    Expected is the mix of the training labels `train` or, of a biased model, that of the labels it
    `predicted` on the hold-out (label → count): the closer of the two decides.
    """
    known = train.value_counts().sort_index()
    unknown = labels[~labels.isin(known.index)]
    if len(unknown):
        text = f"{len(unknown):,} rows with unknown labels {some(map(repr, unknown.unique()), 3)}"
        return [Finding("error", f"{text}; known: {', '.join(known.index)}")]
    if labels.nunique() == 1 and len(known) > 1:
        text = f"every row says {labels.iloc[0]}; the model has learnt nothing, train it again"
        return [Finding("error", text)]
    mixes = {"training": known}
    if predicted is not None:
        mixes["the predictions of the hold-out"] = predicted.reindex(known.index, fill_value=0)
    counts = labels.value_counts().reindex(known.index, fill_value=0)
    p, source = max((same_mix(counts, mix), source) for source, mix in mixes.items())
    mix = mixes[source]
    findings = [*_missing_classes(counts, mix, source)]
    return findings if p >= REMARK else [*findings, _other_mix(counts, mix, source, p)]


def _missing_classes(counts: pd.Series, mix: pd.Series, source: str) -> Iterator[Finding]:
    """Classes never predicted: an error only where chance cannot explain their absence."""
    missing = counts.index[counts == 0]
    for name in missing[mix[missing] > 0]:
        expected = mix[name] / mix.sum() * counts.sum()
        p = math.exp(-expected)  # by Poisson's distribution
        text = f"no row says {name}, by {source} about {expected:,.0f} do (p = {p:.1g})"
        remedy = "look at the members' confusion matrices" if p < REMARK else "it may be chance"
        yield Finding("error" if p < REFUSE else "remark", f"{text}; {remedy}")
    if never := [*missing[mix[missing] == 0]]:
        yield Finding("remark", f"no row says {some(never)}, nor do the members on the hold-out")


def _other_mix(counts: pd.Series, mix: pd.Series, source: str, p: float) -> Finding:
    excess = counts - mix / mix.sum() * counts.sum()
    moved = excess.clip(lower=0).sum() / counts.sum()
    most, least = (f"{c} {signed(round(excess[c]))}" for c in (excess.idxmax(), excess.idxmin()))
    text = f"class mix differs from {source} (chi-square p = {p:.1g}, {moved:.0%} of the rows)"
    text += f": {most}, {least}"
    if p < REFUSE and moved > MOVED:
        return Finding("error", f"{text}; see whether class names were exchanged")
    return Finding("remark", text)
