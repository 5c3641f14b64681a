"""A bundle on disk: models/<name>.pkl, its card .json, its .valid.parquet and .test.parquet.

The card is written last: a bundle without one is unfinished.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.bundle import versions
from src.core import UserError, Variant, sha256, write_json
from src.evidence import blend, error_phrase, wrong_of

if TYPE_CHECKING:
    from fastai.learner import Learner

CARD_KEYS = {
    **dict.fromkeys(("name", "family", "notebook", "commit", "data", "held_out", "sha256"), str),
    **dict.fromkeys(("variant", "versions", "holdout"), dict),
    "classes": list,
    "bytes": int,
}
NO_CARD = "a .pkl without a card: its training did not finish"


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
    """What an unfinished training of bundle `name` continues from."""
    return models / f".{name}.checkpoint"


def read_card(models: Path, name: str, trust: bool = False) -> dict[str, Any]:
    """The card of bundle `name`; UserError when it, or the .pkl it describes, is not there.

    With `trust` its sha256 is the one the .pkl really has, for the files that are predicted by it.
    """
    path = card_path(models, name)
    if not path.is_file():
        known = ", ".join(n for n in names(models) if card_path(models, n).is_file()) or "none"
        alone = f" ({NO_CARD})" if pkl_path(models, name).is_file() else ""
        raise UserError(f"no finished model {name!r} in {models}{alone}; finished are: {known}")
    try:
        card = dict(json.loads(path.read_text(encoding="utf-8")))
        missing = [key for key, kind in CARD_KEYS.items() if not isinstance(card.get(key), kind)]
    except (ValueError, TypeError):
        missing = ["everything"]
    if missing:
        lacks = f"{', '.join(missing)} missing or wrong"
        raise UserError(f"{path} is no model card ({lacks})", retrain_remedy(name))
    if card["name"] != name:
        raise UserError(f"{path} is a copy of the card of {card['name']}", "give it that name back")
    pkl = pkl_path(models, name)
    if not pkl.is_file():
        problem = f"{pkl} is missing though its card is there"
        raise UserError(problem, f"put it back, or {retrain_remedy(name)}")
    if pkl.stat().st_size != card["bytes"]:
        raise UserError(f"{pkl} is not the file its card describes", retrain_remedy(name))
    return card | {"sha256": sha256(pkl)} if trust else card


def retrain_remedy(name: str) -> str:
    """The remedy that names the command to train bundle `name` anew."""
    return f"train it again: python -m src.run {name} --overwrite"


def names(models: Path) -> list[str]:
    """Names of everything in `models` that has a card or a .pkl, sorted."""
    return sorted({path.stem for kind in ("[!.]*.json", "[!.]*.pkl") for path in models.glob(kind)})


def survey(models: Path) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Finished bundles, name → card; and the others, name → why they are not finished."""
    cards, reasons = {}, {}
    for name in names(models):
        if not card_path(models, name).is_file():
            reasons[name] = f"{pkl_path(models, name)} is {NO_CARD}; {retrain_remedy(name)}"
            continue
        try:
            cards[name] = read_card(models, name)
        except UserError as error:
            reasons[name] = str(error)
    return cards, reasons


def make_card(learn: "Learner", variant: Variant, facts: dict[str, Any]) -> dict[str, Any]:
    """What a card tells of a fitted `learn`: how to make the model again; `facts` are added."""
    return {
        "name": variant.name,
        "variant": variant.recipe,
        "classes": list(learn.dls.vocab),
        "versions": versions.installed(),
        **facts,
    }


def holdout_facts(tables: Mapping[str, Any], labels: Any, beta: float) -> dict[str, Any]:
    """Images held out, and how many of them and what share are wrong, plain and with TTA.

    No `tables`, no images: nothing was held out.
    """
    ways = {"plain": tables["plain"], "tta": blend(tables, beta)} if tables else {}
    wrong = {way: wrong_of(table, labels)[0] for way, table in ways.items()}
    return holdout_counts(len(ways.get("plain", ())), wrong.get("plain", 0), wrong.get("tta", 0))


def holdout_counts(images: int, plain: int, tta: int) -> dict[str, Any]:
    """A card's `holdout`: `images`, of which `plain` and `tta` are wrong; no rates of none."""
    wrong = {"plain": plain, "tta": tta}
    counts = {f"wrong_{way}": count for way, count in wrong.items()}
    rates = {f"error_{w}": round(n / images, 6) if images else None for w, n in wrong.items()}
    return {"images": images, **counts, **rates}


def holdout_line(card: Mapping[str, Any]) -> str:
    """The hold-out error of a card in one line, in images: plain, then with TTA."""
    held = card["holdout"]
    if not held["images"]:
        return error_phrase(0, 0)
    plain, tta = (error_phrase(held[f"wrong_{k}"], held["images"]) for k in ("plain", "tta"))
    return f"hold-out {plain}; with TTA {tta}"


def write_card(models: Path, card: dict[str, Any]) -> Path:
    """Finish a bundle: the card, with the sha256 and size of the .pkl beside it."""
    pkl = pkl_path(models, card["name"])
    path = card_path(models, card["name"])
    write_json(path, {**card, "sha256": sha256(pkl), "bytes": pkl.stat().st_size})
    return path
