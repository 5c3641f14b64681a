"""A Ray cluster: rows go to its nodes, bundles come back, a node may go or come meanwhile."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, TINY, refusal, run

from src import bundle, competition
from src.bundle import versions
from src.core import make_variant
from src.sweep import Row
from src.sweep.cluster import fetch
from src.sweep.node import Wanted, pieces, unfit

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


class Cluster:
    """A Ray cluster in a process of its own."""

    def __init__(self, home: Path) -> None:
        home.mkdir()
        env = os.environ | {"HOME": str(home), "RAY_USAGE_STATS_ENABLED": "0"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", CLUSTER], cwd=home, env=env, text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )
        self.address = self.line()

    def line(self) -> str:
        while (line := self.process.stdout.readline().strip()).startswith(("[", "\x1b")):
            pass
        return line

    def tell(self, *words: str) -> None:
        self.process.stdin.write(" ".join(words) + "\n")
        self.process.stdin.flush()
        assert self.line() == "done"

    def end(self) -> None:
        self.process.stdin.close()
        self.process.wait(60)


@pytest.fixture
def cluster(tmp_path):
    started = Cluster(tmp_path / "home")
    yield started
    started.end()


# The command, as if no node saw the driver's folder of models.
APART = """
from types import SimpleNamespace
from contextlib import nullcontext
from src.sweep import __main__, cluster
cluster.NamedTemporaryFile = lambda **_: nullcontext(SimpleNamespace(name="/nowhere/at/all"))
__main__.command(__main__.main)
"""


def sweep(address: str, home: Path, *words: str) -> subprocess.Popen:
    grid = [f"{name}={value}" for name, value in TINY.items()]
    return subprocess.Popen(
        [sys.executable, "-c", APART, "--address", address, "--grid", *grid, *words],
        cwd=ROOT, env=os.environ | {"HOME": str(home)}, text=True, stdout=subprocess.PIPE,
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


def test_a_lost_node_costs_no_row_and_a_new_one_gets_work(cluster, data, models, tmp_path):
    known = f"PADDY_DATA={data}"
    cluster.tell("add", "a", known, f"PADDY_WORK={tmp_path / 'a'}")
    cluster.tell("add", "strange", f"PADDY_DATA={tmp_path}", f"PADDY_WORK={tmp_path / 's'}")
    done = sweep(cluster.address, tmp_path / "home", "seed=42")
    seen = until_line(done, "training, ")
    assert "is no complete competition" in seen  # the strange node got nothing
    cluster.tell("remove", "a")
    cluster.tell("add", "b", known, f"PADDY_WORK={tmp_path / 'b'}")
    seen, errors = done.communicate(timeout=300)
    assert done.returncode == 0, seen + errors
    assert "lost; 1 row to go on elsewhere" in seen and "1 done, 0 failed" in seen
    assert "raylet" not in seen + errors and "Traceback" not in seen + errors, seen + errors
    assert not list((tmp_path / "s").rglob("*.pkl"))
    card = bundle.read_card(models, make_variant(**TINY).name)
    assert card["commit"] and not list(models.glob(".test_*"))


def test_a_byte_that_changed_on_the_way_is_noticed_and_nothing_takes_its_place(work, tmp_path):
    row = Row(make_variant(**TINY), tmp_path, tmp_path / "models")
    stored = Row(row.variant, tmp_path, work / "models")
    flipped = list(pieces(stored))
    model = flipped[flipped.index("test_resnet_squish_32.pkl") + 1]
    flipped[flipped.index(model)] = model[:-1] + bytes([model[-1] ^ 1])
    assert "did not arrive whole" in refusal(fetch, iter(flipped), row)
    assert list(row.models.iterdir()) == []
    fetch(pieces(stored), row)
    assert bundle.is_done(row.variant, row.models, bundle.read_card(row.models, row.name)["data"])


def test_a_node_with_other_versions_gets_no_work_unless_they_may_differ(
    data, tmp_path, monkeypatch
):
    monkeypatch.setenv("PADDY_WORK", str(tmp_path))
    other = versions.installed() | {"torch": "1.0"}
    wanted = Wanted(competition.train_fingerprint(data), other, False, str(tmp_path / "none"))
    assert unfit(wanted).startswith("has other versions: torch 1.0 (here ")
    assert unfit(wanted._replace(mixed=True)) == ""
    assert "other photographs" in unfit(wanted._replace(mixed=True, data="another"))


def test_without_ray_one_line_says_how_to_get_it(tmp_path):
    code = "import sys; sys.modules['ray'] = None; from src.core import command; "
    code += "from src.sweep.cluster import connected; "
    code += "command(lambda: connected('auto').__enter__())"
    done = run("-c", code, PADDY_WORK=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == 'error: --address needs Ray; pip install -e ".[ray]"\n'
