"""record.sqlite: every run, epoch, failed attempt and submission, in tables for questions.

Cards, attempts and the ledger are what is true; the file is made anew from them and can be deleted.
"""

import json
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

HELD = ("images", "wrong_plain", "wrong_tta", "error_plain", "error_tta")
MADE = (  # keys of the card itself
    "notebook", "weights", "data", "folds", "held_out", "dirty", "started", "created", "seconds",
    "peak_memory_mb", "sha256", "bytes",
)  # fmt: skip
MACHINE, VERSIONS = ("device", "cores", "memory_gb"), ("python", "torch", "fastai", "timm")
COLUMNS = {
    "runs": ("folder", "name", "row", "family", *(field.name for field in fields(Variant)), *HELD,
             "epochs_done", "lr_used", *MADE, *MACHINE, *VERSIONS, "git_commit"),
    "epochs": ("folder", "name", "epoch", "train_loss", "valid_loss", "wrong", "seconds"),
    "attempts": ("name", "started", "ended", "place", "reason", "epoch", "epochs", "log"),
    "submissions": sent.COLUMNS,
}  # fmt: skip
COUNTS = (*HELD[:3], "wrong", "epochs_done", "peak_memory_mb", "cores", "epoch", "holdout_wrong",
          "holdout_images", "public_right", "private_right")  # fmt: skip
BEST = """
create view best as select "row", family, arch, resize, size, count(*) as runs,
    round(avg(wrong_tta), 1) as wrong, cast(avg(images) as int) as images,
    round(100.0 * sum(wrong_tta) / sum(images), 2) as percent,
    round(avg(seconds) / 60, 1) as minutes, max(peak_memory_mb) as peak_memory_mb, data
from runs where images > 0 group by "row", data order by percent, "row"
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
    uri = f"{record_path().as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True)) as connection:
        try:
            cursor = connection.execute(sql)
            rows, names = cursor.fetchall(), [column[0] for column in cursor.description or ()]
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise UserError(f"--sql: {error}", remedy) from error
    if not names:
        raise UserError("--sql: that asks for no rows", f"write select …; {remedy}")
    return pd.DataFrame(rows, columns=names, dtype=object)


def read_tables(models: str = "") -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Table name → table, of the folder `models` and its compare/; and why cards are left out."""
    runs, epochs, left_out = [], [], []
    folder = core.models_dir(models)
    for place in (folder, folder / "compare"):
        cards, reasons = bundle.read_cards(place)
        left_out += [f"left out: {reason}" for reason in reasons.values()]
        for name, card in cards.items():
            key = {"folder": place.name, "name": name}
            runs.append(key | _run(card))
            numbered = enumerate(card.get("epochs", []), 1)
            epochs += [key | {"epoch": number} | epoch for number, epoch in numbered]
    ledger = sent.read_ledger().reset_index().replace("", None)
    found = {"runs": runs, "epochs": epochs, "attempts": _attempts(), "submissions": ledger}
    return {name: _typed(pd.DataFrame(found[name], columns=list(columns)))
            for name, columns in COLUMNS.items()}, left_out


def _run(card: Mapping[str, Any]) -> dict[str, Any]:
    """The card in one row; older cards lack some of it."""
    training, machine = card.get("training", {}), card.get("machine", {})
    run = {key: card.get(key) for key in ("family", *MADE)}
    run |= {key: part.get(key) for part, keys in ((card["holdout"], HELD), (machine, MACHINE),
            (card["versions"], VERSIONS)) for key in keys}
    run |= {"epochs_done": training.get("epochs"), "lr_used": training.get("lr")}
    return card["variant"] | run | {"row": row_of(card), "git_commit": card["commit"]}


def row_of(card: Mapping[str, Any]) -> str:
    """The name without fold and seed: what the repeats of a row have in common."""
    v, name = card["variant"], card["name"]
    if v["seed"] != 42:
        name = name.removesuffix(f"_seed{v['seed']}")
    return name.removesuffix("_all" if v["fold"] == "all" else f"_fold{v['fold']}")


def _attempts() -> list[dict[str, Any]]:
    """The failed attempts of all rows, oldest first; a sweep keeps other files there, too."""
    found = [json.loads(path.read_text(encoding="utf-8"))
             for path in sorted(core.sweep_dir().glob("[!.]*.json"))]
    attempts = [{"name": one["name"], **attempt} for one in found if "attempts" in one
                for attempt in one["attempts"]]
    return sorted(attempts, key=lambda attempt: (attempt["started"], attempt["name"]))


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    """Counts as whole numbers even where some are missing; scores as numbers."""
    numbers = [name for name in (*COUNTS, "public", "private", "holdout_error") if name in table]
    table[numbers] = table[numbers].apply(pd.to_numeric)
    return table.astype({name: "Int64" for name in COUNTS if name in table})
