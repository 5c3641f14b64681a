"""CSV tables as text: read strictly, faults named, columns renamed on reading and on writing.

Inside the pipeline the columns are `image_id` and `label`, and an image_id is the name of a file.
"""

import csv
import io
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from src.core import UserError, load_facts


def some(names: Iterable[object], shown: int = 10, joint: str = ", ") -> str:
    """The first `names` as a list on one line, and how many more there are."""
    names = list(map(str, names))
    # What a terminal would not print is escaped.
    visible = [name if name.isprintable() else repr(name)[1:-1] for name in names[:shown]]
    more = f" and {len(names) - shown:,} more" if len(names) > shown else ""
    return joint.join(visible) + more


def as_lines(faults: dict[str, list[str]]) -> list[str]:
    """`{"train.csv: empty label": [ids]}` → "train.csv: empty label (1): 100330.jpg"."""
    return [f"{what} ({len(names):,}): {some(names)}" for what, names in faults.items() if names]


def read_csv(path: Path, columns: list[str], remedy: str) -> pd.DataFrame:
    """The `columns` of a CSV as strings; without rows, or with an incomplete one, it is refused."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        header, *rows = [row for row in csv.reader(io.StringIO(text), strict=True) if row] or [[]]
    except OSError as error:
        raise UserError(f"{path}: {(error.strerror or str(error)).lower()}; {remedy}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is no readable CSV ({error}); {remedy}") from None
    if problem := _shape_problem(header, rows, columns):
        raise UserError(f"{path} {problem}; {remedy}")
    return pd.DataFrame(rows, columns=header)[columns]


def _shape_problem(header: list[str], rows: list[list[str]], columns: list[str]) -> str:
    """Why header and rows are no table with these columns; empty if they are."""
    if not header:
        return "is empty"
    if missing := [column for column in columns if header.count(column) != 1]:
        return f"needs one column {', '.join(missing)} and has {','.join(header)[:80]!r}"
    if not rows:
        return "has a header but no rows"
    for number, row in enumerate(rows, 1):
        if len(row) != len(header):
            return f"has {len(row)} fields instead of {len(header)} in row {number:,}"
    return ""


def table_faults(table: pd.DataFrame, file: str) -> dict[str, list[str]]:
    """Kinds of wrong values in a table with the competition's own names, and the ids concerned."""
    column = table[load_facts().id]
    ids = column.replace("", "(no id)")
    wrong = {f"{file}: empty {name}": table[name].str.strip() == "" for name in table}
    wrong[f"{file}: id twice"] = ids.duplicated() & (column != "")
    if "age" in table:
        wrong[f"{file}: age is no whole number"] = ~table.age.str.fullmatch("[0-9]+")
    return {what: list(ids[rows]) for what, rows in wrong.items()}


def internal_names(table: pd.DataFrame) -> pd.DataFrame:
    """`table` with the columns image_id and label, its ids made names of files."""
    facts = load_facts()
    table = table.assign(**{facts.id: table[facts.id] + facts.suffix})
    return table.rename(columns={facts.id: "image_id", facts.label: "label"})


def own_names(table: pd.DataFrame) -> pd.DataFrame:
    """The reverse of `internal_names`: the competition's own columns and ids."""
    facts = load_facts()
    table = table.assign(image_id=table.image_id.str.removesuffix(facts.suffix))
    return table.rename(columns={"image_id": facts.id, "label": facts.label})
