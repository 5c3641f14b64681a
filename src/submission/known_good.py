"""A submission beside earlier ones: those known to be good, and those that say the same.

Known good is what the user says is, and the file with the best public score of the ledger.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from src.core import sha256, submissions_dir
from src.evidence import ALPHA, error_phrase, same_mix, wilson
from src.submission.finding import Finding
from src.submission.form import aligned, read_submission
from src.submission.misalignment import misalignment
from src.submission.sent import read_provenance, sent_dir

AGREEMENT = 0.9  # with a known good file; two decent models of this field agree on 95 % and more
COLUMNS = [  # of the ledger
    "ref", "time", "file", "sha256", "notebook", "commit", "members", "holdout_wrong",
    "holdout_images", "holdout_error", "public", "private", "public_right", "private_right",
]  # fmt: skip


def ledger_path() -> Path:
    """Where the ledger is stored."""
    return submissions_dir() / "ledger.csv"


def read_ledger() -> pd.DataFrame:
    """The ledger as text, indexed by Kaggle's submission number, oldest first."""
    if not ledger_path().exists():
        return pd.DataFrame(columns=COLUMNS, dtype=str).set_index("ref")
    table = pd.read_csv(ledger_path(), dtype=str, keep_default_na=False)
    return table.reindex(columns=COLUMNS, fill_value="").set_index("ref")


def submission_files() -> list[Path]:
    """Every submission here: the copies of what was sent first, then the current ones."""
    folders = sent_dir(), submissions_dir()
    found = (path for folder in folders for path in sorted(folder.glob("[!.]*.csv")))
    return [path for path in found if path != ledger_path()]


def known_good() -> list[Path]:
    """Files with `"good": true` in their .json, then the best of the ledger that may count.

    A file does not count if it says `"good": false`, or was sent over an error of the guard.
    """
    files, records = {}, {}
    for path in reversed(submission_files()):  # of equal files, the copy of what was sent
        digest = sha256(path)
        files[digest] = path
        records[digest] = {**records.get(digest, {}), **read_provenance(path)}
    good = [digest for digest, record in records.items() if record.get("good") is True]
    table = read_ledger()
    scores = pd.to_numeric(table.public, errors="coerce").dropna()
    for digest in table.sha256[scores.sort_values(ascending=False, kind="stable").index]:
        record = records.get(digest, {"good": False})  # the file is no longer here
        if record.get("good", not record.get("forced")):
            good.append(digest)
            break
    return [files[digest] for digest in dict.fromkeys(good)]


def earlier_findings(
    labels: pd.Series, good: Sequence[Path], origin: Mapping[str, Any],
    probs: pd.DataFrame | None, itself: Path | None,
) -> list[Finding]:
    """`labels` beside the known good files, and which earlier file is identical.

    `origin` is their provenance, `probs` are their probabilities, `itself` is their own file.
    """
    findings = []
    near = sorted(itself.parent.glob("[!.]*.csv")) if itself else []
    for path in dict.fromkeys([*good, *(p.resolve() for p in [*submission_files(), *near])]):
        if itself and path == itself.resolve():
            continue
        known = aligned(read_submission(path)[0], labels.index)
        if known is not None and (known == labels).all():
            findings += [Finding("remark", f"identical to {path}; it would score the same")]
        elif known is not None and path in good:
            findings += [_beside(labels, known, path, origin, probs)]
        if path in good and known is not None:
            findings += [Finding("compared", f"with {path}, known to be good")]
        elif path in good:
            text = f"with {path}, which has other images or no table"
            findings += [Finding("not compared", text)]
    if not good:
        text = "with a known good file (none is known; --good FILE names one)"
        findings += [Finding("not compared", text)]
    closest = min((f.rows for f in findings if f.rows), key=len, default=())
    return [f if f.rows is closest else f._replace(rows=()) for f in findings]


def _beside(
    labels: pd.Series, known: pd.Series, path: Path, origin: Mapping[str, Any],
    probs: pd.DataFrame | None,
) -> Finding:
    """`labels` against the labels `known` of the good file at `path`.

    A reason to differ excuses little agreement, but never right labels in wrong rows.
    """
    if what := misalignment(labels, known):
        remedy = "sort the test images by name and join labels by image_id"
        return Finding("error", f"{what}, against {path}; {remedy}")
    rows, share = changed_rows(labels, known, probs), (labels == known).mean()
    text = f"{len(rows):,} of {len(labels):,} rows differ from {path} ({share:.2%} agree)"
    if share >= AGREEMENT:
        return Finding("remark", text, rows)
    record = read_provenance(path)
    if record.get("sha256") != sha256(path):  # of another CSV
        record = {}
    reason, most = reason_to_differ(origin, record), most_different(origin, record)
    if reason and wilson(len(rows), len(labels))[0] <= most:
        return Finding("remark", f"{text}; there is a reason to differ: {reason}", rows)
    rule = f"at least {AGREEMENT:.0%} must, without more models or a clearly smaller hold-out error"
    if reason:
        rule = f"by their hold-out errors at most {most:.0%} can, also with {reason}"
    remedy = f'if that file is the bad one, put "good": false into {path.with_suffix(".json").name}'
    return Finding("error", f"{text}; {rule}; {remedy}", rows)


def reason_to_differ(new: Mapping[str, Any], old: Mapping[str, Any]) -> str:
    """Why a file made as in `new` may differ from one made as in `old`; empty without a reason.

    Reasons are a clearly smaller hold-out error, or more models if it is not clearly larger.
    """
    (wrong, images, models), (before, of, fewer) = map(_facts, (new, old))
    counts = pd.Series([wrong, images - wrong]), pd.Series([before, of - before])
    clear = bool(images and of) and same_mix(*counts) < ALPHA
    if clear and wrong / images < before / of:
        return f"hold-out {error_phrase(wrong, images)}, not {error_phrase(before, of)}"
    return f"{models} models instead of {fewer}" if models > fewer > 0 and not clear else ""


def most_different(new: Mapping[str, Any], old: Mapping[str, Any]) -> float:
    """The largest share of rows in which two files can differ, by their hold-out errors.

    Where they differ, one of them is wrong; the upper ends of the 95 % intervals count.
    """
    errors = [_facts(origin)[:2] for origin in (new, old)]
    return sum(wilson(wrong, images)[1] if images else 1.0 for wrong, images in errors)


def _facts(origin: Mapping[str, Any]) -> tuple[int, int, int]:
    """Hold-out images that are wrong, of how many, and how many models voted, each fold one."""
    held, members = origin.get("holdout") or {}, origin.get("members") or []
    models = sum(len(member.get("models", [member])) for member in members)
    return held.get("wrong") or 0, held.get("images") or 0, models


def changed_rows(labels: pd.Series, known: pd.Series, probs: pd.DataFrame | None) -> list[str]:
    """`<image>  <known label> → <new label>` of each changed row.

    With `probs` also the margin, the probability of the new label less that of the known one; the
    largest come first.
    """
    changed = pd.DataFrame({"old": known, "new": labels})[labels != known]
    if probs is None:
        return [f"{image}  {old} → {new}" for image, old, new in changed.itertuples()]
    probs = probs.reindex(columns=sorted({*probs, *changed.old, *changed.new}), fill_value=0)
    pairs = changed.itertuples()
    changed["margin"] = [probs.at[image, new] - probs.at[image, old] for image, old, new in pairs]
    changed = changed.sort_values("margin", ascending=False, kind="stable")
    return [f"{i}  {old} → {new}  margin {m:+.3f}" for i, old, new, m in changed.itertuples()]
