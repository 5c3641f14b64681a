"""A user of the Kaggle commands: a small competition, a home folder, and what the commands say."""

import base64
import io
import os
import re
import shlex
import subprocess
import sys
import time
import zipfile
from contextlib import contextmanager
from unittest.mock import patch

import small_bundles

from src.core import ROOT
from src.kaggle_api.__main__ import main
from src.kaggle_api.client import client
from tests.kaggle_stand_in import KEY, USER, StandIn

SLUG = "paddy-disease-classification"
SECRETS = (KEY, base64.b64encode(f"{USER}:{KEY}".encode()).decode())
LABELS = ("blast", "hispa", "normal")


@contextmanager
def stand_in(home):
    """Kaggle with a small competition; afterwards the key is in nothing that was written."""
    with StandIn() as kaggle:
        kaggle.archive = zip_of(competition_files())
        yield kaggle
    for path in home.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert not any(secret.encode() in content for secret in SECRETS), path


def competition_files(images=4, tests=6, size=3000):
    """A whole competition by path: `images` of each label, pictures of `size` noisy bytes."""
    ids = {f"1{n:05}.jpg": LABELS[n % 3] for n in range(3 * images)}
    names = [f"2{n:05}.jpg" for n in range(tests)]
    rows = [f"{image_id},{label},ADT45,45" for image_id, label in ids.items()]
    train = "\n".join(["image_id,label,variety,age", *rows]).encode()
    sample = "\n".join(["image_id,label", *(f"{name}," for name in names)]).encode()
    pictures = [f"train_images/{label}/{image_id}" for image_id, label in ids.items()]
    pictures += [f"test_images/{name}" for name in names]
    tables = {"train.csv": train, "sample_submission.csv": sample}
    return tables | {path: os.urandom(size) for path in pictures}


def zip_of(files):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


def run(kaggle, home, words):
    """`python -m src.kaggle_api` with its data and work below `home`, in this process.

    Its seconds of sleep are noted in `kaggle.slept` and cut short.
    """
    sleep = time.sleep

    def doze(seconds):
        kaggle.slept.append(seconds)
        sleep(min(seconds, 0.02))

    client.cache_clear()
    with patch.dict(os.environ, environment(kaggle, home), clear=True), patch("time.sleep", doze):
        return _checked(small_bundles.call(main, *shlex.split(words)))


def start(kaggle, home, words):
    """The same command in a process of its own, to be killed."""
    line = [sys.executable, "-m", "src.kaggle_api", *words.split()]
    return subprocess.Popen(line, env=environment(kaggle, home), cwd=ROOT, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def call(kaggle, home, line, **env):
    """Any command of this user in a process of its own."""
    return _checked(subprocess.run(line, env=environment(kaggle, home) | env, cwd=ROOT, text=True,
                                   capture_output=True, timeout=400))


def environment(kaggle, home):
    """The environment of a user whose client talks to this server and to nobody else."""
    proxy = f"http://127.0.0.1:{kaggle.server.server_port}"
    own = {k: v for k, v in os.environ.items() if not k.startswith(("KAGGLE_", "PADDY_"))}
    own |= dict.fromkeys(("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"), proxy)
    own |= {"KAGGLE_API_ENVIRONMENT": "LOCALHOST", "no_proxy": "", "NO_PROXY": ""}
    own |= {"KAGGLE_USERNAME": USER, "KAGGLE_KEY": KEY, "HOME": str(home)}
    own |= {"PADDY_DATA": str(folder_of(home)), "PADDY_WORK": str(home / "work")}
    return own | {"VERBOSE": "1"}  # the client then prints its requests, with the key


def _checked(done):
    assert not any(secret in done.stdout + done.stderr for secret in SECRETS)
    assert not re.search("Traceback|DEBUG", done.stderr), done.stderr
    return done


def folder_of(home):
    return home / "data" / SLUG


def left_over(home):
    return sorted(p.name for p in (home / "data").glob("*") if p.name != SLUG)
