"""Notebooks call, show and explain: their form."""

import ast
from pathlib import Path

import nbformat
import papermill
import pytest
from conftest import ROOT, cells, run

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
every = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def own_code(path: Path) -> list[str]:
    """Sources of the code cells, without the parameters cell."""
    return [c.source for c in cells(path, "code") if "tags" not in c.metadata]


@every
def test_notebook_is_stored_without_outputs_or_traces_of_a_run(path):
    stored = nbformat.read(path, as_version=4)
    nbformat.validate(stored)
    for cell in cells(path, "code"):
        assert (cell.outputs, cell.execution_count) == ([], None)
    assert set(stored.metadata) == {"kernelspec", "language_info"}
    assert stored.metadata.kernelspec.name == "python3"


@every
def test_the_only_tag_is_parameters_and_it_is_on_one_code_cell(path):
    tagged = [c for c in nbformat.read(path, as_version=4).cells if "tags" in c.metadata]
    assert [(c.cell_type, c.metadata.tags) for c in tagged] == [("code", ["parameters"])]


def test_only_the_long_parameters_cell_is_collapsed():
    kept = {path.stem: [c.metadata.jupyter for c in nbformat.read(path, as_version=4).cells
                        if set(c.metadata) - {"tags"}] for path in NOTEBOOKS}
    assert kept == {"paddy_ensemble": [], "paddy_train": [{"source_hidden": True}]}


@every
def test_title_comes_first_parameters_second(path):
    first, second, *_, last = nbformat.read(path, as_version=4).cells
    assert first.cell_type == "markdown" and first.source.startswith("# ")
    assert second.metadata.get("tags") == ["parameters"]
    assert last.source.strip()


@every
def test_every_section_opens_with_prose(path):
    title, *sections = [c.source.strip() for c in cells(path, "markdown")]
    assert len(title.split("\n", 1)[1].strip()) > 40
    for section in sections:
        heading, _, prose = section.partition("\n")
        assert heading.startswith("## ") and len(prose.strip()) > 40, heading


@every
def test_code_cells_have_one_to_five_lines(path):
    counts = [sum(bool(line.strip()) for line in code.splitlines()) for code in own_code(path)]
    assert [count for count in counts if not 1 <= count <= 5] == []


@every
def test_all_logic_is_in_src(path):
    logic = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef, ast.For, ast.While)
    for code in own_code(path):
        for node in ast.walk(ast.parse(code)):
            assert not isinstance(node, logic), code


@every
def test_imports_are_by_name(path):
    for code in own_code(path):
        for node in ast.walk(ast.parse(code)):  # which no ! or % line would pass, either
            if isinstance(node, ast.ImportFrom):
                assert all(name.name != "*" for name in node.names), code
                assert not any(name.name.startswith("_") for name in node.names), code


@every
def test_no_path_is_written_into_a_cell(path):
    for code in own_code(path):
        strings = [n.value for n in ast.walk(ast.parse(code))
                   if isinstance(n, ast.Constant) and isinstance(n.value, str)]
        assert not any("/" in s or "\\" in s or Path(s).suffix for s in strings), strings


@every
def test_stem_is_the_notebook_parameter(path):
    default = papermill.inspect_notebook(str(path))["notebook"]["default"]
    assert ast.literal_eval(default) == path.stem


@every
def test_help_notebook_lists_every_parameter_with_its_comment(path):
    done = run("-m", "papermill", "--help-notebook", str(path))
    assert done.returncode == 0
    known = papermill.inspect_notebook(str(path))
    assert known
    for name, facts in known.items():
        assert f"\n  {name}: " in done.stdout and facts["default"] in done.stdout
        assert len(facts["help"]) > 10 and facts["help"] in done.stdout
