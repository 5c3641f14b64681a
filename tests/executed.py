"""What executed notebooks show, and what papermill's user reads."""

import subprocess
from pathlib import Path

import nbformat
from conftest import cells

from src.notebook.display import NO_BREAK


def outputs(executed: Path, fragment: str) -> list[nbformat.NotebookNode]:
    """The outputs of the one code cell that has `fragment` in its source."""
    found = [c for c in cells(executed, "code") if fragment in c.source]
    assert len(found) == 1, fragment
    return found[0].outputs


def as_text(outputs: list[nbformat.NotebookNode], kind: str) -> str:
    shown = "".join(o.data[kind] for o in outputs if "data" in o and kind in o.data)
    return shown.replace(NO_BREAK, " ")


def said(executed: Path, fragment: str) -> str:
    """The text that the one cell with `fragment` in its source shows, as lines."""
    shown = [o for o in outputs(executed, fragment) if o.output_type == "display_data"]
    return as_text(shown, "text/plain")


def last_line(done: subprocess.CompletedProcess) -> str:
    """What papermill's user reads last."""
    return done.stderr.rstrip().splitlines()[-1]
