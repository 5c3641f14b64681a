"""Which submission is known to be good: by the user's word, or by the ledger's scores."""

from pathlib import Path
from typing import Any

import pandas as pd

from src.core import sha256, submissions_dir
from src.submission.sent import read_provenance, sent_dir

COLUMNS = [  # of the ledger
    "ref", "time", "file", "sha256", "notebook", "commit", "members", "holdout_wrong",
    "holdout_images", "holdout_error", "public", "private", "public_right", "private_right",
]  # fmt: skip


def ledger_path() -> Path:
    """Where the ledger is kept."""
    return submissions_dir() / "ledger.csv"


def read_ledger() -> pd.DataFrame:
    """The ledger as text, indexed by Kaggle's submission number, oldest first."""
    if not ledger_path().exists():
        return pd.DataFrame(columns=COLUMNS, dtype=str).set_index("ref")
    table = pd.read_csv(ledger_path(), dtype=str, keep_default_na=False)
    return table.reindex(columns=COLUMNS, fill_value="").set_index("ref")


def own_provenance(path: Path) -> dict[str, Any]:
    """The provenance beside a CSV if it describes these very bytes, else empty."""
    record = read_provenance(path)
    return record if record.get("sha256") == sha256(path) else {}


def submission_files() -> list[Path]:
    """Every submission here: the copies of what was sent first, then the current ones."""
    found = [*sorted(sent_dir().glob("[!.]*.csv")), *sorted(submissions_dir().glob("[!.]*.csv"))]
    return [path for path in found if path != ledger_path()]


def find_by_sha256(digest: str) -> Path | None:
    """The submission with these bytes, wherever it lies; None when it is no longer here."""
    return next((path for path in submission_files() if sha256(path) == digest), None)


def known_good() -> list[Path]:
    """Files whose provenance says `"good": true`, and the best of the ledger; each content once."""
    marked = [p for p in submission_files() if read_provenance(p).get("good") is True]
    return list({sha256(path): path for path in [*marked, *_best_sent()]}.values())


def _best_sent() -> list[Path]:
    """The one file of the best public score that is still here as it was sent, if there is one."""
    table = read_ledger()
    scores = pd.to_numeric(table.public, errors="coerce").dropna()
    for ref in scores.sort_values(ascending=False, kind="stable").index:
        path = find_by_sha256(table.sha256[ref])
        if path and _may_count(read_provenance(path)):
            return [path]
    return []


def _may_count(record: dict[str, Any]) -> bool:
    """Whether the user has not excluded a file, nor sent it over an error of the guard."""
    return record.get("good", not record.get("forced"))
