"""A Ray cluster of several nodes in one machine, and sweeps that go there."""

import os
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

from conftest import ROOT, TINY

TOKEN = uuid4().hex
# A cluster whose head has no work to do; each line of stdin changes it.
CLUSTER = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
nodes = {}
print(cluster.address, flush=True)
for line in sys.stdin:
    what, name, *env = line.split()
    if what == "add":
        nodes[name] = cluster.add_node(num_cpus=1, env_vars=dict(e.split("=", 1) for e in env))
    else:
        cluster.remove_node(nodes.pop(name), allow_graceful=False)
    print("done", flush=True)
cluster.shutdown()
"""


def environment(home: Path) -> dict[str, str]:
    """What head, nodes and driver have in common: a token of the test's own."""
    return {"HOME": str(home), "RAY_AUTH_MODE": "token"}


class Cluster:
    """A Ray cluster in a process of its own."""

    def __init__(self, home: Path) -> None:
        (home / ".ray").mkdir(parents=True)
        (home / ".ray" / "auth_token").write_text(TOKEN)  # Ray then refuses who has it not
        env = os.environ | environment(home) | {"RAY_USAGE_STATS_ENABLED": "0"}
        env.pop("PYTEST_CURRENT_TEST")  # with it a notebook writes nothing to the log
        self.process = subprocess.Popen(
            [sys.executable, "-c", CLUSTER], cwd=home, env=env, text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )
        self.address = self.line()

    def line(self) -> str:
        while (line := self.process.stdout.readline().strip()).startswith(("[", "\x1b")):
            pass
        return line

    def change(self, *words: str) -> None:
        self.process.stdin.write(" ".join(words) + "\n")
        self.process.stdin.flush()
        assert self.line() == "done"

    def end(self) -> None:
        self.process.stdin.close()
        self.process.wait(60)


# The command as if no node saw the driver's folder of models; and where nothing may be copied.
APART = """
from types import SimpleNamespace
from contextlib import nullcontext
from src.sweep import __main__, cluster
cluster.NamedTemporaryFile = lambda **_: nullcontext(SimpleNamespace(name="/nowhere/at/all"))
__main__.command(__main__.main)
"""
TOGETHER = """
from src.sweep import __main__, cluster
cluster.bundle.put = None
__main__.command(__main__.main)
"""
# Instead of the command: what Ray itself says when it is connected.
ASKED = """
import sys
from src.sweep.cluster import connected
with connected(sys.argv[2]) as (ray, out):
    from ray._common.usage.usage_lib import usage_stats_enabled
    print("it reports:", usage_stats_enabled(), file=out)
"""


def sweep(
    address: str, home: Path, *words: str, code: str = APART, **env: str
) -> subprocess.Popen:
    """A sweep, or with `race` among the words a race, of the tiny variant on the cluster."""
    grid = TINY | dict(word.split("=") for word in words if "=" in word)
    rest = [word for word in words if "=" not in word and word != "race"]
    words = [*["race"][: "race" in words], "--address", address, *rest]
    return subprocess.Popen(
        [sys.executable, "-c", code, *words, "--grid", *(f"{k}={v}" for k, v in grid.items())],
        cwd=ROOT, env=os.environ | environment(home) | env, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def until_line(process: subprocess.Popen, wanted: str) -> str:
    """All that `process` prints up to a line with `wanted` in it."""
    seen = ""
    for line in process.stdout:
        seen += line
        if wanted in line:
            return seen
    raise AssertionError(seen + process.stderr.read())
