"""What is printed never ends the work: closed pipes and letters that an encoding lacks."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from conftest import ROOT
from tqdm import tqdm

from src.core import terminal

LETTERS = {"−4 … → · × ±": "-4 ... -> - x +/-", "稻.jpg \udcff": "?.jpg ?"}


@pytest.fixture
def closed_pipe():
    """The writing end of a pipe whose reader has gone, as `head` does when it has its lines."""
    reader, descriptor = os.pipe()
    os.close(reader)
    yield descriptor
    os.close(descriptor)


def run(*words: str, stdout: int = subprocess.PIPE, stderr: int = subprocess.PIPE,
        **environment: str) -> subprocess.CompletedProcess:
    """A command as a user types it; what it prints is bytes."""
    return subprocess.run([sys.executable, *words], cwd=ROOT, env=os.environ | environment,
                          stdout=stdout, stderr=stderr)


@pytest.mark.parametrize("stderr", [subprocess.PIPE, subprocess.STDOUT])
def test_the_ensemble_is_written_though_nobody_reads_what_is_printed(family, closed_pipe, stderr):
    done = run("-m", "src.ensemble", stdout=closed_pipe, stderr=stderr, PYTHONIOENCODING="ascii")
    assert done.returncode == 0 and not done.stderr
    assert (family.parent / "submissions" / "paddy_train.csv").is_file()


@pytest.mark.parametrize(
    ("words", "code"),
    [(("src.competition", "check", "src"), 1), (("src.evidence", "0.98846"), 0),
     (("src.submission", "--help"), 0)],
)
def test_a_closed_pipe_changes_no_exit_code(closed_pipe, words, code):
    done = run("-m", *words, stdout=closed_pipe)
    assert done.returncode == code
    assert b"Traceback" not in done.stderr and b"Exception ignored" not in done.stderr
    assert run("-m", *words, stdout=closed_pipe, stderr=subprocess.STDOUT).returncode == code


def test_bars_and_messages_need_no_standard_error():
    code = "from src.core import command; from tqdm import tqdm; sys.stderr = None"
    done = run("-c", f"import sys; {code}; command(lambda: print(*tqdm('ab')))")
    assert (done.returncode, done.stdout) == (0, b"a b\n")


def test_a_kernel_goes_on_when_its_users_terminal_is_gone(monkeypatch, closed_pipe):
    monkeypatch.setattr(sys, "stderr", SimpleNamespace(_original_stdstream_copy=closed_pipe))
    for _ in range(2):
        print("nothing was held out", file=terminal(), flush=True)
        assert list(tqdm("ab", file=terminal(), mininterval=0)) == ["a", "b"]


@pytest.mark.parametrize(
    ("stream", "environment"),
    [("stdout", {"PYTHONIOENCODING": "ascii"}), ("stderr", {"LC_ALL": "C", "PYTHONUTF8": "0"})],
)
def test_letters_that_an_encoding_lacks_are_written_in_ascii(stream, environment):
    line = f"print(*{ascii(list(LETTERS))}, sep=chr(10), file=sys.{stream})"
    code = f"import sys; from src.core import command; command(lambda: {line})"
    done = run("-c", code, **environment)
    assert done.returncode == 0
    assert getattr(done, stream).decode("ascii").splitlines() == list(LETTERS.values())


@pytest.mark.parametrize(("written", "seen"), LETTERS.items())
def test_a_kernels_lines_have_the_letters_of_its_users_terminal(monkeypatch, written, seen):
    reader, descriptor = os.pipe()
    monkeypatch.setattr(sys, "__stderr__", SimpleNamespace(encoding="ascii"))
    monkeypatch.setattr(sys, "stderr", SimpleNamespace(_original_stdstream_copy=descriptor))
    list(tqdm("ab", written, file=terminal()))
    print(written, file=terminal())
    os.close(descriptor)
    with open(reader, encoding="ascii") as lines:
        assert lines.read().splitlines()[-1] == seen
