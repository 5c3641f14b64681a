"""Nothing of a drawn competition goes to Kaggle: no command in its place, no file made for it."""

from pathlib import Path

from src import competition
from src.core import DEMO_MARKER, UserError, work
from src.submission import sent

WAY_BACK = "go back to the real one: unset PADDY_DATA PADDY_WORK"


def require_real(*folders: Path) -> None:
    """Refuse drawn `folders`; without any those where the data may be, and the work folder's."""
    for folder in folders or (*competition.candidates(), work() / "data"):
        if competition.is_drawn(folder):
            problem = f"{folder} is a drawn competition ({DEMO_MARKER}), which Kaggle does not know"
            raise UserError(problem, f"move it away, or {WAY_BACK}")


def require_real_file(path: Path) -> None:
    """Refuse the submission at `path` where it was made for a drawn competition."""
    if sent.read_provenance(path).get("drawn"):
        raise UserError(
            f"{path} was made for a drawn competition, whose images Kaggle does not know",
            f"{WAY_BACK} (and leave out --data), then python -m src.ensemble",
        )
