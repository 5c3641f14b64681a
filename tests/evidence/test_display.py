"""Text and tables in a notebook: nothing breaks within a word, commands stand apart."""

import re

import pandas as pd
import pytest

from src.core import UserError
from src.evidence import as_table, printed_as_text, show_text
from src.evidence.display import Text


def test_every_line_is_a_paragraph_and_a_command_is_code():
    text = Text("two <members> disagree\n\npython -m src.ensemble\n  1.jpg  a → b\n")
    assert re.findall(r"<p style=[^>]*>(.*?)</p>", text._repr_html_()) == [
        "two &lt;members&gt; disagree", "<code>python -m src.ensemble</code>",
        "<code>  1.jpg  a → b</code>",
    ]


def test_outside_a_notebook_text_is_printed_as_it_is(capsys):
    show_text("one\n\nkaggle competitions submit\n")
    show_text("\n")
    assert capsys.readouterr().out == "one\nkaggle competitions submit\n"


def test_what_was_printed_before_an_error_is_shown_too(capsys):
    with pytest.raises(UserError), printed_as_text():
        print("error: every row says blast")
        raise UserError("not written")
    assert capsys.readouterr().out == "error: every row says blast\n"


def test_table_has_no_index_escapes_its_cells_and_is_not_shown_without_rows():
    html = as_table(pd.DataFrame({"error": ["3 of 60 wrong (<1 to 9)"], "n": [0.5]})).to_html()
    assert re.findall(r"<t[hd].*?>(.*?)</t[hd]>", html) == [
        "error", "n", "3 of 60 wrong (&lt;1 to 9)", "0.5"
    ]
    assert as_table(pd.DataFrame()) is None
