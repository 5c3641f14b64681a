"""The wings import in one direction, through their faces; what reads tables loads no torch."""

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, run
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from test_setup import EXTRAS, WANTED

# From the lowest to the highest: each imports only from those before it.
WINGS = (
    "core", "demo", "competition", "evidence", "bundle", "vision", "predict", "training",
    "submission", "ensemble", "kaggle_api", "run", "compare", "sweep", "record",
    "looking", "review", "triage", "report",
)  # fmt: skip
PACKAGES = tuple(wing for wing in WINGS if (ROOT / "src" / wing).is_dir())
WITH_TORCH = ("vision", "predict", "training")
TORCH = {"torch", "torchvision", "fastai", "timm"}
ROOMS = sorted(path for path in (ROOT / "src").rglob("*.py") if path.parent != ROOT / "src"
               or path.stem != "__init__")


def room_id(path: Path) -> str:
    """`src/core/files.py` → core.files."""
    return ".".join(path.relative_to(ROOT / "src").with_suffix("").parts)


def wing_of(path: Path) -> str:
    return path.relative_to(ROOT / "src").with_suffix("").parts[0]


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path, lazy: bool) -> Iterator[str]:
    """Modules that `path` imports; with `lazy` also those imported inside its functions."""
    waiting = list(tree(path).body)
    while waiting:
        node = waiting.pop()
        function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        checking = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "src":
            yield from (f"src.{name.name}" for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
        elif not checking and (lazy or not function):
            waiting += ast.iter_child_nodes(node)


def test_the_drawn_wings_are_all_there_are():
    assert {wing_of(path) for path in ROOMS} == set(WINGS)


@cache
def face(wing: str) -> set[str]:
    """The public names of a wing: what its `__init__.py` imports."""
    path = ROOT / "src" / wing / "__init__.py"
    nodes = tree(path).body if path.is_file() else []
    return {name.name for node in nodes if isinstance(node, ast.ImportFrom) for name in node.names}


@pytest.mark.parametrize("path", ROOMS, ids=room_id)
def test_a_wing_imports_only_lower_wings_and_only_what_is_in_their_faces(path):
    lower = WINGS[: WINGS.index(wing_of(path))]
    for name in imports(path, lazy=True):
        if name.startswith("src."):
            _, wing, *room = name.split(".")
            assert wing == wing_of(path) or (wing in lower and not room), name
    for node in ast.walk(tree(path)):
        wing = (getattr(node, "module", "") or "").removeprefix("src.")
        if isinstance(node, ast.ImportFrom) and wing in PACKAGES and wing != wing_of(path):
            assert {name.name for name in node.names} <= face(wing)


def test_a_wing_has_at_most_eight_rooms():
    folders = [path.parent for path in ROOMS if not path.stem.startswith("__")]
    assert {folder.name for folder in folders if folders.count(folder) > 8} <= {"src"}


def test_rooms_of_a_wing_import_in_one_direction():
    from graphlib import TopologicalSorter

    rooms = {room_id(path): path for path in ROOMS}
    behind = {room: {name.removeprefix("src.") for name in imports(path, lazy=True)} & set(rooms)
              for room, path in rooms.items()}
    assert list(TopologicalSorter(behind).static_order())  # a cycle raises CycleError, naming it


def test_only_the_wings_with_models_import_torch():
    torch = {room_id(path) for path in ROOMS
             if {name.split(".")[0] for name in imports(path, lazy=False)} & TORCH}
    assert {room.split(".")[0] for room in torch} == set(WITH_TORCH)


def test_what_reads_tables_loads_no_torch_and_no_kaggle_in_fact():
    rooms = [room_id(path) for path in ROOMS if wing_of(path) not in WITH_TORCH]
    rooms = [room.removesuffix(".__init__") for room in rooms]
    code = "\n".join(f"import src.{room}" for room in rooms)
    code += "\nimport sys; print([m for m in {*sys.modules} if m in %s])" % (TORCH | {"kaggle"})
    done = run("-c", code)
    assert (done.stdout, done.returncode) == ("[]\n", 0), done.stderr


def test_what_the_code_imports_is_a_dependency():
    provided = {"PIL": "pillow", "cv2": "opencv-python-headless", "sklearn": "scikit-learn",
                "yaml": "pyyaml"}
    known = {canonicalize_name(Requirement(wanted).name) for wanted in [*WANTED, *EXTRAS]}
    known |= {"ipython", "kagglesdk", "nbclient", "nbformat"}  # of other packages
    used = {name.split(".")[0] for path in ROOMS for name in imports(path, lazy=True)}
    foreign = used - set(sys.stdlib_module_names) - {"src"}
    assert {canonicalize_name(provided.get(name, name)) for name in foreign} <= known


# How a room is written


def test_no_file_is_longer_than_250_lines():
    paths = [path for folder in ("src", "tests", "benchmarks")
             for path in (ROOT / folder).rglob("*.py")]
    lines = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
             for path in paths}
    assert {name: count for name, count in lines.items() if count > 250} == {}


def functions(node: ast.AST) -> list[ast.FunctionDef]:
    """The functions and methods of a room, without those inside functions."""
    inner = [f for c in node.body if isinstance(c, ast.ClassDef) for f in functions(c)]
    return inner + [child for child in node.body if isinstance(child, ast.FunctionDef)]


def test_no_function_is_longer_than_40_lines():
    lengths = {f"{room_id(path)}.{f.name}": f.end_lineno - f.lineno + 1
               for path in ROOMS for f in functions(tree(path))}
    assert {name: length for name, length in lengths.items() if length > 40} == {}


def test_a_callback_has_fewer_than_40_lines():
    lengths = {f"{room_id(path)}.{node.name}": node.end_lineno - node.lineno + 1
               for path in ROOMS for node in tree(path).body
               if isinstance(node, ast.ClassDef) and "Callback" in map(ast.unparse, node.bases)}
    assert len(lengths) > 8
    assert {name: length for name, length in lengths.items() if length >= 40} == {}


@pytest.mark.parametrize("path", ROOMS, ids=room_id)
def test_public_functions_are_documented_and_annotated(path):
    for function in functions(tree(path)):
        if not function.name.startswith("_"):
            assert function.returns, function.name
            assert ast.get_docstring(function), function.name


@pytest.mark.parametrize("path", ROOMS, ids=room_id)
def test_nothing_is_imported_by_star_and_no_error_is_caught_blindly(path):
    for node in ast.walk(tree(path)):
        assert not (isinstance(node, ast.ImportFrom) and node.names[0].name == "*")
        assert not (isinstance(node, ast.ExceptHandler) and node.type is None)


def in_the_locales_encoding(call: ast.Call) -> bool:
    """Whether a call reads or writes text without saying in which encoding."""
    name, given = ast.unparse(call.func), {keyword.arg for keyword in call.keywords}
    if "encoding" in given or name == "files.write_text":  # which writes UTF-8
        return False
    if name == "open":
        return not (len(call.args) > 1 and "b" in call.args[1].value)
    if name.endswith((".read_text", ".write_text")):
        return len(call.args) < (1 if name.endswith(".read_text") else 2)
    return bool(given & {"text", "universal_newlines"})


@pytest.mark.parametrize("path", ROOMS, ids=room_id)
def test_no_file_is_read_or_written_in_the_encoding_of_the_locale(path):
    calls = [node for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]
    assert [ast.unparse(call) for call in calls if in_the_locales_encoding(call)] == []


@pytest.mark.parametrize("path", ROOMS, ids=room_id)
def test_every_command_tells_its_errors_in_one_line(path):
    if any(function.name == "main" for function in functions(tree(path))):
        end = "if __name__ == '__main__':\n    command(main)"
        assert ast.unparse(tree(path).body[-1]) == end


def test_the_planted_faults_are_of_the_code_as_it_is():
    for fault in yaml.safe_load((ROOT / "benchmarks" / "faults.yaml").read_text(encoding="utf-8")):
        text = (ROOT / "src" / fault["file"]).read_text(encoding="utf-8")
        assert text.count(fault["old"]) == 1, fault["fault"]
        assert (ROOT / "tests" / fault["tests"]).is_file(), fault["fault"]
