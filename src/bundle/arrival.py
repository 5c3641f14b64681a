"""A bundle that was made elsewhere: it takes its place only if every file of it is whole."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from src.bundle.card import card_path, pkl_path, probs_path, read_card
from src.bundle.fresh import read_predictions, splits
from src.core import UserError, sha256, write_json


def read_whole(fetched: Path, name: str) -> dict[str, Any]:
    """The card of bundle `name` in the folder `fetched`; UserError unless it fits the files.

    Predictions may be missing: they can be made again.
    """
    card = read_card(fetched, name)
    if sha256(pkl_path(fetched, name)) != card["sha256"]:
        raise UserError("the .pkl did not arrive whole, its sha256 is not the card's",
                        "run the same command again")
    for split in splits(card):
        if probs_path(fetched, name, split).exists():
            read_predictions(fetched, card, split)
    return card


def put(fetched: Path, models: Path, card: Mapping[str, Any]) -> None:
    """The files of the folder `fetched` into `models`, `card` last: until then there is none."""
    models.mkdir(parents=True, exist_ok=True)
    card_path(models, card["name"]).unlink(missing_ok=True)
    for path in sorted(fetched.glob("*")):
        ours = path.name.startswith("folds_") and (models / path.name).exists()
        if path.suffix != ".json" and not ours:
            os.replace(path, models / path.name)
    write_json(card_path(models, card["name"]), dict(card))
