"""The root, the paths and `params.yaml`; what a user did wrong, in one line."""

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from src.core.output import protect

ROOT = Path(__file__).resolve().parent.parent.parent
# Parameters of the notebook that say where things are; they change nothing in the model.
PLACES = ("data", "models", "notebook", "overwrite")
MANY = 20  # names that a line of an error has room for
ROWS = ("variants", "published", "demo")  # sections of params.yaml whose rows are variants
DEMO_MARKER = "demo.json"  # in a data folder: src/demo drew what is in it


class UserError(Exception):
    """A mistake the user can fix; its text is one line naming what is wrong and what to do.

    Where the remedy depends on the caller, it is given apart: `problem` is the text without it.
    """

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(f"{problem}; {remedy}" if remedy else problem)
        self.problem = problem

    def _render_traceback_(self) -> list[str]:
        """The line alone, without a stack: IPython calls this before it draws a traceback."""
        return [f"error: {self}"]


def command(main: Callable[[], None]) -> None:
    """Run `main`; a user's mistake or a full disk becomes one line on stderr and exit code 1."""
    sys.stdout, sys.stderr = protect(sys.stdout), protect(sys.stderr)
    try:
        main()
    except (UserError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted; what was finished stays, the same command continues from there")


def nearest(name: str, known: Iterable[str]) -> str:
    """`did you mean …?` for a misspelt `name`; else the `known` names, of many the nearest."""
    known = list(known)
    if close := get_close_matches(name, known, cutoff=0.65):
        return f"did you mean {' or '.join(map(repr, close))}?"
    if len(known) > MANY:
        return f"the nearest of {len(known):,}: {', '.join(get_close_matches(name, known, 5, 0))}"
    return f"known: {', '.join(known)}"


def require_once(names: Iterable[str], remedy: str = "name it once") -> None:
    """Refuse the first of `names` that is given twice: what the user meant is not known."""
    for name, times in Counter(names).items():
        if times > 1:
            raise UserError(f"{name} is given twice", remedy)


def work() -> Path:
    """The folder of models/, submissions/ and runs: `PADDY_WORK`, else the repository."""
    return Path(os.environ.get("PADDY_WORK") or ROOT).expanduser().resolve()


def models_dir(models: str | Path = "") -> Path:
    """`models`, if given, else models/ of the work folder."""
    return Path(str(models)).expanduser().resolve() if models else work() / "models"


def submissions_dir() -> Path:
    """Where submissions and their provenance are written."""
    return work() / "submissions"


def cache_dir() -> Path:
    """Where shrunk copies and unfinished predictions are stored; it may be deleted at any time."""
    return work() / "cache"


def runs_dir() -> Path:
    """Where executed notebooks are stored, one per variant."""
    return work() / "notebooks" / "runs"


def sweep_dir() -> Path:
    """Where a sweep writes logs, locks, progress and failed attempts, by the names of its rows."""
    return work() / "sweep"


def review_dir() -> Path:
    """Where pages for a person are written, and the lists that came of them."""
    return work() / "review"


@cache
def load_params() -> dict[str, Any]:
    """params.yaml as it stands, read once; UserError unless its sections are all there."""
    try:
        loader = yaml.SafeLoader((ROOT / "params.yaml").read_text(encoding="utf-8"))
        _refuse_doubles(node := loader.get_single_node())
        params = loader.construct_document(node) if node else None
    except yaml.YAMLError as error:
        problem = " ".join(str(error).split())
        raise UserError(f"params.yaml is no readable YAML ({problem}); fix that line") from error
    for name in ("competition", "train", "predict", *ROWS):
        if not isinstance(params, dict) or not isinstance(params.get(name), dict):
            raise UserError(f"params.yaml has no section {name!r}; write it there")
    keys = [f"params.yaml: row {key!r}" for name in ROWS for key in params[name]]
    require_once(keys, "give one of them a desc, and the name it derives as its key")
    for key, row in rows_of(params).items():
        if not isinstance(row, dict):
            raise UserError(f"params.yaml: row {key!r} has no fields; write {{arch: vit_small}}")
    return params


def rows_of(params: dict[str, Any]) -> dict[str, Any]:
    """The rows of all sections, key → row."""
    return {key: row for name in ROWS for key, row in params[name].items()}


def _refuse_doubles(node: yaml.Node | None) -> None:
    """A key written twice is a row copied and not renamed; YAML would take the last."""
    if not isinstance(node, yaml.MappingNode):
        return
    seen = set()
    for key, value in node.value:
        if key.value in seen:
            problem = f"{key.value!r} stands there a second time"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
        seen.add(key.value)
        _refuse_doubles(value)
