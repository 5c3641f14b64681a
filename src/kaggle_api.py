"""The door to Kaggle: download, submit, scores and training on its GPUs, by the official client.

python -m src.kaggle_api download | submit NAME | scores | push VARIANT
"""

import argparse
import os
import re
import time
import zipfile
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

from requests.exceptions import HTTPError, RequestException

from src import archive
from src.competition import COMPETITION
from src.config import ROOT, UserError, command

PAGE = f"https://www.kaggle.com/competitions/{COMPETITION}"
TOKEN = "make a token at https://www.kaggle.com/settings and save it as ~/.kaggle/access_token"
RULES = f"join the competition and accept its rules at {PAGE}/rules, then try again"
PATIENCE = 60  # seconds at most that one "come back later" of Kaggle is waited for
PASSING = (429, 500, 502, 503, 504)


@cache
def client() -> Any:
    """The official client, logged in with the credentials it finds where it always looks."""
    # Told to be verbose, the client prints its request headers, and with them the key.
    os.environ.pop("VERBOSE", None), os.environ.pop("VERBOSE_OUTPUT", None)
    try:
        with redirect_stdout(StringIO()):
            from kaggle import api

            api.authenticate()
    except SystemExit:
        raise UserError(f"no Kaggle credentials found; {TOKEN}") from None
    except RequestException as error:
        raise UserError(explain(error)) from None
    return api


def talk(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """One call of the client, its chatter swallowed; whatever fails becomes one line."""
    try:
        with redirect_stdout(StringIO()):
            return call(*args, **kwargs)
    except RequestException as error:
        raise UserError(explain(error)) from error
    except (ValueError, KeyError) as error:
        raise UserError(f"Kaggle's client: {_line(error)}") from error


def ask(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """`talk`, tried again after a passing trouble; only for calls that change nothing."""
    for delay in (1, 3, 9):
        try:
            return talk(call, *args, **kwargs)
        except UserError as error:
            pause = _pause(error.__cause__, delay)
            if pause is None:
                raise
            time.sleep(pause)
    return talk(call, *args, **kwargs)


def _pause(error: BaseException | None, delay: float) -> float | None:
    """Seconds to wait before the next try; None where trying again cannot help."""
    response = getattr(error, "response", None)
    if response is None:
        return delay if isinstance(error, RequestException) else None
    asked = response.headers.get("Retry-After", "")
    wait = float(asked) if asked.isdigit() else delay
    return wait if response.status_code in PASSING and wait <= PATIENCE else None


def explain(error: RequestException) -> str:
    """What a failed call means for the user, and what to do, on one line without any secret."""
    if not isinstance(error, HTTPError) or error.response is None:
        return "no connection to Kaggle, or it broke off; run the same command again"
    code, said = error.response.status_code, _line(error)
    remedies = {
        401: f"the credentials are wrong or out of date; {TOKEN}",
        403: f"{RULES}, with the account these credentials belong to",
        404: "nothing there by that name, or it is closed",
        429: f"too many requests; wait {error.response.headers.get('Retry-After', 'some')} seconds",
    }
    remedy = remedies.get(code, "run the same command again later" if code >= 500 else "")
    if re.search(r"\brules?\b", said, re.I):
        remedy = RULES
    elif re.search(r"\b(deadline|closed|ended|no longer)\b", said, re.I):
        remedy = f"the competition takes no submissions; {PAGE} says until when it did"
    elif re.search(r"\b(limit|maximum)\b", said, re.I) and code != 429:
        remedy = "the daily allowance is used up; it is renewed at midnight UTC"
    return f"Kaggle refuses ({code}: {said}): {remedy}".removesuffix(": ")


def _line(error: BaseException) -> str:
    """The text of `error` on one short line, with nothing in it that logs in."""
    text = re.sub(r"\s+", " ", str(error)).strip(" .")[:200]
    for name in ("key", "token"):
        secret = client().config_values.get(name) if client.cache_info().currsize else None
        text = text.replace(secret, "***") if secret else text
    return text


def download(data: str = "", zip_file: str = "") -> None:
    """Bring the competition's data to `data`; nothing is done when they are there."""
    named = data or os.environ.get("PADDY_DATA") or ROOT / "data" / COMPETITION
    folder = Path(named).expanduser().resolve()
    if folder.is_dir() and any(folder.iterdir()):
        print(f"{archive.describe(folder)}: already here, nothing to do")
        return
    _bring(folder, Path(zip_file).expanduser() if zip_file else None)
    print(archive.describe(folder))


def _bring(folder: Path, zip_file: Path | None) -> None:
    """Unpack the user's zip, or download one: once more if the first turns out damaged."""
    path = zip_file or folder.with_name(f"{COMPETITION}.zip")
    remedy = "download it again in the browser" if zip_file else "run the same command again"
    for last in (bool(zip_file), True):
        if not zip_file and not zipfile.is_zipfile(path):
            _fetch(path)
        try:
            archive.unpack(path, folder)
            break
        except archive.Damaged as error:
            if last:
                raise UserError(f"{path} is damaged ({error}); {remedy}") from error
            print(f"{path} is damaged ({error}); downloading it again", flush=True)
            path.unlink()
    if not zip_file:
        path.unlink()


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


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m src.kaggle_api", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    get = commands.add_parser("download", help="the competition's data, checked and unpacked")
    get.add_argument("--data", default="", help="folder to fill; default PADDY_DATA, else data/")
    get.add_argument("--zip", default="", dest="zip_file", help="a zip downloaded in the browser")
    get.set_defaults(run=download)
    args = vars(parser.parse_args())
    args.pop("command")
    args.pop("run")(**args)


if __name__ == "__main__":
    command(main)
