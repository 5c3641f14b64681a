"""Files appear whole or not at all: a kill, a full disk and a closed folder leave the old one."""

import errno
import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import ROOT, refusal, run

from src.core import files

OLD = "the old file, whole\n"
# Writes half of a file, says so, and waits to be killed.
HALF = """
import sys
from pathlib import Path
from src.core import atomic_path
with atomic_path(Path(sys.argv[1])) as temporary, open(temporary, "wb") as file:
    file.write(b"x" * 5_000_000)
    file.flush()
    print("half", flush=True)
    sys.stdin.read()
"""
# A disk with room for 100 kB.
FULL = """
import resource, sys
from pathlib import Path
from src.core import command, write_text
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
command(lambda: write_text(Path(sys.argv[1]), "x" * 1_000_000))
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def path(tmp_path) -> Path:
    """A finished file that the next write is to replace."""
    path = tmp_path / "card.json"
    path.write_text(OLD)
    return path


def test_a_reader_of_the_old_file_reads_it_whole_and_only_the_new_one_stays(path):
    with open(path, encoding="utf-8") as reader:
        with files.atomic_path(path) as temporary:
            temporary.write_text("new")
            assert path.read_text() == OLD
            assert temporary.parent == path.parent  # a rename across disks would not be atomic
        assert reader.read() == OLD
    assert path.read_text() == "new" and names(path.parent) == ["card.json"]


def test_failed_block_leaves_the_old_file_and_raises_its_own_error(path):
    with pytest.raises(ZeroDivisionError), files.atomic_path(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == OLD and names(path.parent) == ["card.json"]


def test_what_is_half_written_is_left_to_a_living_process_and_cleared_after_a_killed_one(path):
    process = subprocess.Popen([sys.executable, "-c", HALF, str(path)], cwd=ROOT, text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == "half\n"
    assert path.read_text() == OLD
    files.write_text(path, "mine")
    left, _ = names(path.parent)
    assert left.startswith(".") and not left.endswith(".json")  # no glob takes it for a card
    process.kill()
    process.communicate()
    assert path.read_text() == "mine" and names(path.parent) == [left, path.name]
    files.write_text(path, "new")
    assert names(path.parent) == [path.name]


def test_threads_of_one_process_may_write_the_same_file(path):
    texts = ["x" * 100_000, "y" * 100_000]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: files.write_text(path, texts[n % 2]), range(200)))
    assert path.read_text() in texts and names(path.parent) == [path.name]


def test_full_disk_is_one_line_and_leaves_the_old_file(path):
    done = run("-c", FULL, str(path))
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"error: cannot write {path}: File too large; ")
    assert path.read_text() == OLD and names(path.parent) == ["card.json"]


def test_a_folder_that_cannot_be_made_or_written_is_one_line(tmp_path):
    (tmp_path / "models").write_text("a file where a folder should be")
    for place in (tmp_path / "models", Path("/proc/self")):  # where even root cannot write
        for line in (refusal(files.write_text, place / "card.json", "new"),
                     refusal(files.require_writable, place)):
            assert f"cannot write {place}" in line and "PADDY_WORK" in line
    assert names(tmp_path) == ["models"]


def test_read_only_disk_is_one_line_though_nothing_can_be_removed_either(path, monkeypatch):
    def read_only(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    for method in ("touch", "unlink"):
        monkeypatch.setattr(Path, method, read_only)
    line = refusal(files.require_writable, path.parent)
    assert "cannot write" in line and "Read-only file system" in line


def test_two_may_find_out_whether_a_folder_is_writable_without_trace(tmp_path, monkeypatch):
    files.require_writable(tmp_path)
    assert names(tmp_path) == []
    replace = os.replace

    def replace_and_lose_it_to_the_other_run(old, new):
        replace(old, new)
        Path(new).unlink()

    monkeypatch.setattr(os, "replace", replace_and_lose_it_to_the_other_run)
    files.require_writable(tmp_path)


def test_text_has_unix_line_ends_and_json_is_readable(tmp_path):
    files.write_text(tmp_path / "a" / "b.csv", "a\nb\n")
    assert (tmp_path / "a" / "b.csv").read_bytes() == b"a\nb\n"
    files.write_json(tmp_path / "a.json", {"où": Path("x")})
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n "où": "x"\n}\n'


def test_sha256_is_of_the_bytes_and_of_lines_in_any_order(tmp_path):
    content = os.urandom(300_000)
    (tmp_path / "a.pkl").write_bytes(content)
    assert files.sha256(tmp_path / "a.pkl") == hashlib.sha256(content).hexdigest()
    assert files.sha256_lines(["a", "b"]) == files.sha256_lines(["b", "a"])
    different = [files.sha256_lines(lines) for lines in (["a", "b"], ["ab"], ["a", "a"], ["a"])]
    assert len({*different}) == 4


@pytest.mark.parametrize("path", [os.environ["PATH"], ""])
def test_commit_is_empty_outside_a_repository_or_without_git(tmp_path, monkeypatch, path):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setattr(files, "ROOT", tmp_path)
    monkeypatch.setenv("PATH", path)
    assert files.commit() == {"commit": "", "dirty": True}
