"""How text and tables look in a notebook: they wrap between words, commands can be copied.

Printed lines Jupyter breaks anywhere, in the midst of words.
"""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from html import escape
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from pandas.io.formats.style import Styler

COMMANDS = ("kaggle ", "papermill ", "python ", "export ")
NO_BREAK = "\N{NO-BREAK SPACE}"
PARAGRAPH = "margin: 0.3em 0; text-align: left; overflow-wrap: anywhere; white-space: pre-wrap"


class Text:
    """Lines that a notebook shows as paragraphs, and anything else as they are."""

    def __init__(self, text: str) -> None:
        self.lines = [line.rstrip() for line in text.splitlines() if line.strip()]

    def __repr__(self) -> str:
        return "\n".join(self.lines)

    def _repr_html_(self) -> str:
        return "\n".join(map(_paragraph, self.lines))


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


def _paragraph(line: str) -> str:
    content = escape(line)
    if line.startswith((*COMMANDS, "  ")):
        content = f"<code>{content}</code>"
    return f'<p style="{PARAGRAPH}">{content}</p>'


def as_table(table: pd.DataFrame) -> "Styler | None":
    """`table` from the left, without its index: breaks after punctuation; of no rows, nothing."""
    if table.empty:
        return None
    left = [{"selector": "th, td", "props": "text-align: left; vertical-align: top"}]
    styled = table.style.hide().set_table_styles(left).format(_unbroken, escape="html")
    return styled.format_index(_unbroken_brackets, axis="columns", escape="html")


def _unbroken(cell: object) -> str:
    return re.sub("(?<![:;,]) ", NO_BREAK, str(cell))


def _unbroken_brackets(header: str) -> str:
    return re.sub(r" (?=[^(]*\))", NO_BREAK, header)
