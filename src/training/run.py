"""One run of the training notebook: checked before any work, described, and what comes next."""

import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from src import bundle, competition, core
from src.core import ROOT, UserError, Variant, terminal
from src.training.callbacks.epochs import require_tracker
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
    core.reuse_memory()
    backbone.check_arch(variant)
    require_tracker()
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
    tests = competition.test_paths(folder).values()
    competition.require_images([*competition.train_paths(folder), *tests])
    folds = competition.get_folds(folder, variant.seed, models, variant.split)
    return Run(folder, models, notebook, folds, started)


def variant_table(variant: Variant, run: Run) -> pd.DataFrame:
    """The variant for a reader: name, data, images, and the fields that are not the defaults."""
    held = run.folds.index[run.folds == variant.fold]
    excluded = competition.read_corrections(variant, run.folder).exclude.difference(held)
    trained = len(run.folds) - len(held) - len(excluded)
    rows = [["name", variant.name, ""], ["data", run.folder, ""],
            ["images trained on", f"{trained:,}", ""], ["images held out", f"{len(held):,}", ""]]
    default = core.make_variant().recipe
    rows += [[name, value, default[name]] for name, value in variant.recipe.items()
             if value != default[name]]
    return pd.DataFrame(rows, columns=["", "this variant", "default"]).astype(str)


def next_steps(pkl: Path, run: Run) -> str:
    """What was written, its hold-out error, and the commands that follow, a line each."""
    card = bundle.read_card(run.models, pkl.stem)
    lines = [f"Written: {pkl} and its card", f"{pkl.stem}: {bundle.holdout_line(card)}"]
    if (ROOT / ENSEMBLE).is_file():
        lines += _commands(run)
    else:  # on Kaggle
        lines.append("The push command downloads them into models/.")
    return "\n".join(lines)


def _commands(run: Run) -> list[str]:
    """The commands that average this model with others, and the folders they would not find."""
    command = ["python", "-m", "src.ensemble"]
    papermill = ["papermill", ENSEMBLE, "notebooks/runs/ensemble.ipynb"]
    try:
        found = competition.find() == run.folder
    except UserError:
        found = False
    sources = {card["notebook"] for card in bundle.read_cards(run.models)[0].values()}
    if len(sources) > 1:  # which the command does not average unless one is named
        command += ["--notebook", run.notebook]
    if not found:
        command += ["--data", str(run.folder)]
        papermill += ["-p", "data", str(run.folder)]
    if run.models != core.models_dir():  # the command knows of no other folder of models
        return [shlex.join([*papermill, "-p", "models", str(run.models)])]
    return ["Average all finished models and write a submission:", shlex.join(command),
            "The same, with figures:", shlex.join(papermill)]
