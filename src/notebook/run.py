"""What the training notebook needs around its work: checked parameters, an end, pictures."""

import ast
import sys
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd

from src import bundle, competition
from src.competition import get_folds, read_corrections, require_images
from src.core import (
    PLACES,
    UserError,
    Variant,
    files,
    make_variant,
    models_dir,
    nearest,
    terminal,
    yes_or_no,
)
from src.notebook.name import notebook_stem


@dataclass(frozen=True)
class Run:
    """Where one run of the training notebook reads from and writes to."""

    folder: Path
    models: Path
    notebook: str
    folds: pd.Series
    started: float  # by time.monotonic


def read_variant(namespace: dict[str, Any]) -> Variant:
    """The Variant of the parameters cell; `namespace` is the notebook's globals().

    Raises UserError for a parameter given to papermill that the notebook does not know.
    """
    known = [field.name for field in fields(Variant)]
    check_names(namespace, [*known, *PLACES])
    return make_variant(**{name: namespace[name] for name in known})


def start(variant: Variant, data: str, models: str, notebook: str, overwrite: bool) -> Run:
    """Refuse what cannot be trained; end the notebook when this recipe is finished already."""
    from src.vision import (
        backbone,
        weights,  # need torch, which only the training notebook loads
    )

    started = time.monotonic()
    backbone.check_arch(variant)
    folder, models = competition.find(data), models_dir(models)
    read_corrections(variant, folder)
    overwrite = read_flag("overwrite", overwrite)
    if bundle.is_done(variant, models, competition.train_fingerprint(folder), overwrite):
        source = bundle.read_card(models, variant.name)["notebook"]
        print(f"finished already, by {source}: {bundle.pkl_path(models, variant.name)}; nothing to "
              "do (-p overwrite true trains it again, -p desc NAME another one beside it)",
              file=terminal())
        sys.exit(0)
    files.require_writable(models)
    weights.find(variant)
    # What `check` calls an obstacle is one here, too: after a night of training it would be late.
    require_images([*competition.train_paths(folder), *competition.test_paths(folder).values()])
    folds = get_folds(folder, variant.seed, models, variant.split)
    return Run(folder, models, notebook, folds, started)


def read_flag(name: str, value: Any) -> bool:
    """The parameter `name` as true or false, which papermill may have passed on as a text."""
    value = yes_or_no(value)
    if not isinstance(value, bool):
        raise UserError(f"{name}={value!r} must be true or false")
    return value


def check_names(namespace: dict[str, Any], known: list[str] | tuple[str, ...]) -> None:
    """Refuse a misspelt `-p` name: papermill itself only warns about it and goes on."""
    for name in _injected(namespace):
        if name not in known and not name.startswith("PAPERMILL_"):
            raise UserError(f"unknown parameter {name!r}; {nearest(name, known)}")


def _injected(namespace: dict[str, Any]) -> list[str]:
    """Names assigned in papermill's own cell, which starts with the comment `# Parameters`."""
    cells = [cell for cell in namespace.get("In", []) if cell.lstrip().startswith("# Parameters")]
    statements = [s for cell in cells for s in ast.parse(cell).body if isinstance(s, ast.Assign)]
    return [target.id for s in statements for target in s.targets if isinstance(target, ast.Name)]


def notebook_name(namespace: dict[str, Any]) -> str:
    """The running notebook's name, for card and submission: of `-p notebook`, else of its file.

    Where neither is known it is the parameter's default, and a line says so. Raises UserError
    for a name that no submission can have.
    """
    name = str(namespace["notebook"]).removesuffix(".ipynb")
    if "notebook" not in _injected(namespace):
        stem = notebook_stem(namespace)
        if not stem:
            _say_default(name)
        name = stem or name
    if not files.is_plain_name(name):
        raise UserError(f"{name!r} is no name for a submission; rename the notebook, or give its "
                        "work another name with -p notebook NAME")
    return name


def _say_default(name: str) -> None:
    """Say, in the notebook and on the terminal, that a copy would carry the original's name."""
    line = (f"a copy of this notebook cannot know its own name here: its work carries the name "
            f"{name}; give another with -p notebook NAME")
    print(line)
    print(line, file=terminal())
