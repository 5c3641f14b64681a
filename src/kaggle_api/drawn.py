"""Nothing of a drawn competition goes to Kaggle: no command in its place, no file made for it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from src import bundle, competition
from src.core import DEMO_MARKER, UserError, models_dir, work
from src.submission.sent import read_provenance

WAY_BACK = "go back to the real one: unset PADDY_DATA PADDY_WORK"
MOVE = "move it away and get the real one: python -m src.kaggle_api download"


def require_real() -> None:
    """Refuse where the data, or those in the work folder, are drawn."""
    for folder in (*competition.candidates(), work() / "data"):
        require_real_data(folder, MOVE if folder in competition.places() else WAY_BACK)


def require_real_data(folder: Path, remedy: str) -> None:
    """Refuse the drawn competition in `folder`; the `remedy` depends on who named it."""
    if competition.is_drawn(folder):
        problem = f"{folder} is a drawn competition ({DEMO_MARKER}), which Kaggle does not know"
        raise UserError(problem, remedy)


def require_real_file(path: Path, folder: Path) -> None:
    """Refuse the submission at `path` where it was made for another competition than `folder`'s."""
    record = read_provenance(path)
    if record.get("drawn"):
        raise UserError(
            f"{path} was made for a drawn competition, whose images Kaggle does not know",
            f"{WAY_BACK} (and leave out --data), then python -m src.ensemble",
        )
    if "drawn" not in record and (name := _trained_elsewhere(record, folder)):
        raise UserError(
            f"{path} is the vote of {name}, which was trained on other images than {folder} has",
            "if it is of a demo, unset PADDY_DATA PADDY_WORK; else python -m src.ensemble again",
        )


def _trained_elsewhere(record: Mapping[str, Any], folder: Path) -> str:
    """A model of an older submission whose card names other images than those in `folder`."""
    cards, _ = bundle.survey(models_dir())
    here = competition.train_fingerprint(folder)
    for member in record.get("members", []):
        for name, facts in member.get("models", {}).items():
            card = cards.get(name, {})
            if card.get("sha256") == facts["sha256"] and card["data"] != here:
                return name
    return ""
