"""Test probabilities of finished models, in one pass over the images; saved as .test.parquet."""

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from src import bundle, competition, core
from src.core import UserError, make_variant
from src.evidence import write_probs
from src.predict.tta import Tables, predict

SHARE = 0.2  # of the free memory, for the models' files: the rest is for images and activations


def predict_bundles(
    tta: Mapping[str, Mapping[str, Any]], models: Path, data: str | Path = "", trust: bool = False
) -> list[str]:
    """Predict what is missing or stale of the bundles' probabilities; return the names predicted.

    `tta`, by bundle name, are new TTA settings: with them the hold-out is predicted again too.
    """
    cards = {}
    for name, settings in tta.items():
        card = bundle.read_card(models, name, trust)
        cards[name] = card | {"variant": make_variant(**card["variant"] | settings).recipe}
    folder = competition.find(data)
    images = competition.test_fingerprint(folder)
    splits = {name: bundle.stale(models, card, images) for name, card in cards.items()}
    stale = sorted(name for name in cards if splits[name])
    if stale:
        core.require_writable(models)
    for name in stale:
        if "valid" in splits[name]:
            _predict_valid(models, folder, cards[name], trust)
        saved = bundle.read_card(models, name)
        card = cards[name] | {"sha256": saved["sha256"]}  # --trust is for one run
        if card != saved:
            core.write_json(bundle.card_path(models, name), card)
    stale_test = [cards[name] for name in cards if "test" in splits[name]]
    paths = competition.test_paths(folder) if stale_test else {}
    for group in groups_that_fit(stale_test):
        _predict(models, group, "test", images, paths, trust)
    return stale


def groups_that_fit(cards: list[dict]) -> Iterator[list[dict]]:
    """The `cards` in groups whose models fit into memory together; mostly one group."""
    free = torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else core.free_memory()
    group: list[dict] = []
    for card in cards:
        if group and sum(c["bytes"] for c in [*group, card]) > free * SHARE:
            yield group
            group = []
        group.append(card)
    if group:
        yield group


def _predict(
    models: Path, cards: list[dict], split: str, images: str, paths: Mapping, trust: bool
) -> dict[str, Tables]:
    """Predict `paths`, the `images` of `split`, with all `cards`; resumes an interrupted run."""
    learners = {card["name"]: bundle.load(models, card["name"], trust) for card in cards}
    variants = {card["name"]: make_variant(**card["variant"]) for card in cards}
    metas = {card["name"]: bundle.expected_meta(card, split, images) for card in cards}
    key = core.sha256_lines([json.dumps(meta) for meta in metas.values()])
    unfinished = core.cache_dir() / f"predicting_{key[:12]}"
    tables = predict(learners, variants, paths, unfinished)
    for name, views in tables.items():
        path = bundle.probs_path(models, name, split)
        write_probs(path, views["plain"], views.get("views"), metas[name])
    shutil.rmtree(unfinished, ignore_errors=True)
    return tables


def _predict_valid(models: Path, folder: Path, card: dict, trust: bool) -> None:
    """Predict the hold-out of one bundle again; its new errors go into `card`."""
    if competition.train_fingerprint(folder) != card["data"]:
        raise UserError(f"{card['name']} was trained on other images than {folder}; name its own")
    name, variant = card["name"], make_variant(**card["variant"])
    folds = competition.get_folds(folder, variant.seed, models, variant.split)
    paths = competition.train_paths(folder)
    paths = paths[folds.loc[paths.index] == variant.fold].to_dict()
    if competition.holdout_digest(list(paths)) != card["held_out"]:
        raise UserError(
            f"the saved folds no longer hold out the images {name} was not trained on",
            f"restore the folds_….csv of its training, or {bundle.retrain_remedy(name)}",
        )
    tables = _predict(models, [card], "valid", card["held_out"], paths, trust)[name]
    labels = competition.train_table(folder).label
    card["holdout"] = bundle.holdout_facts(tables, labels, variant.beta)
