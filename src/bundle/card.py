"""A bundle on disk: models/<name>.pkl, its card .json, its .valid.parquet and .test.parquet.

The card is written last: a bundle without one is unfinished.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from src.bundle import versions
from src.core import UserError, Variant, sha256, write_json
from src.evidence import blend, error_phrase, wrong_of

CARD_KEYS = {
    **dict.fromkeys(("name", "family", "notebook", "commit", "data", "held_out", "sha256"), str),
    **dict.fromkeys(("variant", "versions", "holdout"), dict),
    "classes": list,
    "bytes": int,
}
# Fields that older cards lack, and what their trainings did.
LATER = {"flip_vert": False, "augment": "fastai", "lr_mult": 100.0}


def pkl_path(models: Path, name: str) -> Path:
    """The exported Learner of bundle `name`."""
    return models / f"{name}.pkl"


def card_path(models: Path, name: str) -> Path:
    """The model card of bundle `name`."""
    return models / f"{name}.json"


def probs_path(models: Path, name: str, split: str) -> Path:
    """The probabilities of bundle `name`; `split` is `valid` or `test`."""
    return models / f"{name}.{split}.parquet"


def checkpoint_path(models: Path, name: str) -> Path:
    """The checkpoint of the unfinished training of bundle `name`."""
    return models / f".{name}.checkpoint"


def read_card(models: Path, name: str, trust: bool = False) -> dict[str, Any]:
    """The card of bundle `name`; UserError when it, or the .pkl it describes, is not there.

    With `trust` its sha256 is that of the .pkl itself, for the metadata of its predictions.
    """
    path, pkl, remedy = card_path(models, name), pkl_path(models, name), retrain_remedy(name)
    if not path.is_file():
        if pkl.is_file():
            raise UserError(f"no finished model {name!r}: {pkl} is without a card", remedy)
        known = ", ".join(read_cards(models)[0]) or "none"
        raise UserError(f"no finished model {name!r} in {models}; finished are: {known}")
    try:
        card = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        card = {}
    if wrong := [key for key, kind in CARD_KEYS.items() if not isinstance(card.get(key), kind)]:
        raise UserError(f"{path} is no model card ({', '.join(wrong)} missing or wrong)", remedy)
    card["variant"] = LATER | card["variant"]
    if card["name"] != name:
        raise UserError(f"{path} is a copy of the card of {card['name']}", "give it that name back")
    if not pkl.is_file():
        raise UserError(f"{pkl} is missing though its card is there", f"put it back, or {remedy}")
    if pkl.stat().st_size != card["bytes"]:
        raise UserError(f"{pkl} is not the file its card describes", remedy)
    return card | {"sha256": sha256(pkl)} if trust else card


def retrain_remedy(name: str) -> str:
    """How to train bundle `name` again."""
    return f"train it again: python -m src.run {name} --overwrite"


def names(models: Path) -> list[str]:
    """Names of everything in `models` that has a card or a .pkl, sorted."""
    return sorted({path.stem for kind in ("[!.]*.json", "[!.]*.pkl") for path in models.glob(kind)})


def read_cards(models: Path) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Finished bundles, name → card; and the others, name → why they are not finished."""
    cards, reasons = {}, {}
    for name in names(models):
        try:
            cards[name] = read_card(models, name)
        except UserError as error:
            reasons[name] = str(error)
    return cards, reasons


def make_card(learn: Any, variant: Variant, facts: dict[str, Any]) -> dict[str, Any]:
    """The card of the fitted Learner `learn`: how to make the model again; `facts` are added."""
    recipe = {"name": variant.name, "variant": variant.recipe, "classes": list(learn.dls.vocab)}
    return {**recipe, "versions": versions.installed(), **facts}


def holdout_facts(tables: Mapping[str, Any], labels: Any, beta: float) -> dict[str, Any]:
    """A card's `holdout` from the hold-out's `tables` by view, {} where nothing was held out."""
    if not tables:
        return holdout_counts(0, 0, 0)
    plain, images = wrong_of(tables["plain"], labels)
    return holdout_counts(images, plain, wrong_of(blend(tables, beta), labels)[0])


def holdout_counts(images: int, plain: int, tta: int) -> dict[str, Any]:
    """A card's `holdout`: of `images`, `plain` and `tta` are wrong; error rates only of some."""
    counts = {"images": images, "wrong_plain": plain, "wrong_tta": tta}
    rates = [round(wrong / images, 6) if images else None for wrong in (plain, tta)]
    return counts | {"error_plain": rates[0], "error_tta": rates[1]}


def holdout_line(card: Mapping[str, Any]) -> str:
    """The hold-out error of a card in one line, in images: plain, then with TTA."""
    held = card["holdout"]
    plain, tta = (error_phrase(held[f"wrong_{way}"], held["images"]) for way in ("plain", "tta"))
    return f"hold-out {plain}; with TTA {tta}" if held["images"] else plain


def write_card(models: Path, card: dict[str, Any]) -> None:
    """Finish a bundle: the card, with the sha256 and size of the .pkl beside it."""
    pkl = pkl_path(models, card["name"])
    facts = {"sha256": sha256(pkl), "bytes": pkl.stat().st_size}
    write_json(card_path(models, card["name"]), card | facts)
