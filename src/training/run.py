"""One run of the training notebook: checked before any work, described, and what comes next."""

import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from src import bundle, competition, core
from src.core import ROOT, UserError, Variant, terminal
from src.vision import backbone, weights

ENSEMBLE = "notebooks/paddy_ensemble.ipynb"


@dataclass(frozen=True)
class Run:
    """Where one run of the training notebook reads from and writes to."""

    folder: Path
    models: Path
    notebook: str
    folds: pd.Series
    started: float  # by time.monotonic


def start(variant: Variant, data: str, models: str, notebook: str, overwrite: bool) -> Run:
    """Refuse what cannot be trained; end the notebook when this recipe is finished already."""
    started = time.monotonic()
    backbone.check_arch(variant)
    folder, models = competition.find(data), core.models_dir(models)
    competition.read_corrections(variant, folder)
    overwrite = core.read_flag("overwrite", overwrite)
    if bundle.is_done(variant, models, competition.train_fingerprint(folder), overwrite):
        source = bundle.read_card(models, variant.name)["notebook"]
        print(f"finished already, by {source}: {bundle.pkl_path(models, variant.name)}; nothing to "
              "do (-p overwrite true trains it again, -p desc NAME another one beside it)",
              file=terminal())
        sys.exit(0)
    core.require_writable(models)
    weights.find(variant)
    # Test images too: after a night of training it would be late.
    competition.require_images(
        [*competition.train_paths(folder), *competition.test_paths(folder).values()]
    )
    folds = competition.get_folds(folder, variant.seed, models, variant.split)
    return Run(folder, models, notebook, folds, started)


def variant_table(variant: Variant, run: Run) -> pd.DataFrame:
    """The variant for a reader: name, data, images, and the fields that are not the defaults."""
    held = run.folds.index[run.folds == variant.fold]
    excluded = competition.read_corrections(variant, run.folder).exclude.difference(held)
    rows = [
        ["name", variant.name, ""],
        ["data", run.folder, ""],
        ["images trained on", f"{len(run.folds) - len(held) - len(excluded):,}", ""],
        ["images held out", f"{len(held):,}", ""],
    ]
    default = core.make_variant().recipe
    for name, value in variant.recipe.items():
        if value != default[name]:
            rows.append([name, value, default[name]])
    return pd.DataFrame(rows, columns=["", "this variant", "default"]).astype(str)


def next_steps(pkl: Path, run: Run) -> str:
    """What was written, its hold-out error, and the commands that follow, a line each."""
    card = bundle.read_card(run.models, pkl.stem)
    lines = [f"Written: {pkl} and its card", f"{pkl.stem}: {bundle.holdout_line(card)}"]
    if (ROOT / ENSEMBLE).is_file():
        return "\n".join([*lines, *_commands(run)])
    return "\n".join([*lines, "The push command downloads them into models/."])  # on Kaggle


def _commands(run: Run) -> list[str]:
    """The commands with which this model votes, with the folders that they would not find."""
    data = [] if _is_found(run.folder) else [str(run.folder)]
    papermill = ["papermill", ENSEMBLE, "notebooks/runs/vote.ipynb"]
    for folder in data:
        papermill += ["-p", "data", folder]
    if run.models != core.models_dir():  # the command knows of no other folder of models
        return [shlex.join([*papermill, "-p", "models", str(run.models)])]
    command = ["python", "-m", "src.ensemble", *(["--data", *data] if data else [])]
    return ["All finished models vote, and a submission is written:", shlex.join(command),
            "The same, with its evidence drawn:", shlex.join(papermill)]


def _is_found(folder: Path) -> bool:
    """Whether commands find the competition in `folder` by themselves."""
    try:
        return competition.find() == folder
    except UserError:
        return False
