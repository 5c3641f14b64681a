"""The output of a kernel on Kaggle becomes a bundle in models/, checked file by file."""

import json
import os
from pathlib import Path
from typing import Any

from src import bundle, competition
from src.bundle import versions
from src.core import UserError, Variant, models_dir, sha256, write_json
from src.evidence import read_probs
from src.kaggle_api import kernel, session
from src.kaggle_api.kernel import PUSHED
from src.kaggle_api.session import Cut


def bring_home(variant: Variant, folder: Path) -> None:
    """Check the bundle a kernel left in `folder`/output and move it into models/, card last."""
    output, pushed = folder / "output", kernel.pushed(folder)
    card = check(variant, output, pushed["push"])
    if card["variant"] != session.limited(variant).recipe:
        (folder / PUSHED).unlink()
        raise UserError("Kaggle trained another recipe, the row was changed since; push it again")
    card |= {"variant": variant.recipe}  # the time limit was that of Kaggle's session
    if not card["commit"]:
        card |= {"commit": pushed["commit"], "dirty": pushed["dirty"]}
    cut = _cut(variant, card, pushed)
    session.write_cut(variant.name, cut)
    _move(output / "models", card)
    (folder / PUSHED).unlink()
    more = [f"ended {cut.after} for Kaggle's session; push it again to continue"] if cut else []
    for line in [bundle.holdout_line(card), *more, *remarks(card)]:
        print(f"{variant.name}: {line}", flush=True)


def _move(fetched: Path, card: dict[str, Any]) -> None:
    """The files of the folder `fetched` into models/, `card` last: until then there is none."""
    models = models_dir()
    models.mkdir(parents=True, exist_ok=True)
    bundle.card_path(models, card["name"]).unlink(missing_ok=True)
    for path in sorted(fetched.glob("*")):
        ours = path.name.startswith("folds_") and (models / path.name).exists()
        if path.suffix != ".json" and not ours:
            os.replace(path, models / path.name)
    write_json(bundle.card_path(models, card["name"]), card)


def _cut(variant: Variant, card: dict[str, Any], pushed: dict[str, Any]) -> Cut | None:
    """What the next push continues, if Kaggle's session was too short for all epochs."""
    if not session.is_cut(variant, card):
        return None
    training = card["training"]
    after = f"after epoch {training['epochs']} of {training['planned']}"
    return Cut(pushed["kernel"], pushed["part"], after)


def check(variant: Variant, output: Path, push: str) -> dict[str, Any]:
    """The card of a fetched bundle; UserError unless every file is the one this push made."""
    models, again = output / "models", "run the same command again"
    try:
        made = json.loads((output / "push.json").read_text(encoding="utf-8"))["push"]
    except (OSError, ValueError, KeyError):
        made = ""
    if made != push:
        raise UserError(f"Kaggle's output is not that of this push yet; {again}")
    card = bundle.read_card(models, variant.name)
    if sha256(bundle.pkl_path(models, variant.name)) != card["sha256"]:
        raise UserError(f"the .pkl did not arrive whole, its sha256 is not the card's; {again}")
    for split in ("valid", "test") if card["holdout"]["images"] else ("test",):
        meta = bundle.expected_meta(card, split, card["held_out"])
        if split == "test":
            del meta["images"]  # the test images are Kaggle's; here there may be none
        read_probs(bundle.probs_path(models, variant.name, split), meta)
    return card


def remarks(card: dict[str, Any]) -> list[str]:
    """What differs between Kaggle's machine and this one: versions, and the competition's data."""
    packages = {name: made for name, made in card["versions"].items() if name != "python"}
    differ = versions.differing(packages)
    said = [f"trained with {', '.join(differ)}"] if differ else []
    try:
        images = competition.train_fingerprint(competition.find())
    except UserError:
        return said
    return said + ["trained on other images than those here"] * (images != card["data"])
