"""The door to Kaggle: download, submit, scores and training on its GPUs, by the official client.

    python -m src.kaggle_api download                  or with --zip, from the browser
    python -m src.kaggle_api submit paddy_train        guard, upload, wait for the score
    python -m src.kaggle_api scores                    the ledger and the board, in images
    python -m src.kaggle_api push vit_small_squish_224 train on Kaggle's GPU
"""

import argparse
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from src import submission
from src.competition import COMPETITION, find
from src.core import ROOT, UserError, command, submissions_dir
from src.evidence import score_in_images
from src.kaggle_api import download as archive
from src.kaggle_api import drawn, ledger, remote
from src.kaggle_api.client import ask, client, talk
from src.kaggle_api.errors import pause
from src.submission import sent

PAGE_SIZE = 100


def download(data: str = "", zip_file: str = "") -> None:
    """Bring the competition's data to `data`; nothing is done when they are there."""
    named = data or os.environ.get("PADDY_DATA") or ROOT / "data" / COMPETITION
    folder = Path(named).expanduser().resolve()
    way = drawn.WAY_BACK if os.environ.get("PADDY_DATA") else drawn.MOVE
    drawn.require_real_data(folder, "name another folder with --data" if data else way)
    archive.bring(folder, Path(zip_file).expanduser() if zip_file else None, _fetch)


def _fetch(path: Path) -> None:
    """Download the archive to `path` with the client's progress; a partial file is continued."""
    from kagglesdk.competitions.types.competition_api_service import ApiDownloadDataFilesRequest

    api, request = client(), ApiDownloadDataFilesRequest()
    request.competition_name = COMPETITION
    with api.build_kaggle_client() as kaggle:
        response = ask(kaggle.competitions.competition_api_client.download_data_files, request)
        size = int(response.headers.get("Content-Length", 0))
        already = path.stat().st_size if path.exists() else 0
        # Photographs do not shrink in a zip, so the unpacked files need about as much again.
        archive.need_room(path.parent, max(2 * size - already, size), "to download and unpack it")
        print(f"{path.name}: {size / 1e6:,.1f} MB, {already / 1e6:,.1f} MB here", flush=True)
        talk(api.download_file, response, str(path), kaggle.http_client(), False, True)


def submit(
    name: str, message: str, wait: bool, every: float, patience: float, force: bool, again: bool
) -> None:
    """Guard, upload, and believe only Kaggle's own list; then wait for the score."""
    if Path(name).name != name:
        raise UserError(f"{name!r} names a folder; name a submission of {submissions_dir()} alone")
    path = submissions_dir() / f"{name.removesuffix('.csv')}.csv"
    forced = _release(path, force)
    entries = listed(pages=1)
    _take_in(entries)
    if not again and (before := ledger.sent_before(path)):
        raise UserError(f"the bytes of {path.name} were sent already, {before}; --again sends them "
                        "once more, which spends one of the day's submissions")
    message = message or ledger.default_message(path)
    entry = _send(path, message, forced, {entry["ref"] for entry in entries}, every)
    print(f"{path.name} is on Kaggle's list as {entry['ref']}: {message}", flush=True)
    if wait:
        _await_score(entry, every, patience)


def _release(path: Path, force: bool) -> list[str]:
    """The errors that `force` overrides; a file that must not be sent is refused here."""
    drawn.require_real()
    folder = find()
    drawn.require_real_file(path, folder)
    return submission.release(path, folder, force)


def _take_in(entries: list[dict[str, Any]]) -> pd.DataFrame:
    """Put what Kaggle lists into sent/ and the ledger, which is returned."""
    sent.adopt(entries, ledger.read_ledger().sha256.to_dict())
    return ledger.record(entries)


def _send(
    path: Path, message: str, forced: list[str], known: set[int], every: float
) -> dict[str, Any]:
    """Upload the file; its entry on Kaggle's list, which is new. A copy is kept if it arrived.

    The copy is made first: when this is killed, the next command asks Kaggle what became of it.
    """
    copy = sent.put_aside(path, datetime.now(UTC), forced)
    trouble = _upload(path, message)
    entry = _confirmed(path, known, trouble, every)
    if entry is None and trouble:
        sent.discard(copy)
        raise trouble
    if entry is None:  # the copy waits: a slow list may still show it
        raise UserError(
            f"{path.name} was uploaded, but Kaggle's list does not show it{_allowance()}; until it "
            "does it is not submitted: python -m src.kaggle_api scores reads the list again"
        )
    sent.confirm(copy, entry)
    ledger.record([entry])
    return entry


def _upload(path: Path, message: str) -> UserError | None:
    """Send the file; what went wrong on the way is returned, for the list has the last word."""
    api = client()
    try:
        answer = talk(api.competition_submit, str(path), message, COMPETITION)
    except UserError as error:
        return error
    if answer.message == api.COMPETITION_SUBMIT_UPLOAD_FAILED_MESSAGE:
        return UserError("the upload broke off, nothing was submitted; run the same command again")
    return None


def _confirmed(
    path: Path, known: set[int], trouble: UserError | None, every: float
) -> dict[str, Any] | None:
    """The new entry of Kaggle's list for `path`; None when none appears."""
    passing = trouble is None or pause(trouble.__cause__, every) is not None
    for delay in [0, every, every, every] if passing else [0]:
        time.sleep(delay)
        for entry in listed(pages=1):
            if entry["ref"] not in known and entry["name"] == path.name:
                return entry
    return None


def _allowance() -> str:
    """What Kaggle says about today's submissions, as far as it says anything."""
    try:
        limits = ask(client().competition_get_submission_limits, COMPETITION)
    except UserError:
        return ""
    if limits.num_allowed_now == 0:
        return " (the daily limit is reached: none left today, renewed at midnight UTC)"
    return f" ({limits.num_allowed_now} submissions are left today)"


def _await_score(entry: dict[str, Any], every: float, patience: float) -> None:
    """Look at the list until the score is there, telling how long it has been."""
    start = time.monotonic()
    while entry["status"] == "PENDING" and time.monotonic() - start < patience:
        waited = f"{time.monotonic() - start:4.0f} s"
        print(f"\rwaiting for the score {waited}", end="", flush=True, file=sys.stderr)
        time.sleep(every)
        entry = next(e for e in [*listed(pages=1), entry] if e["ref"] == entry["ref"])
    print(file=sys.stderr)
    ledger.record([entry])
    if entry["status"] == "ERROR":
        raise UserError(f"Kaggle cannot score {entry['name']}: {entry['error'] or 'no reason'}")
    if entry["status"] == "PENDING":
        print(f"submitted, but no score after {patience:.0f} s; python -m src.kaggle_api scores "
              "will fetch it")
    else:
        print(f"public: {score_in_images(entry['public'])}")


def listed(pages: int = 50) -> list[dict[str, Any]]:
    """Kaggle's list of our submissions, newest first, `pages` of it at most."""
    entries: dict[int, dict[str, Any]] = {}
    for page in range(1, pages + 1):
        call = client().competition_submissions
        found = ask(call, COMPETITION, page_number=page, page_size=PAGE_SIZE) or []
        new = {entry["ref"]: entry for entry in map(_entry, found)}
        if not new.keys() - entries.keys():
            break
        entries |= new
    return list(entries.values())


def _entry(s: Any) -> dict[str, Any]:
    """What is used of the client's submission object."""
    facts = {"ref": s.ref, "name": s.file_name, "time": s.date, "bytes": s.total_bytes}
    scores = {"public": s.public_score or "", "private": s.private_score or ""}
    return facts | scores | {"status": s.status.name, "error": s.error_description or ""}


def scores() -> None:
    """Fill the ledger from Kaggle's list and print what it says."""
    drawn.require_real()
    table = _take_in(listed())
    if table.empty:
        raise UserError("Kaggle lists no submission of yours; python -m src.kaggle_api submit NAME")
    print(ledger.board(table), ledger.relation(table), ledger.choose(table), sep="\n\n")


def push(names: list[str], dataset: list[str], internet: bool | None, every: float) -> None:
    """Train rows of params.yaml on Kaggle's GPU and bring their bundles back."""
    drawn.require_real()
    asked = remote.Asked(dataset, internet, every)
    remote.train_rows(names, asked, remote.Line(client(), talk, ask))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m src.kaggle_api", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    get = commands.add_parser("download", help="the competition's data, checked and unpacked")
    get.add_argument("--data", default="", help="folder to fill; default PADDY_DATA, else data/")
    get.add_argument("--zip", default="", dest="zip_file", help="a zip downloaded in the browser")
    get.set_defaults(run=download)
    send = commands.add_parser("submit", help="guard, upload, wait for the score")
    send.add_argument("name", help="a submission of submissions/, without .csv")
    send.add_argument("-m", "--message", default="", help="default: notebook, models, error")
    send.add_argument("--no-wait", dest="wait", action="store_false", help="not for the score")
    send.add_argument("--every", type=float, default=10, help="seconds between two looks (10)")
    send.add_argument("--patience", type=float, default=600, help="seconds to wait at most (600)")
    send.add_argument("--force", action="store_true",
                      help="send what the guard refuses; it is recorded")
    send.add_argument("--again", action="store_true",
                      help="send bytes that were sent before")
    send.set_defaults(run=submit)
    board = commands.add_parser("scores", help="fill submissions/ledger.csv, print the board")
    board.set_defaults(run=scores)
    away = commands.add_parser("push", help="train on Kaggle's GPU, bring the models back")
    away.add_argument("names", nargs="+", metavar="VARIANT", help="rows of params.yaml")
    away.add_argument("--dataset", action="append", default=[], metavar="OWNER/NAME",
                      help="attach this data set, for weights that need no internet")
    away.add_argument("--internet", action=argparse.BooleanOptionalAction,
                      help="default: only where weights must be fetched")
    away.add_argument("--every", type=float, default=60, help="seconds between two looks (60)")
    away.set_defaults(run=push)
    args = vars(parser.parse_args())
    args.pop("command")
    args.pop("run")(**args)


if __name__ == "__main__":
    command(main)
