"""The model of a bundle; a pickle is code, so only one whose sha256 is in its card is loaded."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from src.bundle import unpickling, versions
from src.bundle.card import pkl_path, read_card, retrain_remedy
from src.core import UserError, sha256

if TYPE_CHECKING:
    from fastai.learner import Learner


def load(models: Path, name: str, trust: bool = False) -> "Learner":
    """The Learner of bundle `name`; without `trust` only if its sha256 is the one in the card."""
    card, path = read_card(models, name), pkl_path(models, name)
    if not trust and sha256(path) != card["sha256"]:
        raise UserError(
            f"{path} is not the file its card describes (sha256 differs) and a .pkl can run any "
            f"code; {retrain_remedy(name)}, or if you know where it comes from add --trust"
        )
    return load_pkl(path, card["versions"])


def load_pkl(path: Path, made_with: Mapping[str, str] | None = None) -> "Learner":
    """Unpickle a Learner made here; UserError names the versions in `made_with` that differ."""
    from fastai.learner import load_learner
    from torch.cuda import is_available as cuda_is_available

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="load_learner")
        try:
            return load_learner(path, cpu=not cuda_is_available(), pickle_module=unpickling)
        except Exception as error:  # unpickling another version's file, or none, raises anything
            reason = str(error).partition("\n")[0]
            differ = ", ".join(versions.differing(made_with or {}))
            remedy = f"it was made with {differ}: install those, or " if differ else ""
            raise UserError(
                f"{path} cannot be loaded ({type(error).__name__}: {reason})",
                f"{remedy}train it again",
            ) from error
