"""The output of a kernel becomes a bundle in models/, after every file is checked."""

import json
import os
from pathlib import Path
from typing import Any

from src import bundle, competition
from src.bundle import versions
from src.core import UserError, Variant, models_dir, sha256, write_json
from src.kaggle_api.kernel import CUT, PUSHED, is_cut, kernels_dir, limited, write_note


def install(variant: Variant, push: dict[str, Any]) -> None:
    """Check the bundle that the kernel of `push` left in output/ and move it into models/."""
    output = kernels_dir() / variant.name / "output"
    card = check(variant, output, push["push"])
    if card["variant"] != limited(variant).recipe:
        write_note(PUSHED, variant.name, {})
        raise UserError("Kaggle trained another recipe, the row was changed since; push it again")
    lines = [bundle.holdout_line(card)]
    cut = {}
    if is_cut(variant, card):
        after = f"after epoch {card['training']['epochs']} of {card['training']['planned']}"
        cut = {"kernel": push["kernel"], "part": push["part"], "after": after}
        lines.append(f"ended {after} for Kaggle's session; push it again to continue")
    write_note(CUT, variant.name, cut)
    card |= {"variant": variant.recipe}  # the time limit was that of Kaggle's session
    if not card["commit"]:
        card |= {"commit": push["commit"], "dirty": push["dirty"]}
    _move(output / "models", card)
    write_note(PUSHED, variant.name, {})
    for line in lines + _differences(card):
        print(f"{variant.name}: {line}", flush=True)


def check(variant: Variant, output: Path, push: str) -> dict[str, Any]:
    """The card of a fetched bundle; UserError unless every file is the one of this `push`."""
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
    for split in bundle.splits(card):
        bundle.read_predictions(models, card, split)  # of Kaggle's test images; none may be here
    return card


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


def _differences(card: dict[str, Any]) -> list[str]:
    """What differs between Kaggle's machine and this one: versions, and the competition's data."""
    packages = {name: made for name, made in card["versions"].items() if name != "python"}
    lines = []
    if differ := versions.differing(packages):
        lines.append(f"trained with {', '.join(differ)}")
    try:
        if competition.train_fingerprint(competition.find()) != card["data"]:
            lines.append("trained on other images than those here")
    except UserError:
        pass  # there are no images here to compare with
    return lines
