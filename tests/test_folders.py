"""submissions/ and models/ in git: what appears there, what of it is kept, what is no model."""

import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT

from src import bundle
from src.core import files

pytestmark = pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
FOLDERS = ("submissions", "models")
MADE = [
    *(f"submissions/paddy_train.{end}" for end in ("csv", "json", "parquet")),
    "submissions/ledger.csv", "submissions/.paddy_train.csv.1.tmp",
    *(f"submissions/sent/20220501T120000Z_01234567_a.{end}" for end in ("csv", "json", "parquet")),
    "models/vit.pkl", "models/vit.json", "models/vit.test.parquet", "models/folds_0_seed42.csv",
]  # fmt: skip
KEPT = ["submissions/ledger.csv", "submissions/sent/20220501T120000Z_01234567_a.csv",
        "submissions/sent/20220501T120000Z_01234567_a.json"]


def git(place: Path, *words: str) -> list[str]:
    """The lines of a git command in `place`, by a committer who needs no settings."""
    who = ["-c", "user.name=tester", "-c", "user.email=tester@example.com"]
    done = subprocess.run(["git", "-C", str(place), *who, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def repository(tmp_path, monkeypatch) -> Path:
    """A repository with both folders as they are in ours, which the code believes to run from."""
    for name in FOLDERS:
        (tmp_path / name).mkdir()
        for file in (".gitignore", "README.md"):
            shutil.copy(ROOT / name / file, tmp_path / name / file)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "-m", "First")
    monkeypatch.setattr(files, "ROOT", tmp_path)
    return tmp_path


def make(repository: Path, names: list[str]) -> None:
    for name in names:
        (repository / name).parent.mkdir(exist_ok=True)
        (repository / name).touch()


def test_an_ensemble_leaves_git_quiet_and_the_readme_of_the_models_is_no_model(repository):
    assert len(git(repository, "ls-files")) == 4
    assert bundle.names(repository / "models") == []
    make(repository, [name for name in MADE if name not in KEPT])
    assert git(repository, "status", "--porcelain") == []


def test_the_ledger_and_what_was_sent_are_kept_and_only_code_makes_a_tree_dirty(repository):
    make(repository, MADE)
    status = git(repository, "status", "--porcelain", "--untracked-files=all")
    assert [line.split()[-1] for line in status] == KEPT
    (head,) = git(repository, "rev-parse", "HEAD")
    assert len(head) == 40 and files.commit() == {"commit": head, "dirty": False}
    make(repository, ["src.py"])
    assert files.commit() == {"commit": head, "dirty": True}
