"""Files appear whole or not at all: a kill, a full disk and a closed folder leave the old one."""

import errno
import hashlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from src.core import UserError, files

OLD = "the old file, whole\n"
# Writes half of a big file, says so, and waits to be killed.
HALF = """
import sys, time
from pathlib import Path
from src.core.files import atomic_path
with atomic_path(Path(sys.argv[1])) as temporary:
    with open(temporary, "wb") as file:
        file.write(b"x" * 5_000_000)
        file.flush()
        print("half", flush=True)
        sys.stdin.read()
        file.write(b"x" * 5_000_000)
"""
# A disk with room for 100 kB.
FULL = """
import resource, sys
from pathlib import Path
from src.core import command
from src.core.files import write_text
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
command(lambda: write_text(Path(sys.argv[1]), "x" * 1_000_000))
"""


def start(code: str, path: Path) -> subprocess.Popen:
    """`code` as a process of its own, given `path`."""
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", code, str(path)], cwd=ROOT,
                            stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def path(tmp_path) -> Path:
    """A finished file that the next write is to replace."""
    path = tmp_path / "card.json"
    path.write_text(OLD)
    return path


def test_new_file_appears_under_its_name_and_nothing_else_stays(path):
    files.write_text(path, "new\n")
    assert path.read_text() == "new\n"
    assert names(path.parent) == ["card.json"]


def test_final_name_is_untouched_until_the_block_ends(path):
    with files.atomic_path(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == OLD
        assert temporary.parent == path.parent  # a rename across disks would not be atomic
    assert path.read_text() == "new"


def test_missing_folders_are_made(tmp_path):
    files.write_text(tmp_path / "a" / "b" / "card.json", "new")
    assert (tmp_path / "a" / "b" / "card.json").read_text() == "new"


def test_failed_block_leaves_the_old_file_and_raises_its_own_error(path):
    with pytest.raises(ZeroDivisionError), files.atomic_path(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == OLD
    assert names(path.parent) == ["card.json"]


@pytest.mark.parametrize("old", [OLD, None])
def test_kill_9_half_way_leaves_the_old_file_or_none(tmp_path, old):
    path = tmp_path / "model.pkl"
    if old:
        path.write_text(old)
    process = start(HALF, path)
    assert process.stdout.readline() == "half\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert (path.read_text() if path.exists() else None) == old
    left = [name for name in names(tmp_path) if name != "model.pkl"]
    assert len(left) == 1, "the kill came too late to prove anything"
    assert left[0].startswith(".") and not left[0].endswith(".pkl")  # no glob takes it for a model
    files.write_text(path, "new")  # and a rerun is not hindered by it
    assert path.read_text() == "new"
    assert names(tmp_path) == ["model.pkl"]  # it clears what the killed one left


def test_what_another_process_is_writing_is_left_to_it(tmp_path):
    path = tmp_path / "model.pkl"
    process = start(HALF, path)
    assert process.stdout.readline() == "half\n"
    files.write_text(path, "mine")
    assert len(names(tmp_path)) == 2
    process.communicate("go on")
    assert process.returncode == 0 and path.stat().st_size == 10_000_000


def test_full_disk_is_one_line_and_leaves_the_old_file(path):
    process = start(FULL, path)
    _, stderr = process.communicate()
    assert process.returncode == 1
    assert stderr.startswith(f"error: cannot write {path}: File too large; nothing there was")
    assert "free some space" in stderr and stderr.count("\n") == 1
    assert path.read_text() == OLD
    assert names(path.parent) == ["card.json"]


def test_folder_that_cannot_be_made_is_one_line_naming_the_way_out(tmp_path):
    (tmp_path / "models").write_text("a file where a folder should be")
    for write in (
        lambda folder: files.write_text(folder / "card.json", "new"),
        files.require_writable,
    ):
        with pytest.raises(UserError, match="cannot write .*PADDY_WORK") as error:
            write(tmp_path / "models")
        assert "\n" not in str(error.value)
    assert names(tmp_path) == ["models"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc on this system")
def test_folder_that_even_root_cannot_write_to_is_refused():
    with pytest.raises(UserError, match="cannot write /proc/self"):
        files.require_writable(Path("/proc/self"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes to read-only folders")
def test_read_only_folder_is_refused(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(UserError, match="Permission denied"):
        files.require_writable(tmp_path)
    tmp_path.chmod(0o755)


def test_read_only_disk_is_one_line_though_nothing_can_be_removed_either(path, monkeypatch):
    def read_only(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    for method in ("touch", "unlink", "write_text"):
        monkeypatch.setattr(Path, method, read_only)
    writes = (lambda: files.write_text(path, "new")), lambda: files.require_writable(path.parent)
    for write in writes:
        with pytest.raises(UserError, match="cannot write .*Read-only file system.*PADDY_WORK"):
            write()


def test_asking_whether_a_folder_is_writable_leaves_no_trace(tmp_path):
    files.require_writable(tmp_path / "models")
    assert names(tmp_path / "models") == []


def test_two_runs_may_ask_for_the_same_folder_at_once(tmp_path, monkeypatch):
    replace = os.replace

    def replace_and_lose_it_to_the_other_run(old, new):
        replace(old, new)
        Path(new).unlink()

    monkeypatch.setattr(os, "replace", replace_and_lose_it_to_the_other_run)
    files.require_writable(tmp_path)


def test_text_has_unix_line_ends_and_json_is_readable(tmp_path):
    files.write_text(tmp_path / "a.csv", "a\nb\n")
    assert (tmp_path / "a.csv").read_bytes() == b"a\nb\n"
    files.write_json(tmp_path / "a.json", {"où": Path("x")})
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n "où": "x"\n}\n'


def test_sha256_is_the_one_of_the_bytes(tmp_path):
    content = os.urandom(300_000)
    (tmp_path / "a.pkl").write_bytes(content)
    assert files.sha256(tmp_path / "a.pkl") == hashlib.sha256(content).hexdigest()


def test_sha256_of_lines_forgets_their_order_and_nothing_else():
    assert files.sha256_lines(["a", "b"]) == files.sha256_lines(["b", "a"])
    assert files.sha256_lines(["a", "b"]) != files.sha256_lines(["ab"])
    assert files.sha256_lines(["a", "a"]) != files.sha256_lines(["a"])


def git(folder: Path, *words: str) -> str:
    """One git command in `folder`, by a committer who needs no settings."""
    who = ["-c", "user.name=tester", "-c", "user.email=tester@example.com"]
    done = subprocess.run(["git", "-C", str(folder), *who, *words], capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def elsewhere(tmp_path, monkeypatch) -> Path:
    """A folder the code believes to run from, outside every repository."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setattr(files, "ROOT", tmp_path)
    return tmp_path


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
def test_commit_names_the_head_and_whether_the_tree_is_dirty(elsewhere):
    git(elsewhere, "init", "--quiet")
    (elsewhere / "a").write_text("1")
    git(elsewhere, "add", "a")
    git(elsewhere, "commit", "--quiet", "-m", "First")
    head = git(elsewhere, "rev-parse", "HEAD")
    assert len(head) == 40
    assert files.commit() == {"commit": head, "dirty": False}
    (elsewhere / "a").write_text("2")
    assert files.commit() == {"commit": head, "dirty": True}


@pytest.mark.parametrize("path", [os.environ["PATH"], ""])
def test_commit_is_empty_outside_a_repository_or_without_git(elsewhere, monkeypatch, path):
    monkeypatch.setenv("PATH", path)
    assert files.commit() == {"commit": "", "dirty": True}
