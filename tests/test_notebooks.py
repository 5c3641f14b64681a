"""Notebooks call, show and explain: their form."""

import ast
from pathlib import Path

import nbformat
import papermill
import pytest
from conftest import ROOT, cells, run

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
pytestmark = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def own_code(path: Path) -> list[str]:
    """Sources of the code cells, without the parameters cell."""
    return [c.source for c in cells(path, "code") if "tags" not in c.metadata]


def nodes(path: Path) -> list[ast.AST]:
    """Everything in that code; no ! or % line can be parsed."""
    return [node for code in own_code(path) for node in ast.walk(ast.parse(code))]


def test_stored_without_outputs_or_traces_of_a_run(path):
    stored = nbformat.read(path, as_version=4)
    nbformat.validate(stored)
    assert not any(cell.outputs or cell.execution_count for cell in cells(path, "code"))
    assert set(stored.metadata) == {"kernelspec", "language_info"}
    assert stored.metadata.kernelspec.name == "python3"


def test_title_comes_first_parameters_second_and_each_section_opens_with_prose(path):
    first, second, *rest = nbformat.read(path, as_version=4).cells
    assert first.cell_type == "markdown" and first.source.startswith("# ")
    assert (second.cell_type, second.metadata.tags) == ("code", ["parameters"])
    assert rest[-1].source.strip()
    # Nothing else in the metadata, but that the long cell of paddy_train is collapsed.
    assert not any(cell.metadata for cell in [first, *rest])
    assert set(second.metadata) <= {"tags", "jupyter"}
    for section in [c.source.strip() for c in cells(path, "markdown")]:
        heading, _, prose = section.partition("\n")
        assert heading.startswith("#") and len(prose.strip()) > 40, heading


def test_code_cells_have_one_to_five_lines_and_no_logic(path):
    counts = [sum(bool(line.strip()) for line in code.splitlines()) for code in own_code(path)]
    assert [count for count in counts if not 1 <= count <= 5] == []
    logic = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef, ast.For, ast.While)
    assert not [node for node in nodes(path) if isinstance(node, logic)]


def test_imports_are_by_name_and_no_path_is_written_into_a_cell(path):
    names = [n.name for node in nodes(path) if isinstance(node, ast.ImportFrom) for n in node.names]
    assert not [name for name in names if name.startswith(("*", "_"))]
    strings = [node.value for node in nodes(path)
               if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    assert not [s for s in strings if "/" in s or "\\" in s or Path(s).suffix]


def test_stem_is_the_notebook_parameter(path):
    default = papermill.inspect_notebook(str(path))["notebook"]["default"]
    assert ast.literal_eval(default) == path.stem


def test_help_notebook_lists_every_parameter_with_its_comment(path):
    shown = run("-m", "papermill", "--help-notebook", str(path)).stdout
    for name, facts in papermill.inspect_notebook(str(path)).items():
        assert f"\n  {name}: " in shown and facts["default"] in shown
        assert len(facts["help"]) > 10 and facts["help"] in shown
