"""The environment is pinned."""

import os
import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires

import pytest
import yaml
from conftest import ROOT, run
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OPTIONAL = PROJECT["optional-dependencies"]
WANTED = [*PROJECT["dependencies"], *OPTIONAL["dev"], *OPTIONAL["ray"]]
EXTRAS = sum(OPTIONAL.values(), [])
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()


PINS = {canonicalize_name(pin.name): pin for pin in map(Requirement, LOCK)}


def test_lock_has_exact_versions_and_no_addresses():
    pin = re.compile(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.!+]*(; [a-z_]+ == \"[a-z0-9]+\")?")
    assert [line for line in LOCK if not pin.fullmatch(line)] == []
    assert len(PINS) == len(LOCK)


@pytest.mark.parametrize("wanted", WANTED)
def test_every_dependency_is_locked_within_its_range(wanted):
    wanted = Requirement(wanted)
    (pin,) = PINS[canonicalize_name(wanted.name)].specifier
    assert wanted.specifier.contains(pin.version)


def test_what_the_dependencies_need_is_locked_too():
    missing = []
    for name in PINS:
        try:
            needs = map(Requirement, requires(name) or [])
        except PackageNotFoundError:  # for another system
            continue
        for need in needs:
            pin = PINS.get(canonicalize_name(need.name))
            if need.marker and not Marker(str(need.marker)).evaluate({"extra": ""}):
                continue
            version = next(iter(pin.specifier)).version if pin else "0"
            if not pin or not need.specifier.contains(version, prereleases=True):
                missing.append(f"{name} needs {need}")
    assert missing == []


def test_conda_environment_has_the_pins_of_the_lock():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    python, pip, pinned = conda["dependencies"]
    assert PROJECT["requires-python"] == ">=3.11"
    assert pip == "pip" and python in ("python=3.11", "python=3.12", "python=3.13")
    assert pinned == {"pip": [*LOCK, "--editable ."]}


def test_the_licence_is_the_one_promised():
    assert PROJECT["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")


def test_checks_run_make_test_and_nothing_else():
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    commands = [line for line in lines if line and not line.startswith(("#", "set ", "cd "))]
    assert commands == ["make test"]
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


@pytest.mark.parametrize("script", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda p: p.stem)
def test_every_benchmark_shows_its_use_before_any_work(script):
    done = run(str(script), "--help")
    assert done.returncode == 0 and done.stdout.startswith(f"usage: {script.name}")


def test_ruff_has_nothing_to_say():
    done = run("-m", "ruff", "check", "--no-cache", "src", "tests", "notebooks", "benchmarks")
    assert done.returncode == 0, done.stdout
