"""What a notebook was started with: papermill's parameters, checked, and the name of its file."""

import ast
import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import psutil

from src.core.config import PLACES, UserError, nearest
from src.core.files import is_plain_name
from src.core.output import terminal
from src.core.variant import Variant, make_variant, yes_or_no

Namespace = Mapping[str, Any]  # the globals() of a notebook


def check_names(namespace: Namespace, known: Sequence[str]) -> None:
    """Refuse a misspelt `-p` name: papermill itself only warns about it and goes on."""
    for name in _injected(namespace):
        if name not in known and not name.startswith("PAPERMILL_"):
            raise UserError(f"unknown parameter {name!r}; {nearest(name, tuple(known))}")


def _injected(namespace: Namespace) -> list[str]:
    """Names assigned in papermill's own cell, which starts with the comment `# Parameters`."""
    cells = [cell for cell in namespace.get("In", []) if cell.lstrip().startswith("# Parameters")]
    statements = [s for cell in cells for s in ast.parse(cell).body if isinstance(s, ast.Assign)]
    return [target.id for s in statements for target in s.targets if isinstance(target, ast.Name)]


def read_variant(namespace: Namespace) -> Variant:
    """The Variant of the parameters cell of the training notebook."""
    known = [field.name for field in fields(Variant)]
    check_names(namespace, [*known, *PLACES])
    return make_variant(**{name: namespace[name] for name in known})


def read_flag(name: str, value: Any) -> bool:
    """The parameter `name` as true or false, which papermill may have passed on as a text."""
    value = yes_or_no(value)
    if not isinstance(value, bool):
        raise UserError(f"{name}={value!r} must be true or false")
    return value


def notebook_name(namespace: Namespace) -> str:
    """The running notebook's name: of `-p notebook`, else of its file, else the default."""
    name = str(namespace["notebook"]).removesuffix(".ipynb")
    if "notebook" not in _injected(namespace):
        if stem := notebook_stem(namespace):
            name = stem
        else:
            line = (f"the file of this notebook is not known: its results are named {name}, "
                    "also if it is a copy; give another name with -p notebook NAME")
            print(line)
            print(line, file=terminal())
    if not is_plain_name(name):
        raise UserError(f"{name!r} is no name for a submission; rename the notebook, or give "
                        "another name with -p notebook NAME")
    return name


def notebook_stem(namespace: Namespace) -> str:
    """The running notebook's file without its extension; empty if it is not known."""
    # By papermill (--inject-paths) and VS Code.
    given = namespace.get("PAPERMILL_INPUT_PATH") or namespace.get("__vsc_ipynb_file__")
    path = Path(str(given or _from_parent()))
    # Kaggle runs a copy of every notebook as __notebook__.ipynb.
    return path.stem if path.suffix == ".ipynb" and path.stem != "__notebook__" else ""


def _from_parent() -> str:
    """The notebook by the process that started this kernel: its command line, or Jupyter's
    variable, unless a process further up had set it for a notebook of its own.
    """
    own, session = psutil.Process(), os.environ.get("JPY_SESSION_NAME", "")
    try:
        words = own.cmdline()[1:]
        # On Windows a launcher with the same arguments stands between.
        parent = next((p for p in own.parents() if p.cmdline()[1:] != words), None)
        if parent is None:
            return session
        if path := papermill_input(parent.cmdline()):
            return path
        inherited = parent.environ().get("JPY_SESSION_NAME") == session
        return "" if inherited else session
    except psutil.Error:  # gone, or another user's
        return ""


def papermill_input(words: Sequence[str]) -> str:
    """The notebook that a command line of papermill executes; empty if it is not papermill's."""
    names = [Path(word).stem for word in words[:3]]  # python, -m, papermill
    if "papermill" not in names:
        return ""
    from papermill.cli import papermill  # not installed everywhere, and slow

    rest = list(words[names.index("papermill") + 1 :])
    context = papermill.make_context("papermill", rest, resilient_parsing=True)
    return context.params["notebook_path"] or "-"  # standard input
