"""The environment is pinned; the rooms keep to the house's order."""

import ast
import os
import re
import sys
import tomllib
from functools import cache
from graphlib import TopologicalSorter
from importlib.metadata import PackageNotFoundError, requires

import pytest
import yaml
from conftest import ROOT, run
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WANTED = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
ROOMS = sorted(path.stem for path in (ROOT / "src").glob("*.py") if path.stem != "__init__")
# The rooms that open images or models; all others answer without torch.
WITH_TORCH = {
    "augment", "backbone", "cache", "checkpoint", "cuda_views", "data", "export", "finder",
    "forward", "kept", "parity", "photograph", "plain", "portable", "precompute", "predict",
    "recipes", "schedule", "snapshots", "targets", "train", "tta", "weights",
}
TORCH = {"torch", "torchvision", "fastai", "timm"}


def locked() -> dict[str, Requirement]:
    """Canonical name → pin of every line of the lock."""
    pins = [Requirement(line) for line in LOCK]
    return {canonicalize_name(pin.name): pin for pin in pins}


# the environment


def test_lock_has_exact_versions_and_no_addresses():
    pin = re.compile(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.!+]*(; [a-z_]+ == \"[a-z0-9]+\")?")
    assert [line for line in LOCK if not pin.fullmatch(line)] == []


def test_lock_names_nothing_twice():
    assert len(locked()) == len(LOCK)


@pytest.mark.parametrize("wanted", WANTED)
def test_every_dependency_is_locked_within_its_range(wanted):
    wanted = Requirement(wanted)
    (pin,) = locked()[canonicalize_name(wanted.name)].specifier
    assert pin.operator == "=="
    assert wanted.specifier.contains(pin.version)


def test_what_the_dependencies_need_is_locked_too():
    pins, missing = locked(), []
    for name in pins:
        try:
            needs = map(Requirement, requires(name) or [])
        except PackageNotFoundError:  # for another system
            continue
        for need in needs:
            pin = pins.get(canonicalize_name(need.name))
            if need.marker and not Marker(str(need.marker)).evaluate({"extra": ""}):
                continue
            version = next(iter(pin.specifier)).version if pin else "0"
            if not pin or not need.specifier.contains(version, prereleases=True):
                missing.append(f"{name} needs {need}")
    assert missing == []


def test_what_the_code_imports_is_a_dependency():
    provided = {"PIL": "pillow", "cv2": "opencv-python-headless", "sklearn": "scikit-learn",
                "yaml": "pyyaml"}
    known = {canonicalize_name(Requirement(wanted).name) for wanted in WANTED}
    known |= {"ipython", "kagglesdk", "nbclient", "nbformat"}  # of ipykernel, kaggle, papermill
    used = {name.split(".")[0] for room in ROOMS for name in imports(room, lazy=True)}
    foreign = used - set(sys.stdlib_module_names) - {"src"}
    assert {canonicalize_name(provided.get(name, name)) for name in foreign} <= known


def test_conda_environment_has_the_pins_of_the_lock():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    python, pip, pinned = conda["dependencies"]
    version = python.removeprefix("python=")
    assert pip == "pip" and version in ("3.11", "3.12", "3.13")
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(version)
    assert pinned == {"pip": [*LOCK, "--editable ."]}


def test_python_and_licence_are_those_promised():
    assert PROJECT["requires-python"] == ">=3.11"
    assert PROJECT["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")


def test_checks_run_make_test_and_nothing_else():
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    commands = [line for line in lines if line and not line.startswith(("#", "set ", "cd "))]
    assert commands == ["make test"]
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


# the house


@cache
def tree(room: str) -> ast.Module:
    return ast.parse((ROOT / "src" / f"{room}.py").read_text(encoding="utf-8"))


def imports(room: str, lazy: bool) -> set[str]:
    """Modules `room` imports when it is imported itself; with `lazy` also those of its functions.

    `from src import a` and `from src.a import b` both give `src.a`.
    """
    found, waiting = set(), list(tree(room).body)
    while waiting:
        node = waiting.pop()
        function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        checking = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "src":
            found |= {f"src.{name.name}" for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module)
        elif not checking and (lazy or not function):
            waiting += ast.iter_child_nodes(node)
    return found


def rooms_behind(room: str, lazy: bool) -> set[str]:
    """The rooms that `room` imports directly."""
    return {name.removeprefix("src.") for name in imports(room, lazy) if name.startswith("src.")}


def test_rooms_import_in_one_direction_also_inside_functions():
    order = TopologicalSorter({room: rooms_behind(room, lazy=True) for room in ROOMS})
    assert set(order.static_order()) == set(ROOMS)  # a cycle raises CycleError, naming it


@pytest.mark.parametrize("room", [room for room in ROOMS if room not in WITH_TORCH])
def test_room_without_models_imports_no_torch(room):
    seen, waiting = set(), {room}
    while waiting:
        room = waiting.pop()
        seen.add(room)
        assert not {name.split(".")[0] for name in imports(room, lazy=False)} & TORCH, room
        waiting |= rooms_behind(room, lazy=False) - seen
    assert not seen & WITH_TORCH


def test_what_reads_tables_loads_no_torch_and_no_kaggle_in_fact():
    rooms = sorted(set(ROOMS) - WITH_TORCH)
    code = "\n".join(f"import src.{room}" for room in rooms)
    code += "\nimport sys; print([m for m in {*sys.modules} if m in %s])" % (TORCH | {"kaggle"})
    done = run("-c", code)
    assert (done.stdout, done.returncode) == ("[]\n", 0), done.stderr


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
    lengths = {f"{room}.{f.name}": f.end_lineno - f.lineno + 1
               for room in ROOMS for f in functions(tree(room))}
    assert {name: length for name, length in lengths.items() if length > 40} == {}


@pytest.mark.parametrize("room", ROOMS)
def test_public_functions_are_documented_and_annotated(room):
    for function in functions(tree(room)):
        if not function.name.startswith("_"):
            assert function.returns, function.name
            assert ast.get_docstring(function), function.name


@pytest.mark.parametrize("room", ROOMS)
def test_nothing_is_imported_by_star_and_no_error_is_caught_blindly(room):
    for node in ast.walk(tree(room)):
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


@pytest.mark.parametrize("room", ROOMS)
def test_no_file_is_read_or_written_in_the_encoding_of_the_locale(room):
    calls = [node for node in ast.walk(tree(room)) if isinstance(node, ast.Call)]
    assert [ast.unparse(call) for call in calls if in_the_locales_encoding(call)] == []


@pytest.mark.parametrize("room", ROOMS)
def test_every_command_tells_its_errors_in_one_line(room):
    if any(function.name == "main" for function in functions(tree(room))):
        assert ast.unparse(tree(room).body[-1]) == "if __name__ == '__main__':\n    command(main)"


@pytest.mark.parametrize("script", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda p: p.stem)
def test_every_benchmark_shows_its_use_before_any_work(script):
    done = run(str(script), "--help")
    assert done.returncode == 0 and done.stdout.startswith(f"usage: {script.name}")


def test_ruff_has_nothing_to_say():
    done = run("-m", "ruff", "check", "--no-cache", "src", "tests", "notebooks", "benchmarks")
    assert done.returncode == 0, done.stdout
