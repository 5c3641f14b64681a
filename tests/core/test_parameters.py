"""What a notebook was started with: parameters, and its name, else the default of the parameter."""

import pytest
from conftest import TINY, refusal, run

from src.core import PLACES, make_variant, notebook_name, parameters, read_flag, read_variant
from src.core.parameters import notebook_stem, papermill_input

DEFAULT = {"notebook": "paddy_train"}


def injected(**values) -> dict:
    """The globals() of a notebook into which papermill has injected something."""
    lines = ["# Parameters", *(f"{name} = {value!r}" for name, value in values.items())]
    return {"In": ["", "arch = 'x'", "\n".join(lines)]} | values


def namespace(**values) -> dict:
    """The same of the training notebook."""
    return make_variant(**TINY).recipe | dict.fromkeys(PLACES, "") | injected(**values)


@pytest.fixture
def unknown(monkeypatch):
    """A kernel started by something that knows of no notebook."""
    monkeypatch.setattr(parameters, "_from_parent", lambda: "")


# parameters


def test_known_names_are_read_into_a_variant():
    read = read_variant(namespace(arch="test_vit", size="64x48", PAPERMILL_INPUT_PATH="x"))
    assert read == make_variant(**TINY | {"arch": "test_vit", "size": "64x48"})


@pytest.mark.parametrize(("name", "nearest"), [("archh", "arch"), ("model", "models")])
def test_misspelt_name_is_refused_with_the_nearest(name, nearest):
    line = refusal(read_variant, namespace(**{name: "x"}))
    assert line.startswith(f"unknown parameter {name!r}; did you mean {nearest!r}")


@pytest.mark.parametrize(("given", "read"), [("true", True), ("False", False), (True, True)])
def test_flag_is_read_from_what_papermill_passes_on(given, read):
    assert read_flag("force", given) is read
    assert refusal(read_flag, "force", "yes") == "force='yes' must be true or false"


# the file's name


@pytest.mark.parametrize(
    ("words", "path"),
    [
        ("/bin/python /venv/bin/papermill my_try.ipynb", "my_try.ipynb"),
        ("papermill.exe ../a.ipynb out.ipynb -p arch vit_small", "../a.ipynb"),
        ("python -m papermill -p desc a.ipynb -k python3 my_try.ipynb o.ipynb", "my_try.ipynb"),
        ("papermill --cwd x.ipynb --no-progress-bar my_try.ipynb", "my_try.ipynb"),
        ("papermill", "-"),
        ("python /bin/jupyter-lab my_try.ipynb", ""),  # a server of many notebooks
        ("", ""),
    ],
)
def test_papermills_input_is_its_first_argument_that_is_no_option(words, path):
    assert papermill_input(words.split()) == path


@pytest.mark.parametrize(
    ("variable", "path", "stem"),
    [
        ("PAPERMILL_INPUT_PATH", "/some where/my try.v2.ipynb", "my try.v2"),
        ("__vsc_ipynb_file__", "/some where/my_try.ipynb", "my_try"),
        ("PAPERMILL_INPUT_PATH", "-", ""),
        ("PAPERMILL_INPUT_PATH", "__notebook__.ipynb", ""),  # Kaggle's copy
        ("__vsc_ipynb_file__", "console-1-0815", ""),
    ],
)
def test_papermill_and_vs_code_name_the_notebook(unknown, variable, path, stem):
    assert notebook_stem({variable: path}) == stem


def test_variable_of_jupyter_counts_only_in_the_kernel_it_was_set_for():
    own = ("from src.core.parameters import notebook_stem; "
           "print(notebook_stem({}) or None, flush=True)")
    beneath = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {own!r}])"
    done = run("-c", f"{own}; {beneath}", JPY_SESSION_NAME="folder/my_try.ipynb")
    assert done.stdout == "my_try\nNone\n", done.stderr


# the name


def test_parameter_that_was_given_is_the_name(monkeypatch, capsys):
    monkeypatch.setattr(parameters, "_from_parent", lambda: "my_try.ipynb")
    assert notebook_name(injected(notebook="other.v2", __vsc_ipynb_file__="a.ipynb")) == "other.v2"
    assert notebook_name(injected(notebook="other.ipynb")) == "other"
    assert notebook_name(injected(notebook=7)) == "7"  # papermill reads digits as a number
    assert notebook_name(DEFAULT) == "my_try"
    assert capsys.readouterr() == ("", "")


def test_default_is_the_name_where_nothing_is_known_and_a_line_says_so(unknown, capsys):
    assert notebook_name(DEFAULT) == "paddy_train"
    for text in capsys.readouterr():  # the cell's output, and the terminal
        assert text.count("\n") == 1 and "-p notebook NAME" in text and "paddy_train" in text


@pytest.mark.parametrize("values", [
    injected(notebook="a/b"),
    DEFAULT | {"__vsc_ipynb_file__": "/notebooks/my try (2).ipynb"},
])
def test_name_that_no_submission_can_have_is_refused(values):
    assert "-p notebook NAME" in refusal(notebook_name, values)
