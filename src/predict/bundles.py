"""Test probabilities of finished models, in one pass over the images; saved as .test.parquet."""

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from src import bundle, competition
from src.competition import get_folds, holdout_digest
from src.core import (
    UserError,
    cache_dir,
    free_memory,
    make_variant,
    require_writable,
    sha256_lines,
    write_json,
)
from src.evidence import write_probs
from src.predict.tta import Tables, predict

# Of the free memory, for the models' files: fused graphs are copies, and images need room too.
SHARE = 0.2


def predict_bundles(
    tta: Mapping[str, Mapping[str, Any]], models: Path, data: str | Path = "", trust: bool = False
) -> list[str]:
    """Make what is missing or stale of the bundles' probabilities; return the names predicted.

    `tta`, by bundle name, changes how a model is asked: its hold-out is predicted again too.
    """
    cards = {name: _asked(models, name, tta[name], trust) for name in tta}
    folder = competition.find(data)
    images = competition.test_fingerprint(folder)
    splits = {name: bundle.stale(models, card, images) for name, card in cards.items()}
    stale = sorted(name for name in cards if splits[name])
    if stale:
        require_writable(models)
    for name in stale:
        if "valid" in splits[name]:
            _predict_valid(models, folder, cards[name], trust)
        _keep_card(models, cards[name])
    for group in groups_that_fit([cards[name] for name in cards if "test" in splits[name]]):
        _predict_test(models, folder, {card["name"]: card for card in group}, images, trust)
    return stale


def _asked(models: Path, name: str, tta: Mapping[str, Any], trust: bool) -> dict[str, Any]:
    """The card of bundle `name`, changed to be asked as `tta` says."""
    card = bundle.read_card(models, name, trust)
    return card | {"variant": make_variant(**{**card["variant"], **tta}).recipe}


def _keep_card(models: Path, card: dict) -> None:
    """Write how a model is asked now, and its errors; its sha256 stays: trust is for one run."""
    before = bundle.read_card(models, card["name"])
    if (now := card | {"sha256": before["sha256"]}) != before:
        write_json(bundle.card_path(models, card["name"]), now)


def groups_that_fit(cards: list[dict]) -> Iterator[list[dict]]:
    """The models of `cards` in groups that memory holds together; mostly that is all of them."""
    if torch.cuda.is_available():
        free = torch.cuda.mem_get_info()[0]
    else:
        free = free_memory()
    group: list[dict] = []
    for card in cards:
        if group and sum(c["bytes"] for c in [*group, card]) > free * SHARE:
            yield group
            group = []
        group.append(card)
    if group:
        yield group


def _predict_test(models: Path, folder: Path, cards: Mapping, images: str, trust: bool) -> None:
    """Predict the test images with all `cards` in one pass and write each one's file."""
    learners = {name: bundle.load(models, name, trust) for name in cards}
    _predict(models, cards, learners, "test", images, competition.test_paths(folder))


def _predict(
    models: Path, cards: Mapping, learners: Mapping, split: str, images: str, paths: Mapping
) -> dict[str, Tables]:
    """What all `learners` say of `paths`, the `images` of `split`, written; a rerun goes on."""
    variants = {name: make_variant(**card["variant"]) for name, card in cards.items()}
    asked = [json.dumps(bundle.expected_meta(c, split, images)) for c in cards.values()]
    keep = cache_dir() / f"predicting_{sha256_lines(asked)[:12]}"  # a killed run's, for the next
    tables = predict(learners, variants, paths, keep)
    for name, table in tables.items():
        _write(models, cards[name], split, images, table)
    shutil.rmtree(keep, ignore_errors=True)
    return tables


def _write(models: Path, card: Mapping, split: str, images: str, tables: Tables) -> None:
    path = bundle.probs_path(models, card["name"], split)
    meta = bundle.expected_meta(card, split, images)
    write_probs(path, tables["plain"], tables.get("views"), meta)


def _predict_valid(models: Path, folder: Path, card: dict, trust: bool) -> None:
    """Predict the hold-out of one bundle again and put the new figures into its card."""
    if competition.train_fingerprint(folder) != card["data"]:
        raise UserError(f"{card['name']} was trained on other images than {folder}; name its own")
    name, variant = card["name"], make_variant(**card["variant"])
    learners = {name: bundle.load(models, name, trust)}
    folds = get_folds(folder, variant.seed, models, variant.split)
    paths = holdout_paths(folder, folds, variant.fold)
    if holdout_digest(list(paths)) != card["held_out"]:
        raise UserError(
            f"the saved folds no longer hold out the images {name} was not trained on",
            f"bring back the folds_….csv of its training, or {bundle.retrain_remedy(name)}",
        )
    tables = _predict(models, {name: card}, learners, "valid", card["held_out"], paths)[name]
    labels = competition.train_table(folder).label
    card["holdout"] = bundle.holdout_facts(tables, labels, card["variant"]["beta"])


def holdout_paths(folder: Path, folds: pd.Series, fold: int) -> dict[str, Path]:
    """image_id → file of every training image in `fold`, sorted by id."""
    paths = competition.train_paths(folder)
    return paths[folds.loc[paths.index] == fold].to_dict()
