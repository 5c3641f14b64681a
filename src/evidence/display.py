"""How results look: text and tables in a notebook, and what all figures share."""

import io
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from html import escape
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas.io.formats.style import Styler

COMMANDS = ("kaggle ", "papermill ", "python ", "export ")
PARAGRAPH = "margin: 0.3em 0; text-align: left; overflow-wrap: anywhere; white-space: pre-wrap"
# Of Okabe and Ito's palette: distinct for colour-blind readers, and in grey.
BLUE, ORANGE, GREY, PALE = "#0072B2", "#D55E00", "#8C8C8C", "#E5E5E5"


class Text:
    """Lines that a notebook shows as paragraphs: printed ones break in the midst of words."""

    def __init__(self, text: str) -> None:
        self.lines = [line.rstrip() for line in text.splitlines() if line.strip()]

    def __repr__(self) -> str:
        return "\n".join(self.lines)

    def _repr_html_(self) -> str:
        return "\n".join(map(_paragraph, self.lines))


def _paragraph(line: str) -> str:
    content = escape(line)
    if line.startswith((*COMMANDS, "  ")):
        content = f"<code>{content}</code>"
    return f'<p style="{PARAGRAPH}">{content}</p>'


def show_text(text: str) -> None:
    """Show each line of `text` as a paragraph, commands and indented lines in fixed width."""
    from IPython.display import display

    if text.strip():
        display(Text(text))


@contextmanager
def printed_as_text() -> Iterator[None]:
    """Show what is printed inside as `show_text` does, also what came before an error."""
    printed = io.StringIO()
    try:
        with redirect_stdout(printed):
            yield
    finally:
        show_text(printed.getvalue())


def as_table(table: pd.DataFrame) -> "Styler | None":
    """`table` from the left, without its index; nothing if it has no rows."""
    if table.empty:
        return None
    left = [{"selector": "th, td", "props": "text-align: left; vertical-align: top"}]
    return table.style.hide().set_table_styles(left).format(str, escape="html")


def new_figure(width: float, height: float, **grid: Any) -> tuple["Figure", Any]:
    """A figure of so many inches and its axes; closed, so that only its return value is drawn."""
    import matplotlib.pyplot as plt  # slow to load, and most commands draw nothing

    fig, axes = plt.subplots(figsize=(width, height), dpi=110, layout="constrained", **grid)
    plt.close(fig)
    return fig, axes
