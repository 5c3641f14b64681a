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

HEADER = ",".join(SAMPLE_COLUMNS)


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
    findings = _header_findings(raw, header)
    torn = [number for number, row in enumerate(rows, 2) if len(row) != len(header)]
    if any(header.count(name) != 1 for name in SAMPLE_COLUMNS):
        return None, findings
    if not rows:
        return None, [*findings, Finding("error", "has a header but no rows; write it again")]
    if torn:
        text = f"{len(torn):,} rows have not {len(header)} fields, first line {torn[0]:,}"
        return None, [*findings, Finding("error", f"{text}; write it again")]
    return pd.DataFrame(rows, columns=header, dtype=object)[SAMPLE_COLUMNS], findings


def _header_findings(raw: bytes, header: list[str]) -> list[Finding]:
    """What the header and the bytes of a CSV show."""
    lacking = [name for name in SAMPLE_COLUMNS if header.count(name) != 1]
    stray = [name for name in header if name not in SAMPLE_COLUMNS]
    problems = [
        (lacking, "error",
         f"needs one column {' and '.join(lacking)}; the header must be {HEADER}"),
        (stray, "error",
         f"stray column {some(map(repr, stray), 3)}; write only {HEADER} (index=False)"),
        (sorted(header) == sorted(SAMPLE_COLUMNS) and header != SAMPLE_COLUMNS, "remark",
         f"columns are not in the usual order {HEADER}"),
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
