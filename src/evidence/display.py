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
FAMILIES = (BLUE, ORANGE, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


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


def as_text(table: pd.DataFrame) -> str:
    """`table` as text whose columns, headers too, start at the left."""
    cells = [list(table.columns), *table.astype(str).to_numpy().tolist()]
    widths = [max(len(row[k]) for row in cells) for k in range(table.shape[1])]
    lines = ("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in cells)
    return "\n".join(line.rstrip() for line in lines)


def new_figure(width: float, height: float, **grid: Any) -> tuple["Figure", Any]:
    """A figure of so many inches and its axes; closed, so that only its return value is drawn."""
    import matplotlib.pyplot as plt  # slow to load, and most commands draw nothing

    fig, axes = plt.subplots(figsize=(width, height), dpi=110, layout="constrained", **grid)
    plt.close(fig)
    return fig, axes


def note(why: str) -> "Figure":
    """What is lacking, in the place of a figure: the part of `why` before a colon."""
    fig, ax = new_figure(9, 1)
    ax.axis("off")
    ax.text(0.5, 0.5, why.partition(":")[0], ha="center", va="center")
    return fig
