"""Which notebook file runs in this kernel, as far as what started the kernel knows."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

EXECUTERS = ("jupyter-nbconvert", "nbconvert", "jupyter-execute")


def notebook_stem(namespace: Mapping[str, Any]) -> str:
    """The name of the running notebook's file without its extension, empty if it is not known.

    `namespace` is the notebook's globals(): papermill (--inject-paths) and VS Code put it there.
    """
    given = namespace.get("PAPERMILL_INPUT_PATH") or namespace.get("__vsc_ipynb_file__")
    path = Path(str(given or _from_parent()))
    # Kaggle runs a copy of every notebook as __notebook__.ipynb.
    return path.stem if path.suffix == ".ipynb" and path.stem != "__notebook__" else ""


def _from_parent() -> str:
    """The notebook by the process that started this kernel: its command line, else Jupyter's
    variable, which a process further up may have set for a notebook of its own.
    """
    own = psutil.Process()
    try:
        words = own.cmdline()[1:]
        # On Windows a launcher with the same arguments stands between.
        parent = next((p for p in own.parents() if p.cmdline()[1:] != words), None)
        if path := input_of(parent.cmdline() if parent else []):
            return path
        session = os.environ.get("JPY_SESSION_NAME", "")
        inherited = parent and parent.environ().get("JPY_SESSION_NAME") == session
        return "" if inherited else session
    except psutil.Error:  # gone, or another user's
        return ""


def input_of(words: Sequence[str]) -> str:
    """The notebook a command line executes: empty if it executes none, or several."""
    names = [Path(word).stem for word in words[:3]]  # python, -m, papermill
    if "papermill" in names:
        from papermill.cli import papermill

        rest = list(words[names.index("papermill") + 1 :])
        context = papermill.make_context("papermill", rest, resilient_parsing=True)
        return context.params["notebook_path"] or "-"  # standard input
    start = next((names.index(name) + 1 for name in EXECUTERS if name in names), len(words))
    pairs = zip(words[start - 1 :], words[start:], strict=False)
    inputs = [word for before, word in pairs if before != "--output" and not word.startswith("-")]
    inputs = [word for word in inputs if word.endswith(".ipynb")]
    return inputs[0] if len(inputs) == 1 else ""
