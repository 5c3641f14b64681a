"""submissions/ledger.csv: which file, notebook and commit made which score, and the board from it.

A row for each submission on Kaggle's list; scores also as images, since one image is the finest
step the board can show.
"""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from src.core import UserError, sha256, write_text
from src.evidence import PRIVATE, PUBLIC, error_phrase, images_right
from src.submission import by_digest, by_ref, ledger_path, read_ledger, read_provenance

BOARDS = {"public": PUBLIC, "private": PRIVATE}


def record(entries: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Put what Kaggle lists into the ledger and return it; rows that are there get their scores.

    An entry has ref, name, time (datetime, UTC), bytes, public and private (text, maybe empty).
    """
    table = read_ledger()
    for entry in entries:
        ref = str(entry["ref"])
        old = table.loc[ref].to_dict() if ref in table.index else {}
        known = {column: value for column, value in old.items() if value}
        table.loc[ref] = pd.Series({**_new_row(entry), **known, **_scores(entry, old)})
    table = table.fillna("").sort_values("time", kind="stable")
    if len(table):
        write_text(ledger_path(), table.reset_index().to_csv(index=False, lineterminator="\n"))
    return table


def _scores(entry: Mapping[str, Any], old: Mapping[str, str]) -> dict[str, str]:
    """Scores as Kaggle prints them, and as images right; what is known already stays."""
    found = {}
    for board, images in BOARDS.items():
        score = entry[board] or old.get(board, "")
        found |= {board: score, f"{board}_right": _right(score, images)}
    return found


def _right(score: str, images: int) -> str:
    """Images right behind a score; empty where there is none or it is of another board."""
    try:
        return str(images_right(score, images)) if score else ""
    except UserError:
        return ""


def _new_row(entry: Mapping[str, Any]) -> dict[str, str]:
    """What is known of a submission: Kaggle's side, and ours if its copy is here."""
    time = entry["time"].isoformat(timespec="seconds")
    return {"time": time, "file": entry["name"], **_facts(by_ref(entry["ref"]))}


def sent_before(path: Path) -> str:
    """When the bytes at `path` were sent, as what, with which score; empty if they never were."""
    digest, table, origin = sha256(path), read_ledger(), read_provenance(path)
    if len(rows := table[table.sha256 == digest]):
        row = rows.iloc[-1]
        score = f"public score {row.public}" if row.public else "no score known yet"
        return f"on {_minute(row.time)} UTC as {row.file}, {score}"
    if (copy := by_digest(digest)) and read_provenance(copy).get("submitted"):
        origin = read_provenance(copy)
    if not (origin.get("submitted") and origin.get("sha256") == digest):
        return ""
    return f"on {_minute(origin['sent'])} UTC" if origin.get("sent") else "at a time not recorded"


def _minute(time: str) -> str:
    return time[:16].replace("T", " ")


def _facts(path: Path | None) -> dict[str, str]:
    """Our columns for the file at `path`."""
    if path is None:
        return {}
    origin = read_provenance(path)
    return {
        "sha256": sha256(path),
        "notebook": origin.get("notebook", ""),
        "commit": origin.get("commit", ""),
        "members": " ".join(map(_member, origin.get("members", []))),
    } | holdout(origin)


def _member(member: Mapping[str, Any]) -> str:
    """A member's name, with its weight where that is not 1."""
    return member["name"] + ("" if member["weight"] == 1 else f"*{member['weight']:g}")


def holdout(origin: Mapping[str, Any]) -> dict[str, str]:
    """The ensemble's hold-out error from its provenance, in images and as a share."""
    held = origin.get("holdout") or {}
    wrong, images = held.get("wrong"), held.get("images")
    if not images:
        return {}
    share = f"{wrong / images:.5f}"
    return {"holdout_wrong": str(wrong), "holdout_images": str(images), "holdout_error": share}


def _error(held: Mapping[str, str]) -> str:
    """The hold-out error of a row that has one, in images with its interval."""
    return error_phrase(int(held["holdout_wrong"]), int(held["holdout_images"]))


def default_message(path: Path) -> str:
    """`<notebook> · <n> models · hold-out <error> · <commit>`, as far as they are known."""
    origin = read_provenance(path)
    held = holdout(origin)
    parts = [
        origin.get("notebook", path.stem),
        f"{len(origin['members'])} models" if origin.get("members") else "",
        f"hold-out {_error(held)}" if held else "",
        origin.get("commit", "")[:8] + "+" * bool(origin.get("dirty") and origin.get("commit")),
    ]
    return " · ".join(part for part in parts if part)


def band(count: int, images: int) -> float:
    """One standard error, in images, of `count` right of `images`: what chance alone moves."""
    return math.sqrt(count * (images - count) / images)


def board(table: pd.DataFrame) -> str:
    """The submissions as images right with their noise band, best public score first."""
    lines = [f"{'file':32} {'sent':16} {'hold-out':>27} {'public':>14} {'private':>12}"]
    scored = pd.to_numeric(table.public_right, errors="coerce").fillna(-1)
    for _, row in table.loc[scored.sort_values(ascending=False, kind="stable").index].iterrows():
        held = _held_cell(row.holdout_wrong, row.holdout_images)
        public, private = (_cell(row[f"{b}_right"], n) for b, n in BOARDS.items())
        sent = _minute(row.time)
        lines += [f"{row.file[:32]:32} {sent:16} {held:>27} {public:>14} {private:>12}"]
    return "\n".join([*lines, f"images right of {PUBLIC:,} public and {PRIVATE} private; "
                      "± one standard error, two files within it are equal"])


def _held_cell(wrong: str, images: str) -> str:
    return f"{_cell(wrong, int(images))} of {int(images):,} wrong" if wrong else "-"


def _cell(count: str, images: int) -> str:
    return f"{int(count):,} ± {band(int(count), images):.1f}" if count else "-"


def relation(table: pd.DataFrame) -> str:
    """How well the hold-out error foretold the public score, in one sentence."""
    known = table[(table.holdout_error != "") & (table.public_right != "")]
    if known.empty:
        return "no file has both a hold-out error and a score yet"
    error, missed = known.holdout_error.astype(float), PUBLIC - known.public_right.astype(int)
    text = (
        f"on average the hold-out foretells {PUBLIC * error.mean():.1f} of {PUBLIC:,} wrong, the "
        f"public score shows {missed.mean():.1f} ± {band(round(missed.mean()), PUBLIC):.1f}"
    )
    if min(error.nunique(), missed.nunique()) < 3:
        return f"{text}; three different files are needed to say how they move together"
    return f"{text}; over {len(known)} files they correlate {error.corr(missed):.2f}"


def choose(table: pd.DataFrame) -> str:
    """The two submissions for the end: the best hold-out, and the most different as good one.

    As good means: not more than one standard error of the best behind it.
    """
    known = table[table.holdout_error != ""].drop_duplicates("sha256")
    if known.empty:
        return "no submission with a hold-out error: nothing to choose by"
    known = known.assign(error=known.holdout_error.astype(float)).sort_values("error")
    best = known.iloc[0]
    images = int(best.holdout_images)
    limit = best.error + band(int(best.holdout_wrong), images) / images
    changes = {ref: differing(best, row) for ref, row in known[known.error <= limit].iterrows()}
    changes = {ref: count for ref, count in changes.items() if count}
    first = f"1. {_named(best)} (best hold-out, {_error(best)})"
    if not changes:
        return f"{first}\n2. no other file here is as good and different"
    ref = max(changes, key=changes.__getitem__)
    other = known.loc[ref]
    differ = f"{changes[ref]:,} labels differ from the first"
    return f"{first}\n2. {_named(other)} ({_error(other)}; {differ})"


def _named(row: pd.Series) -> str:
    """A submission as Kaggle lists it: where files share a name, the time tells them apart."""
    return f"{row.file}, sent {_minute(row.time)} UTC"


def differing(one: pd.Series, other: pd.Series) -> int | None:
    """Test images two submissions label differently; None when a sent file is not here."""
    labels = []
    for row in (one, other):
        if (path := by_digest(row.sha256)) is None:
            return None
        labels.append(pd.read_csv(path, dtype=str).set_index("image_id").label)
    return int((labels[0] != labels[1].reindex(labels[0].index)).sum())
