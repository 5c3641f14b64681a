"""The form of a submission: its bytes, its header, its rows and their order."""

import codecs
import csv
import io
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from src.competition import SAMPLE_COLUMNS, some
from src.core import UserError
from src.submission.finding import Finding


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


def row_findings(table: pd.DataFrame, ids: list[str]) -> list[Finding]:
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


