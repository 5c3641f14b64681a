"""Commands called in this process, and bundles made by hand: no model is inside, none is needed."""

import io
import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from subprocess import CompletedProcess
from types import MappingProxyType
from unittest.mock import patch

import numpy as np
import pandas as pd
from conftest import TINY

from src import bundle, competition
from src.competition import digest, get_folds
from src.core import Variant, command, make_variant, sha256, sha256_lines
from src.evidence import read_probs, write_probs

CLASSES = ["disease_a", "disease_b", "disease_c"]  # of conftest's competition
RESNET, VIT = "test_resnet_squish_32", "test_vit_squish_32"  # what its notebook trained


def call(main: Callable[[], None], *words: object) -> CompletedProcess:
    """What a command answers to `words`, without the seconds a new process takes to start."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with patch.object(sys, "argv", ["command", *map(str, words)]):
        with redirect_stdout(out), redirect_stderr(err):
            try:
                command(main)
            except SystemExit as stop:  # a text is printed by the interpreter, which exits with 1
                code = stop.code or 0
                if isinstance(code, str):
                    print(code, file=sys.stderr)
                    code = 1
    return CompletedProcess(words, code, out.getvalue(), err.getvalue())


def refused(done: CompletedProcess) -> str:
    """The one `error:` line that a refusal ends with; anything else fails."""
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 1 and lines, done
    assert lines[-1].startswith("error: ") and "Traceback" not in done.stderr, done.stderr
    assert done.stderr.count("error:") == 1 and len(lines[-1]) > len("error: "), done.stderr
    return lines[-1]


def snapshot(*folders: Path) -> dict[str, str]:
    """path → sha256 of every file below `folders`, hidden ones too."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {str(path): sha256(path) for path in files}


def sure(labels: Mapping[str, str], classes: list[str], share: float = 0.8) -> pd.DataFrame:
    """A table that gives `share` to the label of each image, the rest to the other classes."""
    right = np.array(list(labels.values()), dtype=object)[:, None] == np.array(classes)
    values = np.where(right, share, (1 - share) / (len(classes) - 1)).reshape(-1, len(classes))
    return pd.DataFrame(values, pd.Index(list(labels), name="image_id"), classes)


def random_table(data: Path, seed: int, classes: list[str] = CLASSES) -> pd.DataFrame:
    """Probabilities of the test images without any sense."""
    ids = pd.Index(competition.sample(data).image_id, name="image_id")
    values = np.random.default_rng(seed).dirichlet(np.ones(len(classes)), len(ids))
    return pd.DataFrame(values, ids, classes)


def spoil(path: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """`change` the rows of a probability file behind the back of its contract."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    metadata = pq.read_schema(path).metadata
    table = pa.Table.from_pandas(change(pd.read_parquet(path)))
    schema = {**table.schema.metadata, b"paddy": metadata[b"paddy"]}
    pq.write_table(table.replace_schema_metadata(schema), path)


def bundle_in(
    models: Path, folder: Path, name: str, family: str = "vit",
    valid: pd.DataFrame | None = None, test: pd.DataFrame | None = None,
    views: tuple[pd.DataFrame, pd.DataFrame] | tuple[None, None] = (None, None),
    model: bytes = b"", **card: object,
) -> dict:
    """A finished bundle for the competition in `folder`, without TTA; the card's content.

    By default it is right about every image; the .pkl beside it holds its name, or `model`.
    `views` are the means of its TTA views of the hold-out and of the test set.
    """
    truth, classes = competition.train_table(folder).label, competition.classes(folder)
    valid = sure(dict(truth.iloc[:6]), classes) if valid is None else valid
    test = sure(dict(competition.solution(folder)), classes) if test is None else test
    models.mkdir(parents=True, exist_ok=True)
    pkl = bundle.pkl_path(models, name)
    pkl.write_bytes(model or name.encode())
    content = {
        "name": name, "family": family, "classes": classes,
        "variant": make_variant(arch="test_vit", tta="none").recipe,
        "versions": {"fastai": "2.8.12"}, "notebook": "paddy_train",
        "commit": "c0ffee", "dirty": False,
        "data": competition.train_fingerprint(folder), "held_out": sha256_lines(list(valid.index)),
        "holdout": bundle.holdout_facts({"plain": valid}, truth, 0.25),
        "sha256": sha256(pkl), "bytes": pkl.stat().st_size, **card,
    }  # fmt: skip
    bundle.write_card(models, content)
    images = competition.test_fingerprint(folder)
    seen = {"valid": (valid, views[0], content["held_out"]), "test": (test, views[1], images)}
    for split, (plain, augmented, digest_of) in seen.items():
        if not plain.empty:  # nothing was held out
            meta = bundle.expected_meta(content, split, digest_of)
            write_probs(bundle.probs_path(models, name, split), plain, augmented, meta)
    return content


def variant_in(
    models: Path, folder: Path, test: pd.DataFrame | None = None, wrong: int = 0,
    augmented: tuple[pd.DataFrame, pd.DataFrame] | None = None,
    card: Mapping[str, object] = MappingProxyType({}), **changes: object,
) -> str:
    """A finished bundle of a ViT with these `changes` under its own name, which is returned.

    Of its fold's images it has all right but the first `wrong`; `augmented` as in `bundle_in`.
    """
    usual = {"arch": "test_vit", "tta": "random" if augmented else "none"}
    variant = make_variant(**usual | changes)
    folds = get_folds(folder, variant.seed, models, variant.split)
    labels, classes = competition.train_table(folder).label, competition.classes(folder)
    labels = labels[folds == variant.fold]
    predicted = labels.copy()
    predicted.iloc[:wrong] = [classes[label == classes[0]] for label in labels.iloc[:wrong]]
    valid = sure(dict(predicted), classes)
    tables = {"plain": valid, "views": augmented[0] if augmented else valid}
    held = bundle.holdout_facts(tables if len(valid) else {}, labels, variant.beta)
    facts = {"variant": variant.recipe, "folds": digest(folds), "holdout": held, **card}
    family = variant.arch.removeprefix("test_")
    bundle_in(models, folder, variant.name, family, valid, test, augmented or (None, None), **facts)
    return variant.name


def three_in(models: Path, data: Path) -> None:
    """Bundles of two ViTs and a ResNet that disagree about the test images."""
    kinds = {"vit_one": "vit", "vit_two": "vit", "resnet_one": "resnet"}
    for seed, (name, family) in enumerate(kinds.items()):
        bundle_in(models, data, name, family, test=random_table(data, seed))


def strong_and_weak_in(models: Path, data: Path) -> None:
    """A ViT that is always right, but never sure, beside two models that are surely wrong.

    The weak ones have every third image wrong, and so has the equal mean.
    """
    truth, classes = competition.train_table(data).label, competition.classes(data)
    next_one = dict(zip(classes, [*classes[1:], classes[0]], strict=True))
    weak = truth.where(np.arange(len(truth)) % 3 > 0, truth.map(next_one))
    bundle_in(models, data, "strong", "vit", valid=sure(dict(truth), classes, 0.6))
    for name, share in (("weak_one", 0.7), ("weak_two", 0.75)):
        bundle_in(models, data, name, "resnet", valid=sure(dict(weak), classes, share))


def record(models: Path, name: str = "paddy_train") -> dict:
    return json.loads((models.parent / "submissions" / f"{name}.json").read_text())


def labels_of(models: Path, name: str = "paddy_train") -> pd.Series:
    """The labels of a submission, by image id."""
    return pd.read_csv(models.parent / "submissions" / f"{name}.csv", index_col="image_id").label


def probabilities(models: Path, name: str = "paddy_train") -> pd.DataFrame:
    """The averaged probabilities beside a submission."""
    return read_probs(models.parent / "submissions" / f"{name}.parquet")[0]["plain"]


def weights_of(models: Path) -> dict[str, float]:
    return {member["name"]: member["weight"] for member in record(models)["members"]}


def predicted(trained: Path, folder: Path, work: Path) -> Path:
    """A copy of the folder `trained` at `work`, where both models have predicted the test set."""
    from src.predict.__main__ import main

    shutil.copytree(trained, work)
    with patch.dict(os.environ, PADDY_WORK=str(work), PADDY_DATA=str(folder)):
        done = call(main, RESNET, VIT)
    assert done.stdout == f"{RESNET}: predicted\n{VIT}: predicted\n", done.stderr
    return work


def tables_of(models: Path, name: str, split: str = "test") -> tuple[dict, dict]:
    """The probabilities of a bundle by view, and their metadata."""
    return read_probs(bundle.probs_path(models, name, split))


def learner(models: Path, name: str) -> object:
    """The Learner as plain fastai loads it."""
    from fastai.learner import load_learner

    return load_learner(bundle.pkl_path(models, name))


def variant(name: str, **changes: object) -> Variant:
    """The recipe of a model that conftest's notebook trained, with `changes`."""
    return make_variant(**{**TINY, "arch": name.removesuffix("_squish_32"), **changes})


def settings(tta: str = "random", views: int = 2) -> dict:
    return {"tta": tta, "views": views, "beta": 0.25, "seed": 42}
