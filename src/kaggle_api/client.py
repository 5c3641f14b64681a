"""Kaggle's official client: logged in, its output swallowed, its errors one line with a remedy.

Nothing of a drawn competition goes to Kaggle: no command runs in its place.
"""

import os
import re
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

from requests.exceptions import HTTPError, RequestException

from src import competition
from src.core import DEMO_MARKER, UserError, load_facts, work

WAY_BACK = "go back to the real one: unset PADDY_DATA PADDY_WORK"
PAGE = "https://www.kaggle.com/competitions/{slug}"
TOKEN = "make a token at https://www.kaggle.com/settings and save it as ~/.kaggle/access_token"
RULES = "join the competition and accept its rules at " + PAGE + "/rules, then try again"
REMEDIES = {
    401: f"the credentials are wrong or out of date; {TOKEN}",
    403: f"{RULES}, with the account these credentials belong to",
    404: "nothing there by that name, or it is closed",
    429: "too many requests; wait {wait} seconds",
}
# Kaggle's text is more precise than its status code; the first that matches decides.
KEYWORDS = {
    r"\brules?\b": RULES,
    r"\bphone\b": "verify your phone number at https://www.kaggle.com/settings, then try again",
    r"\b(deadline|closed|ended|no longer)\b": "the competition takes no submissions; see " + PAGE,
    r"\b(limit|maximum)\b": "the daily allowance is used up; it is renewed at midnight UTC",
}
TRANSIENT = (429, 500, 502, 503, 504)
DELAYS = (0.5, 2, 8)  # seconds before each retry
LONGEST_WAIT = 60  # seconds; a longer Retry-After is left to the user


def require_real(*folders: Path) -> None:
    """Refuse drawn `folders`; without any those where the data may be, and the work folder's."""
    for folder in folders or (*competition.candidates(), work() / "data"):
        if competition.is_drawn(folder):
            problem = f"{folder} is a drawn competition ({DEMO_MARKER}), which Kaggle does not know"
            raise UserError(problem, f"move it away, or {WAY_BACK}")


@cache
def client() -> Any:
    """The official client, logged in with the credentials it finds in its usual places."""
    for name in ("VERBOSE", "VERBOSE_OUTPUT"):
        os.environ.pop(name, None)  # else the client prints its request headers, with the key
    try:
        with redirect_stdout(StringIO()):
            from kaggle import api

            api.authenticate()
    except SystemExit:
        raise UserError(f"no Kaggle credentials found; {TOKEN}") from None
    except RequestException as error:
        raise UserError(_explain(error)) from None
    return api


def call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a `function` of the client; UserError, with the client's error as its cause."""
    try:
        with redirect_stdout(StringIO()):
            return function(*args, **kwargs)
    except (RequestException, ValueError, KeyError) as error:
        keys = [client().config_values.get(name) for name in ("key", "token")]
        raise UserError(_explain(error, *filter(None, keys))) from error


def call_with_retry(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """`call`, repeated after a transient error; only for calls that change nothing.

    The client's own `with_retry` gives up at once on 5xx and on a read timeout, waits out a
    Retry-After of hours, and prints Kaggle's text with whatever secret is in it.
    """
    for delay in DELAYS:
        try:
            return call(function, *args, **kwargs)
        except UserError as error:
            if (wait := retry_delay(error, delay)) is None:
                raise
            time.sleep(wait)
    return call(function, *args, **kwargs)


def retry_delay(error: UserError, default: float) -> float | None:
    """Seconds before a retry, `default` or Kaggle's Retry-After; None where none helps."""
    response = getattr(error.__cause__, "response", None)
    if response is None:  # the connection broke off, or Kaggle was never called
        return default if isinstance(error.__cause__, RequestException) else None
    header = response.headers.get("Retry-After", "")
    wait = float(header) if header.isdigit() else default
    return wait if response.status_code in TRANSIENT and wait <= LONGEST_WAIT else None


def _explain(error: Exception, *secrets: str) -> str:
    """One line for the user, without the `secrets` that Kaggle's answer may repeat."""
    text = re.sub(r"\s+", " ", str(error)).strip(" .")
    for secret in secrets:
        text = text.replace(secret, "***")
    text = text[:200]  # not before: half a secret would not be found
    if not isinstance(error, RequestException):
        return f"Kaggle's client: {text}"
    if not isinstance(error, HTTPError) or error.response is None:
        return "no connection to Kaggle, or it broke off; run the same command again"
    code, wait = error.response.status_code, error.response.headers.get("Retry-After", "some")
    later = "run the same command again later" if code >= 500 else "fix it, then run it again"
    remedy = REMEDIES.get(code, later)
    found = [remedy for pattern, remedy in KEYWORDS.items() if re.search(pattern, text, re.I)]
    if found and code not in (401, 429):
        remedy = found[0]
    return f"Kaggle refuses ({code}: {text}): {remedy.format(wait=wait, slug=load_facts().slug)}"
