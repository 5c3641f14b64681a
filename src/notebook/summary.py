"""What the training notebook says of its variant: at the start what it is, at the end what next."""

import shlex
from pathlib import Path

import pandas as pd

from src import bundle, competition
from src.competition import read_corrections
from src.core import ROOT, UserError, Variant, make_variant, models_dir
from src.notebook.run import Run

ENSEMBLE = "notebooks/paddy_ensemble.ipynb"


def variant_table(variant: Variant, run: Run) -> pd.DataFrame:
    """The variant for a reader: name, data, images, and the fields that are not the defaults."""
    trained, held = image_counts(variant, run)
    rows = [
        ["name", variant.name, ""],
        ["data", run.folder, ""],
        ["images trained on", f"{trained:,}", ""],
        ["images held out", f"{held:,}" if held else "none, so no error will be known", ""],
    ]
    default = make_variant().recipe
    for name, value in variant.recipe.items():
        if value != default[name]:
            rows += [[name, *("(empty)" if v == "" else v for v in (value, default[name]))]]
    return pd.DataFrame(rows, columns=["", "this variant", "default"]).astype(str)


def image_counts(variant: Variant, run: Run) -> tuple[int, int]:
    """How many images `variant` is trained on, and how many are held out."""
    held = run.folds.index[run.folds == variant.fold]
    excluded = read_corrections(variant, run.folder).exclude.difference(held)
    return len(run.folds) - len(held) - len(excluded), len(held)


def next_steps(pkl: Path, run: Run) -> str:
    """What was written, its hold-out error, and the commands that follow, a line each."""
    card = bundle.read_card(run.models, pkl.stem)
    probs = " and hold-out probabilities" * bool(card["holdout"]["images"])
    lines = [f"Written: {pkl} with its card{probs}", f"{pkl.stem}: {bundle.holdout_line(card)}"]
    if (ROOT / ENSEMBLE).is_file():
        lines += _commands(run)
    else:  # a kernel on Kaggle, which holds the package alone
        lines += ["The command that pushed this kernel brings them into models/ at home."]
    return "\n".join(lines)


def _commands(run: Run) -> list[str]:
    """The commands with which this model votes, with the folders that they would not find."""
    data = [] if _is_found(run.folder) else [str(run.folder)]
    models = [] if run.models == models_dir() else [str(run.models)]
    sources = {card["notebook"] for card in bundle.read_cards(run.models)[0].values()}
    named = ["--notebook", run.notebook] if sources != {run.notebook} else []
    drawn = ["papermill", ENSEMBLE, "notebooks/runs/vote.ipynb"]
    drawn += [word for folder in data for word in ("-p", "data", folder)]
    drawn += [word for folder in models for word in ("-p", "models", folder)]
    lines = ["Next, all finished models vote and a submission is written:"]
    if not models:  # the command knows of no other folder of models
        plain = ["python", "-m", "src.ensemble", *named, *(["--data", *data] if data else [])]
        lines += [shlex.join(plain), "The same, with its evidence drawn:"]
    return [*lines, shlex.join(drawn)]


def _is_found(folder: Path) -> bool:
    """Whether commands find the competition in `folder` by themselves."""
    try:
        return competition.find() == folder
    except UserError:
        return False
