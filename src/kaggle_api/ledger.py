"""submissions/ledger.csv: which file, notebook and commit made which score, and the board from it.

A row for each submission on Kaggle's list; scores also as images right, the finest step of a score.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from src.core import UserError, load_facts, sha256, write_text
from src.evidence import error_phrase, images_right
from src.submission import read_submission, sent


def boards() -> dict[str, int]:
    """The test images behind each score."""
    return {"public": load_facts().public, "private": load_facts().private}


def update(entries: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Put what Kaggle lists into sent/ and the ledger, which is returned."""
    sent.adopt(entries)
    return record(entries)


def record(entries: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Put what Kaggle lists into the ledger and return it; rows that are there get their scores.

    An entry has ref, name, time (datetime, UTC), bytes, public and private (text, maybe empty).
    """
    table = sent.read_ledger()
    for entry in entries:
        ref = str(entry["ref"])
        known = {k: v for k, v in table.loc[ref].items() if v} if ref in table.index else {}
        row = _new_row(entry) | known
        for board, images in boards().items():
            row[board] = entry[board] or known.get(board, "")
            row[f"{board}_right"] = _right(row[board], images)
        table.loc[ref] = pd.Series(row)
    table = table.fillna("").sort_values("time", kind="stable")
    if len(table):
        text = table.reset_index().to_csv(index=False, lineterminator="\n")
        write_text(sent.ledger_path(), text)
    return table


def _new_row(entry: Mapping[str, Any]) -> dict[str, str]:
    """What is known of a submission: Kaggle's side, and ours if its copy is here."""
    row = {"time": entry["time"].isoformat(timespec="seconds"), "file": entry["name"]}
    if (copy := sent.by_ref(entry["ref"])) is None:
        return row
    origin = sent.read_provenance(copy)
    members = map(_weighted, origin.get("members") or [])
    row |= {"sha256": sha256(copy), "members": " ".join(members)}
    row |= {column: origin.get(column, "") for column in ("notebook", "commit", "twins")}
    held = origin.get("holdout") or {}
    if images := held.get("images"):
        row |= {"holdout_wrong": str(held["wrong"]), "holdout_images": str(images),
                "holdout_error": f"{held['wrong'] / images:.5f}"}
    return row


def _weighted(member: Mapping[str, Any] | str) -> str:
    """`vit_a*2`: a member, which may be only a name, with its weight where that is not 1."""
    if isinstance(member, str):
        return member
    weight = member.get("weight", 1)
    return member["name"] if weight == 1 else f"{member['name']}*{weight:g}"


def _right(score: str, images: int) -> str:
    """Images right behind a score; empty where there is none, or it is of another board."""
    try:
        return str(images_right(score, images)) if score else ""
    except UserError:
        return ""


def sent_before(path: Path) -> str:
    """When the bytes at `path` were sent, as what, with which score; empty if they never were."""
    table, digest = sent.read_ledger(), sha256(path)
    rows = table[table.sha256 == digest]
    if rows.empty:
        return ""
    row = rows.iloc[-1]
    score = f"public score {row.public}" if row.public else "no score known yet"
    return f"on {_minute(row.time)} UTC as {row.file}, {score}"


def default_message(path: Path) -> str:
    """`<notebook> · <n> models · hold-out <error> · <commit>`, as far as they are known."""
    origin = sent.read_provenance(path)
    parts, held = [origin.get("notebook", path.stem)], origin.get("holdout") or {}
    if members := origin.get("members"):
        parts.append(f"{len(members)} models")
    if held.get("images"):
        parts.append(f"hold-out {error_phrase(held['wrong'], held['images'])}")
    if commit := origin.get("commit"):
        parts.append(commit[:8] + ("+" if origin.get("dirty") else ""))
    return " · ".join(parts)


def board(table: pd.DataFrame) -> str:
    """The submissions as images right with their standard error, best public score first."""
    form, (public, private) = "{:32.32} {:16.16} {:>27} {:>14} {:>12}", boards().values()
    lines = [form.format("file", "sent", "hold-out", "public", "private")]
    scored = pd.to_numeric(table.public_right, errors="coerce").fillna(-1)
    for _, row in table.loc[scored.sort_values(ascending=False, kind="stable").index].iterrows():
        held = "-"
        if images := row.holdout_images:
            held = f"{_cell(row.holdout_wrong, int(images))} of {int(images):,} wrong"
        right = _cell(row.public_right, public), _cell(row.private_right, private)
        lines.append(form.format(row.file, _minute(row.time), held, *right))
    return "\n".join([*lines, f"images right of {public:,} public and {private} private; "
                      "± one standard error, two files within it are equal"])


def _cell(count: str, images: int) -> str:
    return f"{int(count):,} ± {_standard_error(int(count), images):.1f}" if count else "-"


def _standard_error(count: int, images: int) -> float:
    """What chance alone moves `count` right of `images`, in images."""
    return math.sqrt(count * (images - count) / images)


def relation(table: pd.DataFrame) -> str:
    """How well the hold-out error predicted the public score, in one sentence."""
    known = table[(table.holdout_error != "") & (table.public_right != "")]
    if known.empty:
        return "no file has both a hold-out error and a score yet"
    images = boards()["public"]
    error, missed = known.holdout_error.astype(float), images - known.public_right.astype(int)
    shown = f"{missed.mean():.1f} ± {_standard_error(round(missed.mean()), images):.1f}"
    text = (f"on average the hold-out predicts {images * error.mean():.1f} of {images:,} wrong, "
            f"the public score shows {shown}; ")
    if min(error.nunique(), missed.nunique()) < 3:
        return f"{text}three different files are needed for a correlation"
    return f"{text}over {len(known)} files the correlation is {error.corr(missed):.2f}"


def choose(table: pd.DataFrame) -> str:
    """The two submissions to select: the best hold-out, and the most different as good one.

    As good means: not more than one standard error of the best behind it.
    """
    known = table[table.holdout_error != ""]
    if known.empty:
        return "no submission with a hold-out error: nothing to choose by"
    known = known.assign(error=known.holdout_error.astype(float)).sort_values("error")
    best = known.iloc[0]
    images = int(best.holdout_images)
    limit = best.error + _standard_error(int(best.holdout_wrong), images) / images
    good = known[known.error <= limit]
    changes = pd.Series([_changes(best, row) for _, row in good.iterrows()], good.index)
    first = f"1. {_named(best)}, best hold-out"
    if not changes.max():
        return f"{first}\n2. no other file here is as good and different"
    other = known.loc[changes.idxmax()]
    return f"{first}\n2. {_named(other)}, {changes.max():,} labels differ from the first"


def _changes(one: pd.Series, other: pd.Series) -> int:
    """Test images two submissions label differently; 0 when a sent file is not here."""
    paths = sent.by_digest(one.sha256), sent.by_digest(other.sha256)
    if None in paths:
        return 0
    first, second = (read_submission(p)[0].set_index("image_id").label for p in paths)
    return int((first != second.reindex(first.index)).sum())


def _named(row: pd.Series) -> str:
    """A submission as Kaggle lists it, with its time for files share names, and its error."""
    error = error_phrase(int(row.holdout_wrong), int(row.holdout_images))
    return f"{row.file}, sent {_minute(row.time)} UTC: {error}"


def _minute(time: str) -> str:
    return time[:16].replace("T", " ")
