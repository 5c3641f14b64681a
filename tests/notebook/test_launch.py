"""The name of the running notebook: from the run, else its parameter's default, and said so."""

import pytest
from conftest import refusal, run

from src.notebook import name as launch
from src.notebook import notebook_name
from src.notebook.name import input_of, notebook_stem

DEFAULT = {"notebook": "paddy_train"}


def given(name) -> dict:
    """The globals() of a notebook with `-p notebook NAME`."""
    return {"In": ["", f"# Parameters\nnotebook = {name!r}\n"], "notebook": name}


@pytest.fixture
def unknown(monkeypatch):
    """A kernel started by something that knows of no notebook."""
    monkeypatch.setattr(launch, "_from_parent", lambda: "")


# the command line that started the kernel


@pytest.mark.parametrize("words", [["/bin/python", "/venv/bin/papermill"], ["papermill.exe"],
                                   ["/bin/python", "-m", "papermill"]])
@pytest.mark.parametrize(
    ("rest", "path"),
    [
        (["my_try.ipynb"], "my_try.ipynb"),
        (["../my try.ipynb", "out.ipynb", "-p", "arch", "vit_small"], "../my try.ipynb"),
        (["-p", "desc", "a.ipynb", "-k", "python3", "my_try.ipynb", "out.ipynb"], "my_try.ipynb"),
        (["--cwd", "x.ipynb", "--no-progress-bar", "my_try.ipynb"], "my_try.ipynb"),
        (["-", "out.ipynb"], "-"),
        ([], "-"),
    ],
)
def test_input_of_papermill_is_its_first_argument_that_is_no_option(words, rest, path):
    assert input_of([*words, *rest]) == path


@pytest.mark.parametrize(
    ("words", "path"),
    [
        (["python", "/bin/jupyter-nbconvert", "--execute", "my_try.ipynb"], "my_try.ipynb"),
        (["python", "-m", "nbconvert", "--output", "o.ipynb", "my try.ipynb"], "my try.ipynb"),
        (["python", "/bin/jupyter-execute", "my_try.ipynb", "--output=o.ipynb"], "my_try.ipynb"),
        (["python", "/bin/jupyter-execute", "one.ipynb", "two.ipynb"], ""),  # which of them?
        (["python", "/bin/jupyter-lab", "my_try.ipynb"], ""),  # a server of many notebooks
        (["python", "train.py", "my_try.ipynb"], ""),
        ([], ""),
    ],
)
def test_input_of_other_commands_is_known_where_it_is_the_only_one(words, path):
    assert input_of(words) == path


# what the kernel itself knows


@pytest.mark.parametrize("variable", ["PAPERMILL_INPUT_PATH", "__vsc_ipynb_file__"])
def test_variables_of_papermill_and_vs_code_name_the_notebook(unknown, variable):
    assert notebook_stem({variable: "/some where/my try.v2.ipynb"}) == "my try.v2"


@pytest.mark.parametrize("path", ["-", "", "__notebook__.ipynb", "console-1-0815"])
def test_standard_input_kaggle_s_copy_and_a_console_have_no_name(unknown, path):
    assert notebook_stem({"PAPERMILL_INPUT_PATH": path}) == ""


OWN = "from src.notebook.name import notebook_stem; print(notebook_stem({}) or None, flush=True)"


def test_variable_of_jupyter_counts_only_in_the_kernel_it_was_set_for():
    beneath = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {OWN!r}])"
    done = run("-c", f"{OWN}; {beneath}", JPY_SESSION_NAME="folder/my_try.ipynb")
    assert done.stdout == "my_try\nNone\n", done.stderr


# the name


def test_parameter_that_was_given_is_the_name(monkeypatch):
    monkeypatch.setattr(launch, "_from_parent", lambda: "my_try.ipynb")
    injected = {"PAPERMILL_INPUT_PATH": "my_try.ipynb", "__vsc_ipynb_file__": "my_try.ipynb"}
    assert notebook_name(given("other.v2") | injected) == "other.v2"
    assert notebook_name(given("other.ipynb")) == "other"
    assert notebook_name(given(7)) == "7"  # papermill reads digits as a number
    assert notebook_name(DEFAULT) == "my_try"


def test_default_is_the_name_where_nothing_is_known_and_a_line_says_how_to_give_one(
    unknown, capsys
):
    assert notebook_name(DEFAULT) == "paddy_train"
    shown = capsys.readouterr()
    for text in shown:  # the cell's output, and the terminal
        assert len(text.splitlines()) == 1 and "-p notebook NAME" in text and "paddy_train" in text


def test_known_name_is_not_commented_on(unknown, capsys):
    notebook_name(given("my_try"))
    notebook_name(DEFAULT | {"PAPERMILL_INPUT_PATH": "my_try.ipynb"})
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "namespace",
    [*map(given, ("a/b", "", "..", "votes.csv", "what?")),
     DEFAULT | {"__vsc_ipynb_file__": "/notebooks/my try (2).ipynb"}],
)
def test_name_that_no_submission_can_have_is_refused_with_the_way_to_another(unknown, namespace):
    assert "-p notebook NAME" in refusal(notebook_name, namespace)
