"""What executed notebooks show, and what papermill's user reads."""

import subprocess
from pathlib import Path

import nbformat
from conftest import cells


def outputs(executed: Path, fragment: str) -> list[nbformat.NotebookNode]:
    """The outputs of the one code cell that has `fragment` in its source."""
    (found,) = [c for c in cells(executed, "code") if fragment in c.source]
    return found.outputs


def pictures(executed: Path, fragment: str) -> list[int]:
    """The sizes in bytes of the pictures of that cell."""
    shown = [o.get("data", {}).get("image/png") for o in outputs(executed, fragment)]
    return [len(png) for png in shown if png]


def text_of(executed: Path, fragment: str) -> str:
    """The text that `show_text` shows in that cell."""
    shown = [o for o in outputs(executed, fragment) if o.output_type == "display_data"]
    return "".join(o.data.get("text/plain", "") for o in shown)


def html_of(executed: Path, fragment: str) -> str:
    """The table of that cell."""
    return "".join(o.get("data", {}).get("text/html", "") for o in outputs(executed, fragment))


def run_without_error(executed: Path) -> None:
    """Assert that all cells were run, and printed nothing past `show_text`."""
    code = cells(executed, "code")
    assert all(cell.execution_count for cell in code)
    assert {o.output_type for c in code for o in c.outputs} == {"execute_result", "display_data"}


def last_line(done: subprocess.CompletedProcess) -> str:
    """What papermill's user reads last."""
    return done.stderr.rstrip().splitlines()[-1]
