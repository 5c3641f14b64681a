"""Nothing of a drawn competition goes to Kaggle: no command in its place, no file made for it."""

from pathlib import Path

from src import competition
from src.core import DEMO_MARKER, UserError, work
from src.submission import sent

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


def require_real_file(path: Path) -> None:
    """Refuse the submission at `path` where it was made for a drawn competition."""
    if sent.read_provenance(path).get("drawn"):
        raise UserError(
            f"{path} was made for a drawn competition, whose images Kaggle does not know",
            f"{WAY_BACK} (and leave out --data), then python -m src.ensemble",
        )
