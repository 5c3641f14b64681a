"""Whether what is on disk is what would be made now: the model of a recipe, and its predictions."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from src.bundle.card import card_path, probs_path, read_card
from src.competition import digests
from src.core import UserError, Variant, make_variant
from src.evidence import is_fresh, read_probs

TTA_FIELDS = ("tta", "views", "beta")  # settings of the inference: a change needs no training


def is_done(variant: Variant, models: Path, data: str, overwrite: bool = False) -> bool:
    """Whether this very recipe on this very data is finished; another one of its name is refused.

    With `overwrite` nothing is finished and nothing refused.
    """
    if overwrite or not card_path(models, variant.name).is_file():
        return False
    card = read_card(models, variant.name)
    new = variant.recipe | {"data": data, "corrections": digests(variant)}
    facts = {"data": card["data"], "corrections": card.get("corrections", {})}  # older: without
    old = make_variant(**card["variant"]).recipe | facts
    by_content = {*new["corrections"]} & {*old["corrections"]}  # wherever their files are
    differ = [key for key in new if new[key] != old[key] and key not in by_content]
    if differ and set(differ) <= set(TTA_FIELDS):
        was, now = (", ".join(f"{key} {recipe[key]}" for key in differ) for recipe in (old, new))
        options = " ".join(f"--{key} {new[key]}" for key in differ)
        raise UserError(
            f"{variant.name} is trained and predicts with {was}, here it is {now}",
            f"to change it, without training: python -m src.predict {variant.name} {options}",
        )
    if differ:
        changes = ", ".join(f"{key} {old[key]!r} → {new[key]!r}" for key in differ)
        raise UserError(
            f"{variant.name} exists with another recipe ({changes})",
            "give this one a name of its own, -p desc NAME, desc in its row or desc=NAME in a "
            "grid, or replace the old one, -p overwrite true or src.run --overwrite",
        )
    return True


def stale(models: Path, card: Mapping[str, Any], test_images: str) -> list[str]:
    """Splits whose probabilities are missing or not those of this `card` and these images."""
    metas = {split: expected_meta(card, split, test_images) for split in splits(card)}
    return [split for split, meta in metas.items()
            if not is_fresh(probs_path(models, card["name"], split), meta)]


def splits(card: Mapping[str, Any]) -> list[str]:
    """The splits a model predicts; without a hold-out only `test`."""
    return ["valid", "test"] if card["holdout"]["images"] else ["test"]


def read_predictions(
    models: Path, card: Mapping[str, Any], split: str, test_images: str | None = None
) -> dict[str, pd.DataFrame]:
    """Probabilities of `split` by view; UserError unless `expected_meta` is their metadata."""
    path = probs_path(models, card["name"], split)
    return read_probs(path, expected_meta(card, split, test_images))[0]


def expected_meta(
    card: Mapping[str, Any], split: str, test_images: str | None = None
) -> dict[str, Any]:
    """The metadata of probabilities by the model of `card`; without `test_images` of any test."""
    meta = {"split": split, "model": card["name"], "sha256": card["sha256"]}
    meta["tta"] = tta_settings(card)
    images = card["held_out"] if split == "valid" else test_images
    return meta | {"images": images} if images else meta


def tta_settings(card: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the inference: kind of TTA, number of views, share of the plain, seed."""
    return {key: card["variant"][key] for key in (*TTA_FIELDS, "seed")}
