"""What is suspicious about a submission, before it is written or sent.

An error refuses the file, a remark is only said; each is one line that names the remedy.
"""

import codecs
import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from src.competition import SAMPLE_COLUMNS, sample, train_table
from src.config import UserError, submissions_dir
from src.evidence import same_mix, signed
from src.inspection import some
from src.sent import sent_dir

AGREEMENT = 0.9  # with a known good file; two decent models of this field agree on 95 % and more
REFUSE, REMARK = 1e-11, 1e-3  # p-values of the class statistics; a weak model is no mistake
# Biased but honest models fail any test on 3,469 rows; only a mix this far off is a mishap.
MOVED = 0.1


class Finding(NamedTuple):
    """One line about a submission; `changes` are the rows that differ from a known good file."""

    severity: str  # "error" refuses, "remark" does not
    text: str
    changes: pd.DataFrame | None = None  # image_id: before, after, margin


def guard(
    submission: Path | pd.DataFrame,
    folder: Path,
    good: Sequence[str | Path] = (),
    probs: pd.DataFrame | None = None,
    itself: Path | None = None,
) -> list[Finding]:
    """All findings about a CSV, or the table to be written to `itself`, errors first.

    `good` are CSVs known to be good; `probs`, the probabilities behind the labels, give margins.
    """
    findings: list[Finding] = []
    if not isinstance(submission, pd.DataFrame):
        itself = Path(submission)
        submission, findings = read_submission(itself)
    ids, known = sample(folder).image_id.tolist(), train_table(folder).label
    if submission is not None:
        findings += _rows(submission, ids) + _labels(submission.label, known)
        labels = aligned(submission, ids)
        if labels is not None:
            good = [Path(path).resolve() for path in good]
            findings += _earlier(labels, good, probs, itself)
    return sorted(findings, key=lambda finding: finding.severity)


def read_submission(path: Path) -> tuple[pd.DataFrame | None, list[Finding]]:
    """image_id and label of a CSV, None if it has none, and what its form gives away."""
    try:
        raw = path.read_bytes()
        text = raw.decode("utf-8-sig")
        header, *rows = list(csv.reader(io.StringIO(text, newline=""), strict=True)) or [[]]
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing; python -m src.ensemble writes submissions") from error
    except (UnicodeDecodeError, csv.Error) as error:
        return None, [Finding("error", f"no readable CSV ({error}); write it again as UTF-8")]
    rows = [row for row in rows if row]
    findings, usable = _form(raw, header), all(header.count(name) == 1 for name in SAMPLE_COLUMNS)
    torn = [number for number, row in enumerate(rows, 2) if len(row) != len(header)]
    if usable and not rows:
        findings += [Finding("error", "has a header but no rows; write it again")]
    elif usable and torn:
        text = f"{len(torn):,} rows have not {len(header)} fields, first line {torn[0]:,}"
        findings += [Finding("error", f"{text}; write it again")]
    elif usable:
        return pd.DataFrame(rows, columns=header, dtype=object)[SAMPLE_COLUMNS], findings
    return None, findings


def _form(raw: bytes, header: list[str]) -> list[Finding]:
    """What the bytes and the header of a CSV give away."""
    wanted, findings = ",".join(SAMPLE_COLUMNS), []
    lacking = [name for name in SAMPLE_COLUMNS if header.count(name) != 1]
    stray = [name for name in header if name not in SAMPLE_COLUMNS]
    if lacking:
        text = f"needs one column {' and '.join(lacking)}; the header must be {wanted}"
        findings += [Finding("error", text)]
    if stray:
        names = some(map(repr, stray), 3)
        findings += [Finding("error", f"stray column {names}; write only {wanted} (index=False)")]
    if sorted(header) == SAMPLE_COLUMNS != header:
        findings += [Finding("remark", f"columns are not in the usual order {wanted}")]
    if raw.startswith(codecs.BOM_UTF8):
        text = "begins with a byte order mark, which becomes part of the first column's name"
        findings += [Finding("error", f"{text}; save it as UTF-8 without BOM")]
    if b"\r\n" in raw:
        findings += [Finding("remark", "has CRLF line ends; Kaggle takes them, ours are LF")]
    return findings


def aligned(table: pd.DataFrame | None, ids: Sequence[str]) -> pd.Series | None:
    """The labels in the order of `ids`; None when the table holds other images."""
    labels = {} if table is None else dict(zip(table.image_id, table.label, strict=True))
    if table is None or len(table) != len(ids) or labels.keys() != set(ids):
        return None
    return pd.Series([labels[name] for name in ids], ids, dtype=object)


def _rows(table: pd.DataFrame, ids: list[str]) -> list[Finding]:
    """Whether the images are those of the sample, each once, in its order."""
    ours, there = set(ids), set(table.image_id)
    missing = [name for name in ids if name not in there]
    foreign = [name for name in dict.fromkeys(table.image_id) if name not in ours]
    twice = table.image_id[table.image_id.duplicated()].unique()
    kinds = [("missing", missing), ("not in the sample", foreign), ("there twice", twice)]
    findings = [
        Finding("error", f"{len(names):,} images {kind}: {some(names, 3)}; predict the test set "
                "that belongs to this sample_submission.csv")
        for kind, names in kinds
        if len(names)
    ]
    if not findings and list(table.image_id) != ids:
        row = next(i for i, (a, b) in enumerate(zip(table.image_id, ids, strict=True)) if a != b)
        text = f"rows are not in the sample's order from row {row + 1:,} on ({table.image_id[row]}"
        findings = [Finding("error", f"{text} instead of {ids[row]}); sort them as the sample is")]
    return findings


def _labels(labels: pd.Series, train: pd.Series) -> list[Finding]:
    """Unknown labels, one class only, a class missing, or another mix than in training."""
    known = train.value_counts().sort_index()
    unknown = labels[~labels.isin(known.index)]
    if len(unknown):
        text = f"{len(unknown):,} rows with unknown labels {some(map(repr, unknown.unique()), 3)}"
        return [Finding("error", f"{text}; known: {', '.join(known.index)}")]
    if labels.nunique() == 1 and len(known) > 1:
        text = f"every row says {labels.iloc[0]}; the model has learnt nothing, train it again"
        return [Finding("error", text)]
    counts = labels.value_counts().reindex(known.index, fill_value=0)
    return _missing_classes(counts, known) + _mix(counts, known)


def _missing_classes(counts: pd.Series, known: pd.Series) -> list[Finding]:
    """Classes never predicted: an error only where chance cannot explain their absence."""
    findings = []
    for name in counts.index[counts == 0]:
        share = known[name] / known.sum()
        p = (1 - share) ** counts.sum()
        text = f"no row says {name}; about {share * counts.sum():,.0f} were to be expected"
        remedy = "; look at the members' confusion matrices" if p < REMARK else ", it may be chance"
        findings += [Finding("error" if p < REFUSE else "remark", f"{text} (p = {p:.1g}){remedy}")]
    return findings


def _mix(counts: pd.Series, known: pd.Series) -> list[Finding]:
    """Predicted `counts` against those `known` from training."""
    p = same_mix(counts, known)
    if p >= REMARK:
        return []
    excess = counts - known / known.sum() * counts.sum()
    moved = excess.clip(lower=0).sum() / counts.sum()
    refused = p < REFUSE and moved > MOVED
    text = (
        f"class mix differs from training (chi-square p = {p:.1g}, {moved:.0%} of the rows): "
        f"{excess.idxmax()} {signed(round(excess.max()))}, "
        f"{excess.idxmin()} {signed(round(excess.min()))}"
    )
    if not refused:
        return [Finding("remark", text)]
    return [Finding("error", f"{text}; see whether class names were exchanged")]


def _earlier(
    labels: pd.Series, good: list[Path], probs: pd.DataFrame | None, itself: Path | None
) -> list[Finding]:
    """`labels` beside the known good files, and which earlier file says the same."""
    findings, ids = [], labels.index.tolist()
    folders = {submissions_dir(), sent_dir(), *([itself.parent] if itself else [])}
    others = [path for folder in sorted(folders) for path in sorted(folder.glob("*.csv"))]
    for path in dict.fromkeys([*good, *(path.resolve() for path in others)]):
        if itself and path == itself.resolve():
            continue
        known = aligned(read_submission(path)[0], ids)
        if known is not None and (known == labels).all():
            findings += [Finding("remark", f"identical to {path}; it would score the same")]
        elif path in good:
            findings += [_beside(labels, known, path, probs)]
    return _list_the_closest(findings)


def _beside(
    labels: pd.Series, known: pd.Series | None, path: Path, probs: pd.DataFrame | None
) -> Finding:
    """What the known good file at `path` says about `labels`."""
    if known is None:
        return Finding("remark", f"not compared with {path}, which has other images or no table")
    same = (labels == known).to_numpy()
    text = f"{(~same).sum():,} of {len(same):,} rows differ from {path} ({same.mean():.2%} agree)"
    changes = changed_rows(labels, known, probs)
    if same.mean() >= AGREEMENT:
        return Finding("remark", text, changes)
    shift = shifted(labels, known)
    if shift:
        remedy = "sort the test images by name and join labels by image_id"
        return Finding("error", f"{shift} against {path}; {remedy}")
    remedy = f'at least {AGREEMENT:.0%} must, unless its .json says "good": false'
    return Finding("error", f"{text}; {remedy}", changes)


def changed_rows(
    labels: pd.Series, known: pd.Series, probs: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Per changed image the label `before` and `after`, and by how much `probs` prefer the new.

    The margin is the probability of the new label less that of the old, NaN without `probs`;
    the largest come first.
    """
    rows = labels != known
    table = pd.DataFrame({"before": known[rows], "after": labels[rows], "margin": np.nan})
    if probs is not None:
        chance = probs.reindex(columns=sorted({*probs, *table.before, *table.after}))
        pairs = table[["before", "after"]].itertuples()
        table["margin"] = [chance.at[row, new] - chance.at[row, old] for row, old, new in pairs]
    return table.sort_values("margin", ascending=False, kind="stable")


def shifted(labels: pd.Series, known: pd.Series) -> str:
    """How `labels` are moved by one row against `known`, from some row on; else nothing."""
    new, old = labels.to_numpy(dtype=str), known.to_numpy(dtype=str)
    above = np.append(0, np.cumsum(new == old))
    for step, way, other in ((1, "down", "before"), (-1, "up", "after")):
        moved = np.append(0, np.cumsum(new == np.roll(old, step)))
        fits = above + moved[-1] - moved  # per row: unmoved above it, moved from there on
        start = int(fits.argmax())
        if fits[start] >= AGREEMENT * len(new):
            return (
                f"rows are shifted {way} by one from row {start + 1:,} ({labels.index[start]}) on: "
                f"each image carries the label of the one {other} it"
            )
    return ""


def _list_the_closest(findings: list[Finding]) -> list[Finding]:
    """`findings` with the changed rows of the closest known good file alone."""
    closest = min((f.changes for f in findings if f.changes is not None), key=len, default=None)
    return [f if f.changes is closest else f._replace(changes=None) for f in findings]
