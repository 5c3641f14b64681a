"""Kaggle's official client: logged in, its chatter swallowed, its failures one line."""

import os
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import cache
from io import StringIO
from typing import Any

from requests.exceptions import RequestException

from src.core import UserError
from src.kaggle_api.errors import TOKEN, explain, pause

DELAYS = (0.5, 2, 8)  # seconds before a failed question is asked again


@cache
def client() -> Any:
    """The official client, logged in with the credentials it finds where it always looks."""
    for name in ("VERBOSE", "VERBOSE_OUTPUT"):
        os.environ.pop(name, None)  # else the client tells its request headers, with the key
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
    except (RequestException, ValueError, KeyError) as error:
        secrets = [client().config_values.get(name) for name in ("key", "token")]
        raise UserError(explain(error, filter(None, secrets))) from error


def ask(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """`talk`, tried again after a passing trouble; only for calls that change nothing."""
    for delay in DELAYS:
        try:
            return talk(call, *args, **kwargs)
        except UserError as error:
            wait = pause(error.__cause__, delay)
            if wait is None:
                raise
            time.sleep(wait)
    return talk(call, *args, **kwargs)
