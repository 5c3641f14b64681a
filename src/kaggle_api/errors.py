"""What a failed call to Kaggle means for the user, and whether trying again can help."""

import re
from collections.abc import Iterable

from requests.exceptions import HTTPError, RequestException

from src.competition import COMPETITION

PAGE = f"https://www.kaggle.com/competitions/{COMPETITION}"
TOKEN = "make a token at https://www.kaggle.com/settings and save it as ~/.kaggle/access_token"
RULES = f"join the competition and accept its rules at {PAGE}/rules, then try again"
LATER = "run the same command again later"
REMEDIES = {
    401: f"the credentials are wrong or out of date; {TOKEN}",
    403: f"{RULES}, with the account these credentials belong to",
    404: "nothing there by that name, or it is closed",
    429: "too many requests; wait {wait} seconds",
}
# Kaggle says more in words than in codes; the first that fits decides.
WORDS = {
    r"\brules?\b": RULES,
    r"\bphone\b": "verify your phone number at https://www.kaggle.com/settings, then try again",
    r"\b(deadline|closed|ended|no longer)\b": "the competition takes no submissions; see " + PAGE,
    r"\b(limit|maximum)\b": "the daily allowance is used up; it is renewed at midnight UTC",
}
PASSING = (429, 500, 502, 503, 504)
PATIENCE = 60  # seconds at most that one "come back later" of Kaggle is waited for


def explain(error: Exception, secrets: Iterable[str] = ()) -> str:
    """One line for the user, with none of the `secrets` in it, whatever Kaggle's answer held."""
    said = re.sub(r"\s+", " ", str(error)).strip(" .")[:200]
    for secret in secrets:
        said = said.replace(secret, "***")
    if not isinstance(error, RequestException):
        return f"Kaggle's client: {said}"
    if not isinstance(error, HTTPError) or error.response is None:
        return "no connection to Kaggle, or it broke off; run the same command again"
    return f"Kaggle refuses ({error.response.status_code}: {said}): {_remedy(error, said)}"


def _remedy(error: HTTPError, said: str) -> str:
    code = error.response.status_code
    if code not in (401, 429):
        for pattern, remedy in WORDS.items():
            if re.search(pattern, said, re.I):
                return remedy
    wait = error.response.headers.get("Retry-After", "some")
    usual = LATER if code >= 500 else "mend what it says, then run the same command again"
    return REMEDIES.get(code, usual).format(wait=wait)


def pause(error: BaseException | None, delay: float) -> float | None:
    """Seconds before the next try, `delay` or what Kaggle asks; None where trying cannot help."""
    response = getattr(error, "response", None)
    if response is None:
        return delay if isinstance(error, RequestException) else None
    asked = response.headers.get("Retry-After", "")
    wait = float(asked) if asked.isdigit() else delay
    return wait if response.status_code in PASSING and wait <= PATIENCE else None
