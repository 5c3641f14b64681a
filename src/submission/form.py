"""A submission by itself: its bytes, its header, its rows and their order, its mix of labels."""

import codecs
import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from src.competition import internal_names, some
from src.core import UserError, load_facts
from src.evidence import same_mix, signed
from src.submission.finding import Finding

REFUSE, REMARK = 1e-11, 1e-3  # p-values; only what no weak model does is refused
# Biased but honest models fail any test on 3,469 rows; an error moves more rows than this share.
MOVED = 0.1


def read_submission(path: Path) -> tuple[pd.DataFrame | None, list[Finding]]:
    """image_id and label of a CSV, None where it has no such table, and what its form shows."""
    try:
        raw = path.read_bytes()
        lines = csv.reader(io.StringIO(raw.decode("utf-8-sig"), newline=""), strict=True)
        header, *rows = [line for line in lines if line] or [[]]
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing; python -m src.ensemble writes submissions") from error
    except (UnicodeDecodeError, csv.Error) as error:
        return None, [Finding("error", f"no readable CSV ({error}); write it again as UTF-8")]
    columns = load_facts().columns
    findings = _header_findings(raw, header, columns)
    torn = [number for number, row in enumerate(rows, 2) if len(row) != len(header)]
    if any(header.count(name) != 1 for name in columns):
        return None, findings
    if not rows:
        return None, [*findings, Finding("error", "has a header but no rows; write it again")]
    if torn:
        text = f"{len(torn):,} rows have not {len(header)} fields, first line {torn[0]:,}"
        return None, [*findings, Finding("error", f"{text}; write it again")]
    table = pd.DataFrame(rows, columns=header, dtype=object)[columns]
    return internal_names(table), findings


def _header_findings(raw: bytes, header: list[str], columns: list[str]) -> list[Finding]:
    """What the header and the bytes of a CSV show."""
    wanted = ",".join(columns)
    lacking = [name for name in columns if header.count(name) != 1]
    stray = [name for name in header if name not in columns]
    problems = [
        (lacking, "error",
         f"needs one column {' and '.join(lacking)}; the header must be {wanted}"),
        (stray, "error",
         f"stray column {some(map(repr, stray), 3)}; write only {wanted} (index=False)"),
        (sorted(header) == sorted(columns) and header != columns, "remark",
         f"columns are not in the usual order {wanted}"),
        (raw.startswith(codecs.BOM_UTF8), "error",
         "begins with a byte order mark, which becomes part of the first column's name; "
         "save it as UTF-8 without BOM"),
        (b"\r\n" in raw, "remark", "has CRLF line ends; Kaggle takes them, ours are LF"),
    ]  # fmt: skip
    return [Finding(kind, text) for found, kind, text in problems if found]


def aligned(table: pd.DataFrame | None, ids: Sequence[str]) -> pd.Series | None:
    """The labels in the order of `ids`; None where the table holds other images."""
    if table is None or sorted(table.image_id) != sorted(ids):
        return None
    return table.set_index("image_id").label.loc[ids]


def row_findings(table: pd.DataFrame, ids: Sequence[str]) -> list[Finding]:
    """Whether the images are those of the sample, each once, in its order."""
    images, sample = pd.Index(table.image_id), pd.Index(ids)
    kinds = {
        "missing": sample[~sample.isin(images)],
        "not in the sample": images[~images.isin(sample)].unique(),
        "there twice": images[images.duplicated()].unique(),
    }
    remedy = "predict the test set that belongs to this sample_submission.csv"
    findings = [
        Finding("error", f"{len(names):,} images {kind}: {some(names, 3)}; {remedy}")
        for kind, names in kinds.items() if len(names)
    ]  # fmt: skip
    if not findings and not images.equals(sample):
        row = int((images != sample).argmax())
        text = f"rows are not in the sample's order from row {row + 1:,} on ({images[row]} instead"
        findings = [Finding("error", f"{text} of {sample[row]}); sort them as the sample is")]
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
    return [*_missing_classes(counts, mixes), *_mix(counts, mixes)]


def _missing_classes(counts: pd.Series, mixes: Mapping[str, pd.Series]) -> Iterator[Finding]:
    """Classes never predicted: an error only where chance cannot explain their absence."""
    never = []
    for name in counts.index[counts == 0]:
        p, source = max((_p_missing(mixes[key], name, counts.sum()), key) for key in mixes)
        number = mixes[source][name] / mixes[source].sum() * counts.sum()
        if not number:
            never.append(name)
            continue
        text = f"no row says {name}; by {source} about {number:,.0f} were to be expected"
        remedy = "; look at the members' confusion matrices" if p < REMARK else ", it may be chance"
        yield Finding("error" if p < REFUSE else "remark", f"{text} (p = {p:.1g}){remedy}")
    if never:
        text = f"no row says {some(never, 3)}, nor do the members on the hold-out"
        yield Finding("remark", text)


def _p_missing(mix: pd.Series, name: str, rows: int) -> float:
    """Chance that all images of a class are among those of `mix` and none among the `rows`.

    Both are samples of the same images: how those of a class fall on the two is hypergeometric.
    """
    images, of_class = round(mix.sum()), round(mix[name])
    return math.prod((images - i) / (images + rows - i) for i in range(of_class))


def _mix(counts: pd.Series, mixes: Mapping[str, pd.Series]) -> list[Finding]:
    """Predicted `counts` against the closest of the `mixes`."""
    p, source = max((same_mix(counts, mixes[key]), key) for key in mixes)
    if p >= REMARK:
        return []
    excess = counts - mixes[source] / mixes[source].sum() * counts.sum()
    moved = excess.clip(lower=0).sum() / counts.sum()
    most, least = (f"{c} {signed(round(excess[c]))}" for c in (excess.idxmax(), excess.idxmin()))
    refused = p < REFUSE and moved > MOVED
    remedy = "; see whether class names were exchanged" if refused else ""
    text = f"class mix differs from {source} (chi-square p = {p:.1g}, {moved:.0%} of the rows)"
    return [Finding("error" if refused else "remark", f"{text}: {most}, {least}{remedy}")]
