"""A submission: checked, uploaded, confirmed by Kaggle's own list, scored."""

import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from src import submission
from src.competition import find
from src.core import UserError, load_facts, submissions_dir
from src.evidence import score_in_images
from src.kaggle_api import ledger
from src.kaggle_api.client import (
    WAY_BACK,
    call,
    call_with_retry,
    client,
    require_real,
    retry_delay,
)
from src.submission import sent


def submit(
    name: str, message: str, wait: bool, every: float, patience: float, force: bool, again: bool
) -> None:
    """Check the submission `name`, upload it and wait for its score.

    `force` overrides the guard, `again` sends bytes that were sent before.
    """
    if Path(name).name != name:
        raise UserError(f"{name!r} names a folder; name a submission of {submissions_dir()} alone")
    path = submissions_dir() / f"{name.removesuffix('.csv')}.csv"
    require_real()
    if sent.read_provenance(path).get("drawn"):
        raise UserError(f"{path} was made for a drawn competition, whose images Kaggle does not "
                        f"know; {WAY_BACK} (and leave out --data), then python -m src.ensemble")
    forced = submission.refuse(submission.check(path, find()), path, force, "sent")
    entries = _list_submissions(pages=1)
    ledger.update(entries)
    if not again and (before := ledger.sent_before(path)):
        raise UserError(f"the bytes of {path.name} were sent already, {before}; --again sends them "
                        "once more, which spends one of the day's submissions")
    message = message or ledger.default_message(path)
    entry = _send(path, message, forced, {entry["ref"] for entry in entries}, every)
    print(f"{path.name} is on Kaggle's list as {entry['ref']}: {message}", flush=True)
    if wait:
        _wait_for_score(entry, every, patience)


def scores() -> None:
    """Fill the ledger from Kaggle's list and print the board."""
    require_real()
    table = ledger.update(_list_submissions())
    if table.empty:
        raise UserError("Kaggle lists no submission of yours; python -m src.kaggle_api submit NAME")
    print(ledger.board(table), ledger.relation(table), ledger.choose(table), sep="\n\n")


def _list_submissions(pages: int = 50) -> list[dict[str, Any]]:
    """Kaggle's list of our submissions, newest first, at most `pages` of it."""
    entries: dict[int, dict[str, Any]] = {}
    for page in range(1, pages + 1):
        listed = call_with_retry(client().competition_submissions, load_facts().slug,
                                 page_number=page, page_size=100)
        new = [s for s in listed or [] if s.ref not in entries]
        if not new:
            break
        for s in new:
            entries[s.ref] = {
                "ref": s.ref, "name": s.file_name, "time": s.date, "bytes": s.total_bytes,
                "public": s.public_score or "", "private": s.private_score or "",
                "status": s.status.name, "error": s.error_description or "",
            }  # fmt: skip
    return list(entries.values())


def _send(
    path: Path, message: str, forced: list[str], known: set[int], every: float
) -> dict[str, Any]:
    """Upload the file; its entry on Kaggle's list, which is not among the `known` ones.

    The copy is made first: if this is killed, the next command looks for it on Kaggle's list.
    """
    copy, error = sent.put_aside(path, datetime.now(UTC), forced), None
    try:
        answer = call(client().competition_submit, str(path), message, load_facts().slug)
        if answer.message == client().COMPETITION_SUBMIT_UPLOAD_FAILED_MESSAGE:
            raise UserError("the upload broke off, nothing was submitted; run the command again")
    except UserError as failed:  # it may have arrived all the same
        error = failed
    lasting = error is not None and retry_delay(error, every) is None
    entry = _find_entry(path, known, [0] if lasting else [0, every, every, every])
    if entry is None and error:
        sent.discard(copy)
        raise error
    if entry is None:  # the copy stays: a later list may still show it
        raise UserError(
            f"{path.name} was uploaded, but Kaggle's list does not show it{_allowance()}; it is "
            "not submitted until it does: python -m src.kaggle_api scores reads the list again"
        )
    sent.confirm(copy, entry)
    ledger.record([entry])
    return entry


def _find_entry(path: Path, known: set[int], delays: list[float]) -> dict[str, Any] | None:
    """The new entry of Kaggle's list for `path`; the list is read after each of the `delays`."""
    for delay in delays:
        time.sleep(delay)
        for entry in _list_submissions(pages=1):
            if entry["ref"] not in known and entry["name"] == path.name:
                return entry
    return None


def _allowance() -> str:
    """Whether the day's submissions are used up, in brackets."""
    try:
        limits = call_with_retry(client().competition_get_submission_limits, load_facts().slug)
    except UserError:
        return ""
    none_left = " (the daily limit is reached; it is renewed at midnight UTC)"
    return "" if limits.num_allowed_now else none_left


def _wait_for_score(entry: dict[str, Any], every: float, patience: float) -> None:
    """Poll the list until the score is there, at most `patience` seconds."""
    start = time.monotonic()
    while entry["status"] == "PENDING" and (waited := time.monotonic() - start) < patience:
        print(f"\rwaiting for the score {waited:4.0f} s", end="", flush=True, file=sys.stderr)
        time.sleep(every)
        entry = next(e for e in [*_list_submissions(pages=1), entry] if e["ref"] == entry["ref"])
    print(file=sys.stderr)
    ledger.record([entry])
    if entry["status"] == "ERROR":
        raise UserError(f"Kaggle cannot score {entry['name']}: {entry['error'] or 'no reason'}")
    if entry["status"] == "PENDING":
        print(f"no score after {patience:.0f} s; python -m src.kaggle_api scores will fetch it")
    else:
        print(f"public: {score_in_images(entry['public'])}")
