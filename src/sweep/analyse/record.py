"""record.sqlite: every run, epoch, failed attempt and submission, in tables for questions.

Cards, attempts and the ledger are what is true; the file is made anew from them and can be deleted.
"""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import Any

import pandas as pd

from src import bundle, core
from src.core import UserError, Variant, atomic_path
from src.submission import sent
from src.sweep.folder import attempts_at

COLUMNS = {  # that are there whatever is on disk; cards have more
    "runs": ["folder", "name", "row", "family", *(field.name for field in fields(Variant)),
             "images", "wrong_tta", "seconds", "peak_memory_mb", "device", "data", "held_out",
             "created"],
    "epochs": ["folder", "name", "epoch", "train_loss", "valid_loss", "wrong", "seconds"],
    "attempts": ["name", "started", "ended", "place", "reason", "epoch", "epochs", "log"],
    "submissions": sent.COLUMNS,
}  # fmt: skip
BEST = """
create view best as select "row", family, arch, resize, size, count(*) as runs,
    round(avg(wrong_tta), 1) as wrong, cast(avg(images) as int) as images,
    round(100.0 * sum(wrong_tta) / sum(images), 2) as percent,
    round(avg(seconds) / 60, 1) as minutes, max(peak_memory_mb) as peak_memory_mb,
    substr(data, 1, 8) as data
from runs where images > 0 group by "row", runs.data order by percent, "row"
"""


def record_path() -> Path:
    """record.sqlite of the work folder."""
    return core.work() / "record.sqlite"


def rebuild() -> str:
    """Make record.sqlite anew; a line on what is in it, and one for each card that is left out."""
    tables, left_out = read_tables()
    with closing(sqlite3.connect(":memory:")) as connection:
        for name, table in tables.items():
            table.to_sql(name, connection, index=False)
        connection.execute(BEST)
        connection.commit()
        content = connection.serialize()
    with atomic_path(record_path()) as temporary:
        temporary.write_bytes(content)
    counts = ", ".join(f"{name} {len(table):,}" for name, table in tables.items())
    return "\n".join([f"{record_path()}: {counts}", *left_out])


def query(sql: str) -> pd.DataFrame:
    """What record.sqlite answers to `sql`; it can change nothing."""
    remedy = f"tables: {', '.join(COLUMNS)}, best; columns: --sql 'pragma table_info(runs)'"
    with closing(sqlite3.connect(f"{record_path().as_uri()}?mode=ro", uri=True)) as connection:
        try:
            cursor = connection.execute(sql)
            rows, columns = cursor.fetchall(), cursor.description
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise UserError(f"--sql: {error}", remedy) from error
    if not columns:
        raise UserError("--sql: that asks for no rows", f"write select …; {remedy}")
    return pd.DataFrame(rows, columns=[name for name, *_ in columns], dtype=object)


def read_tables(models: str = "") -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Table name → table, of the folder `models` and its compare/; and why cards are left out."""
    found, left_out, folder = {"runs": [], "epochs": []}, [], core.models_dir(models)
    for place in (folder, folder / "compare"):
        cards, reasons = bundle.read_cards(place)
        left_out += [f"left out: {reason}" for reason in reasons.values()]
        for name, card in cards.items():
            key = {"folder": place.name, "name": name}
            found["runs"].append(key | _run(card))
            numbered = enumerate(card.get("epochs", []), 1)
            found["epochs"] += [key | {"epoch": number} | epoch for number, epoch in numbered]
    found |= {"attempts": _attempts(), "submissions": _submissions()}
    tables = {name: pd.DataFrame(rows, dtype=object) for name, rows in found.items()}
    return {name: table.reindex(columns=[*dict.fromkeys([*COLUMNS[name], *table])])
            for name, table in tables.items()}, left_out


def _run(card: Mapping[str, Any]) -> dict[str, Any]:
    """The card in one row; older cards lack some of it."""
    plain = {key: value for key, value in card.items() if not isinstance(value, dict | list)}
    training, parts = card.get("training", {}), (card["holdout"], card.get("machine", {}))
    run = {"row": row_of(card), "git_commit": plain.pop("commit"),  # `commit` is a word of SQL's
           "epochs_done": training.get("epochs"), "lr_used": training.get("lr")}
    return card["variant"] | plain | run | parts[0] | parts[1] | card["versions"]


def row_of(card: Mapping[str, Any]) -> str:
    """The name without fold and seed: what the repeats of a row have in common."""
    v, name = card["variant"], card["name"]
    if v["seed"] != 42:
        name = name.removesuffix(f"_seed{v['seed']}")
    return name.removesuffix("_all" if v["fold"] == "all" else f"_fold{v['fold']}")


def _attempts() -> list[dict[str, Any]]:
    """The failed attempts of all rows, oldest first; a sweep keeps other files there, too."""
    names = [path.stem for path in sorted(core.sweep_dir().glob("[!.]*.json"))]
    attempts = [{"name": name, **attempt} for name in names for attempt in attempts_at(name)]
    return sorted(attempts, key=lambda attempt: (attempt["started"], attempt["name"]))


def _submissions() -> list[dict[str, Any]]:
    """The rows of the ledger, its numbers as numbers."""
    ledger = sent.read_ledger().reset_index().replace("", None)
    numbers = ledger.filter(regex="^(holdout|public|private)").columns
    ledger[numbers] = ledger[numbers].apply(pd.to_numeric, dtype_backend="numpy_nullable")
    return ledger.astype(object).to_dict("records")
