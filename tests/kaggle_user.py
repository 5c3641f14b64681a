"""A user of the Kaggle commands: a small competition, a home folder, and what the commands say."""

import base64
import io
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from src.core import ROOT
from tests.kaggle_stand_in import KEY, USER, StandIn

SLUG = "paddy-disease-classification"
SECRETS = (KEY, base64.b64encode(f"{USER}:{KEY}".encode()).decode())
LABELS = ("blast", "hispa", "normal")


@contextmanager
def stand_in(home: Path) -> Iterator[StandIn]:
    """Kaggle with a small competition; afterwards the key is in nothing that was written."""
    with StandIn() as kaggle:
        kaggle.archive = zip_of(competition_files())
        yield kaggle
    for path in home.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert not any(secret.encode() in content for secret in SECRETS), path


def competition_files(images: int = 4, tests: int = 6, size: int = 3000) -> dict[str, bytes]:
    """A whole competition by path: `images` of each label, pictures of `size` noisy bytes."""
    ids = [(f"1{n:05}.jpg", LABELS[n % 3]) for n in range(3 * images)]
    rows = [f"{image_id},{label},ADT45,{45 + n % 5}" for n, (image_id, label) in enumerate(ids)]
    names = [f"2{n:05}.jpg" for n in range(tests)]
    files = {"train.csv": "\n".join(["image_id,label,variety,age", *rows])}
    files["sample_submission.csv"] = "\n".join(["image_id,label", *(f"{n}," for n in names)])
    pictures = [f"train_images/{label}/{image_id}" for image_id, label in ids]
    pictures += [f"test_images/{name}" for name in names]
    texts = {name: text.encode() for name, text in files.items()}
    return texts | {path: os.urandom(size) for path in pictures}


def unpack(folder: Path) -> None:
    """A whole competition in `folder`."""
    for name, content in competition_files().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def zip_of(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


# Several command lines in one process: the client takes half a second to import.
IN_TURN = """
import json, runpy, sys
for line in json.loads(sys.argv[1]):
    sys.argv, code = ["", *line], 0
    try:
        runpy.run_module("src.kaggle_api", run_name="__main__")
    except SystemExit as end:
        code = end.code
    for stream in (sys.stdout, sys.stderr):
        print(code, "<end>", sep="", flush=True, file=stream)
"""


def command(*args: str) -> list[str]:
    return [sys.executable, "-m", "src.kaggle_api", *args]


def run(
    kaggle: StandIn, home: Path, *args: str, cwd: Path = ROOT, **env: str
) -> subprocess.CompletedProcess[str]:
    """The command with its data and work below `home`; its output never holds the key."""
    return call(kaggle, home, command(*args), cwd, **env)


def run_each(kaggle: StandIn, home: Path, *lines: str) -> list[subprocess.CompletedProcess[str]]:
    """Several commands one after the other."""
    words = json.dumps([line.split() for line in lines])
    done = call(kaggle, home, [sys.executable, "-c", IN_TURN, words])
    parts = zip(done.stdout.split("<end>\n"), done.stderr.split("<end>\n"), strict=True)
    parts = list(parts)[:-1]
    assert len(parts) == len(lines), done.stderr
    return [subprocess.CompletedProcess(line, not out.endswith("0"), out, err.rstrip("0"))
            for line, (out, err) in zip(lines, parts, strict=True)]


def call(
    kaggle: StandIn, home: Path, line: list[str], cwd: Path = ROOT, **env: str
) -> subprocess.CompletedProcess[str]:
    places = {"PADDY_DATA": str(home / "data" / SLUG), "PADDY_WORK": str(home / "work")}
    verbose = {"VERBOSE": "1"}  # the client then tells its requests, unless it is kept from it
    places |= kaggle.env(home, **places | verbose | env)
    done = subprocess.run(line, env=places, cwd=cwd, text=True, capture_output=True, timeout=400)
    for secret in SECRETS:
        assert secret not in done.stdout + done.stderr
    assert not re.search("Traceback|DEBUG", done.stderr), done.stderr
    return done


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of a command that had to fail."""
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and done.stderr.rstrip().endswith(lines[0])
    return lines[0]


def folder_of(home: Path) -> Path:
    return home / "data" / SLUG


def left_over(home: Path) -> list[str]:
    return sorted(p.name for p in (home / "data").glob("*") if p.name != SLUG)
