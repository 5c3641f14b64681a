"""TTA for one or many models in one pass over the images: each is decoded once.

    python -m src.predict vit_small_squish_224 …           missing or stale probabilities
    python -m src.predict vit_small_squish_224 --tta none  the same model, asked another way

How a model is asked is, first of these that is there: the flags, its row of params.yaml, its card.
"""

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from fastai.vision.all import Learner, Pipeline, TensorImage, set_seed
from torch.utils.data import DataLoader
from tqdm import tqdm

from src import bundle, competition
from src.config import (
    TTAS,
    UserError,
    command,
    load_variants,
    make_variant,
    models_dir,
    terminal,
)
from src.data import open_image, workers
from src.files import sha256_lines, write_json
from src.folds import get_folds
from src.probs import is_fresh, write_probs

Tables = dict[str, pd.DataFrame]  # by view: "plain" and, with TTA, "views", the views' mean
BATCH = 32


class Resized:
    """Images by number: decoded once, then resized in each of the ways the models ask for."""

    def __init__(self, paths: list[Path], resizes: dict[str, Pipeline]) -> None:
        self.paths, self.resizes = paths, resizes

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        image = open_image(self.paths[number])
        return {key: torch.Tensor(resize(image)).byte() for key, resize in self.resizes.items()}


def predict(
    learners: Mapping[str, Learner],
    paths: Mapping[str, Path],
    tta: Mapping[str, Mapping[str, Any]],
) -> dict[str, Tables]:
    """Tables of every learner for `paths` (image_id → file); `tta` holds each one's settings."""
    resizes = {_resize_key(learn): learn.dls.valid.after_item for learn in learners.values()}
    for learn in learners.values():
        learn.model.eval()
        learn.dls.valid.after_item.split_idx = 1
    loader = DataLoader(Resized(list(paths.values()), resizes), BATCH, num_workers=workers())
    parts: dict[str, list[dict[str, torch.Tensor]]] = {name: [] for name in learners}
    bar = tqdm(total=len(paths), unit=" images", desc="predict", file=terminal())
    with bar, torch.inference_mode():
        for number, batch in enumerate(_readable(loader)):
            for name, learn in learners.items():
                images = batch[_resize_key(learn)].to(next(learn.model.parameters()).device)
                parts[name].append(_ask(learn, images, tta[name], number))
            bar.update(len(images))
    return {
        name: _tables(part, list(paths), learners[name].dls.vocab) for name, part in parts.items()
    }


def _readable(loader: DataLoader) -> Iterator[dict[str, torch.Tensor]]:
    """The batches; an unreadable image is told in one line, without the worker's traceback."""
    try:
        yield from loader
    except UserError as error:
        raise UserError(str(error).strip().splitlines()[-1].partition("UserError: ")[2]) from error


def _resize_key(learn: Learner) -> str:
    return repr(learn.dls.valid.after_item)


def _ask(learn: Learner, images: torch.Tensor, tta: Mapping, number: int) -> dict:
    """Probabilities (n_images, n_classes) of one batch by view; seeded by the batch's number."""
    answers = {"plain": _forward(learn, images, split_idx=1)}
    if tta["tta"] != "none":
        set_seed(tta["seed"] * 1_000_003 + number)  # fastai draws from torch, numpy and Python
        views = [_forward(learn, images, split_idx=0) for _ in range(tta["views"])]
        answers["views"] = torch.stack(views).mean(0)
    return answers


def _forward(learn: Learner, images: torch.Tensor, split_idx: int) -> torch.Tensor:
    """The model's probabilities after its own batch transforms: 0 as in training, 1 plain."""
    pipeline = learn.dls.valid.after_batch
    pipeline.split_idx = split_idx
    x = pipeline((TensorImage(images),))[0]
    return learn.loss_func.activation(learn.model(torch.Tensor(x))).float().cpu()


def _tables(parts: list[dict], images: list[str], vocab: list[str]) -> Tables:
    index = pd.Index(images, name="image_id")
    return {
        view: pd.DataFrame(torch.cat([p[view] for p in parts]).numpy(), index, list(vocab))
        for view in parts[0]
    }


def predict_bundles(
    tta: Mapping[str, Mapping[str, Any]], models: Path, data: str | Path = "", trust: bool = False
) -> list[str]:
    """Make what is missing or stale of the bundles' probabilities; return the names predicted.

    `tta`, by bundle name, changes how a model is asked: its hold-out is predicted again too.
    """
    cards = {name: bundle.read_card(models, name) for name in tta}
    for name, card in cards.items():
        card["variant"] = make_variant(**{**card["variant"], **tta[name]}).recipe
    folder = competition.find(data)
    images = competition.test_fingerprint(folder)
    stale_valid = [n for n, c in cards.items() if not _is_fresh(models, c, "valid", c["held_out"])]
    stale_test = [n for n, c in cards.items() if not _is_fresh(models, c, "test", images)]
    stale = sorted({*stale_valid, *stale_test})
    learners = {name: bundle.load(models, name, trust) for name in stale}
    for name in stale_valid:
        _predict_valid(models, folder, cards[name], learners[name])
    if stale_test:
        settings = {name: bundle.tta_settings(cards[name]) for name in stale_test}
        subset = {name: learners[name] for name in stale_test}
        for name, tables in predict(subset, competition.test_paths(folder), settings).items():
            _write(models, cards[name], "test", images, tables)
    return stale


def _is_fresh(models: Path, card: Mapping, split: str, images: str) -> bool:
    path = bundle.probs_path(models, card["name"], split)
    return is_fresh(path, bundle.expected_meta(card, split, images))


def _write(models: Path, card: Mapping, split: str, images: str, tables: Tables) -> None:
    path = bundle.probs_path(models, card["name"], split)
    meta = bundle.expected_meta(card, split, images)
    write_probs(path, tables["plain"], tables.get("views"), meta)


def _predict_valid(models: Path, folder: Path, card: dict, learn: Learner) -> None:
    """Predict the hold-out of one bundle again and put the new figures into its card."""
    if competition.train_fingerprint(folder) != card["data"]:
        raise UserError(f"{card['name']} was trained on other images than {folder}; name its own")
    folds = get_folds(folder, card["variant"]["seed"], models)
    paths = holdout_paths(folder, folds, card["variant"]["fold"])
    name, tta = card["name"], bundle.tta_settings(card)
    tables = predict({name: learn}, paths, {name: tta})[name]
    labels = competition.train_table(folder).label
    card["holdout"] = bundle.holdout_facts(tables, labels, card["variant"]["beta"])
    _write(models, card, "valid", card["held_out"], tables)
    write_json(bundle.card_path(models, name), card)  # the sha256 stays: trust is for one run


def holdout_paths(folder: Path, folds: pd.Series, fold: int) -> dict[str, Path]:
    """image_id → file of every training image in `fold`, sorted by id."""
    paths = competition.train_paths(folder)
    return paths[folds.loc[paths.index] == fold].to_dict()


def holdout_digest(images: list[str]) -> str:
    """The fingerprint a hold-out file carries: of its image ids, in any order."""
    return sha256_lines(list(images))


def main() -> None:
    """The command: see the module's first lines."""
    parser = argparse.ArgumentParser(prog="python -m src.predict", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", metavar="NAME", help="finished models")
    parser.add_argument("--tta", choices=TTAS, help="the kind of augmented views")
    parser.add_argument("--views", type=int, help="augmented views per image")
    parser.add_argument("--beta", type=float, help="share of the plain view in the average")
    parser.add_argument("--data", default="", help="the competition's folder")
    parser.add_argument("--trust", action="store_true", help="load a .pkl of another sha256")
    args = parser.parse_args()
    flags = {key: value for key in bundle.TTA_FIELDS if (value := getattr(args, key)) is not None}
    tta = {name: _row_settings(name) | flags for name in args.names}
    done = predict_bundles(tta, models_dir(), args.data, args.trust)
    for name in args.names:
        print(f"{name}: {'predicted' if name in done else 'up to date'}")


def _row_settings(name: str) -> dict[str, Any]:
    row = load_variants().get(name)
    return {key: row.recipe[key] for key in bundle.TTA_FIELDS} if row else {}


if __name__ == "__main__":
    command(main)
