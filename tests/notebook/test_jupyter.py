"""Text and tables in a notebook: nothing breaks within a word, commands stand apart."""

import re

import pandas as pd
import pytest

from src.core import UserError
from src.notebook.display import NO_BREAK, Text, as_table, printed_as_text, show_text


def paragraphs(html: str) -> list[str]:
    """The contents of the paragraphs of `html`."""
    return re.findall(r"<p style=[^>]*>(.*?)</p>", html)


def test_every_line_is_a_paragraph_and_a_command_is_code():
    text = Text("two <members> disagree\n\npython -m src.ensemble\n  1.jpg  a → b\n")
    assert paragraphs(text._repr_html_()) == [
        "two &lt;members&gt; disagree", "<code>python -m src.ensemble</code>",
        "<code>  1.jpg  a → b</code>",
    ]
    assert repr(text) == "two <members> disagree\npython -m src.ensemble\n  1.jpg  a → b"


def test_outside_a_notebook_text_is_printed_as_it_is(capsys):
    show_text("one\n\nkaggle competitions submit\n")
    show_text("\n")
    assert capsys.readouterr().out == "one\nkaggle competitions submit\n"


def test_what_was_printed_before_an_error_is_shown_too(capsys):
    with pytest.raises(UserError), printed_as_text():
        print("error: every row says blast")
        raise UserError("not written")
    assert capsys.readouterr().out == "error: every row says blast\n"


def test_a_table_has_no_index_and_breaks_its_lines_after_punctuation_alone():
    html = as_table(pd.DataFrame({"an error (95 % interval)": ["3 of 60 wrong: 5 % (<1 to 9)"]}))
    html = html.to_html().replace(NO_BREAK, "_")
    assert re.findall(r"<th.*?>(.*?)</th>", html) == ["an error (95_%_interval)"]
    assert re.findall(r"<td.*?>(.*?)</td>", html) == ["3_of_60_wrong: 5_%_(&lt;1_to_9)"]


def test_a_table_without_rows_is_not_shown():
    assert as_table(pd.DataFrame()) is None
