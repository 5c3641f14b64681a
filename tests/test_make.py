"""`make env` installs once, and again when the lock changes; other targets install, then run."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT


@pytest.fixture
def repository(tmp_path) -> Path:
    """A repository with our Makefile whose python only writes down its arguments."""
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    python = tmp_path / "python"
    # `python -m venv DIR` puts itself into DIR; everything else is written down
    python.write_text(
        '#!/bin/sh\necho "$@" >> "$LOG"\n'
        'if [ "$2" = venv ]; then mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; fi\n'
        'test ! -e "$LOG.full"\n'
    )
    python.chmod(0o755)
    return tmp_path


def make(repository: Path, target: str) -> tuple[int, list[str]]:
    """`make target` there: exit code, and the arguments of python."""
    log = repository / "log"
    log.write_text("")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    done = subprocess.run(
        ["make", target, f"PYTHON={repository / 'python'}"], cwd=repository,
        env=environment | {"LOG": str(log)}, capture_output=True, text=True,
    )
    return done.returncode, log.read_text().splitlines()


pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")


def test_make_env_installs_the_lock_and_the_package_once(repository):
    code, called = make(repository, "env")
    assert code == 0 and (repository / ".venv").is_dir()
    assert any("pip install" in line and "-r requirements.lock" in line for line in called)
    assert any("pip install" in line and "--no-deps --editable ." in line for line in called)
    assert make(repository, "env") == (0, [])


@pytest.mark.parametrize("changed", ["requirements.lock", "pyproject.toml"])
def test_make_env_installs_again_when_the_lock_changes(repository, changed):
    make(repository, "env")
    later = (repository / ".venv" / "installed").stat().st_mtime + 10
    os.utime(repository / changed, (later, later))
    code, called = make(repository, "env")
    assert code == 0 and any("-r requirements.lock" in line for line in called)


def test_installation_that_failed_is_not_taken_for_one(repository):
    (repository / "log.full").touch()  # no room left: python fails from now on
    assert make(repository, "env")[0] != 0
    (repository / "log.full").unlink()
    code, called = make(repository, "env")
    assert code == 0 and any("-r requirements.lock" in line for line in called)


def test_make_test_installs_and_runs_all_tests(repository):
    code, called = make(repository, "test")
    # a file's tests stay on one core; conftest decides which files come first
    everything = "-m pytest -n 2 --dist loadfile --no-loadscope-reorder"
    assert code == 0 and called[-1] == everything and len(called) > 3
    assert make(repository, "test") == (0, [everything])


def test_make_gpu_check_installs_and_checks_the_gpu(repository):
    code, called = make(repository, "gpu-check")
    assert code == 0 and called[-1] == "benchmarks/gpu_check.py" and len(called) > 3


def test_make_report_installs_and_writes_the_page_of_the_demo(repository):
    code, called = make(repository, "report")
    assert code == 0 and called[-1] == "-m src.report" and len(called) > 3
