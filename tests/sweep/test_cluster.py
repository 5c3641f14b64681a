"""A Ray cluster: rows go to its nodes, bundles come back, a node may go or come meanwhile."""

import ipaddress
import os
import resource
import signal
import subprocess
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from uuid import uuid4

import psutil
import pytest
from conftest import ROOT, TINY, refusal, run
from small_sweep import left, until

from src import bundle, competition
from src.bundle import versions
from src.core import make_variant
from src.sweep import Outcome, Place, Row, State, file_of, progress_of
from src.sweep.cluster import Nodes, _received, fetch
from src.sweep.folder import lock
from src.sweep.node import Wanted, pieces, unfit

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
    return {"HOME": str(home), "RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}


class Cluster:
    """A Ray cluster in a process of its own."""

    def __init__(self, home: Path) -> None:
        (home / ".ray").mkdir(parents=True)
        (home / ".ray" / "auth_token").write_text(TOKEN)  # Ray then refuses who has it not
        env = os.environ | environment(home)
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
        cwd=ROOT, env=os.environ | environment(home), text=True, stdout=subprocess.PIPE,
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


def processes_of(home: Path) -> list[psutil.Process]:
    """Those of the cluster and of its driver."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # gone, or another user's
            if process.environ().get("HOME") == str(home):
                found.append(process)
    return found


def addresses(processes: list[psutil.Process]) -> set[str]:
    """The addresses that they are connected to."""
    found = set()
    for process in processes:
        with suppress(psutil.Error):
            found |= {one.raddr.ip for one in process.net_connections("inet") if one.raddr}
    return {ip.removeprefix("::ffff:") for ip in found}


def test_a_cluster_is_interrupted_loses_a_node_and_gets_another(cluster, data, models, tmp_path):
    known, home = f"PADDY_DATA={data}", tmp_path / "home"
    cluster.change("add", "a", known, f"PADDY_WORK={tmp_path / 'a'}")
    cluster.change("add", "strange", f"PADDY_DATA={tmp_path}", f"PADDY_WORK={tmp_path / 's'}")
    first = sweep(cluster.address, home, "seed=42")
    seen = until_line(first, "training, ")
    assert "is no complete competition" in seen  # the strange node got nothing
    on_a = partial(left, tmp_path / "a")
    until(on_a)  # the notebook's process
    own = {one.address for cards in psutil.net_if_addrs().values() for one in cards}
    others = addresses(processes_of(home)) - own
    assert all(ipaddress.ip_address(other).is_loopback for other in others), others
    first.send_signal(signal.SIGINT)
    seen, errors = first.communicate(timeout=60)
    assert first.returncode == 1 and ": interrupted" in seen, seen + errors
    assert "the same command continues from there" in errors
    until(lambda: not on_a(), 5)
    again = sweep(cluster.address, home, "seed=42")
    until_line(again, "training, ")
    cluster.change("remove", "a")
    cluster.change("add", "b", known, f"PADDY_WORK={tmp_path / 'b'}")
    seen, errors = again.communicate(timeout=300)
    assert again.returncode == 0, seen + errors
    assert "lost; 1 row to go on elsewhere" in seen and "1 done, 0 failed" in seen
    assert "raylet" not in seen + errors and "Traceback" not in seen + errors, seen + errors
    assert not list((tmp_path / "s").rglob("*.pkl"))
    card = bundle.read_card(models, make_variant(**TINY).name)
    assert card["commit"] and not list(models.glob(".test_*"))
    written = [path.read_text(errors="replace") for folder in (models, models.parent / "sweep")
               for path in folder.rglob("*") if path.suffix in (".json", ".log")]
    assert written and not any(TOKEN in text for text in [*written, seen, errors])
    (home / ".ray" / "auth_token").unlink()
    _, errors = sweep(cluster.address, home, "seed=43").communicate(timeout=120)
    assert errors.startswith(f"error: no Ray cluster at {cluster.address} lets this machine in "
                             "(Token authentication")


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


def test_a_disk_that_fills_during_the_return_leaves_nothing(work, tmp_path):
    row = Row(make_variant(**TINY), tmp_path, tmp_path / "models")
    stored = Row(row.variant, tmp_path, work / "models")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # bytes of a file, then no more
    try:
        with pytest.raises(OSError, match="too large"):
            fetch(pieces(stored), row)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(row.models.iterdir()) == []


def test_a_node_with_other_versions_gets_no_work_unless_they_may_differ(
    data, tmp_path, monkeypatch
):
    monkeypatch.setenv("PADDY_WORK", str(tmp_path))
    other = versions.installed() | {"torch": "1.0"}
    wanted = Wanted(competition.train_fingerprint(data), other, False, str(tmp_path / "none"),
                    "/another/sweep")
    assert unfit(wanted).startswith("has other versions: torch 1.0 (here ")
    assert unfit(wanted._replace(mixed=True)) == ""
    assert "other photographs" in unfit(wanted._replace(mixed=True, data="another"))


def test_a_row_that_another_sweep_trains_is_sent_to_no_node(models, tmp_path):
    row, place = Row(make_variant(**TINY), tmp_path, models), Place("a 1", {"shared": ""})
    with lock(row.name):
        assert Nodes(None, None, 1).work(row, place).state == State.BUSY


def test_the_log_of_a_failure_comes_back(models, tmp_path):
    row = Row(make_variant(**TINY), tmp_path, models)
    failed = Outcome("", "a", State.FAILED, "no rice")
    assert _received(iter([{"epoch": 1}, failed, b"the log\n"]), row) == failed
    assert file_of(row.name, "log").read_text() == "the log\n"
    assert progress_of(row.name) == {"epoch": 1}


def test_without_ray_one_line_says_how_to_get_it(tmp_path):
    code = "import sys; sys.modules['ray'] = None; from src.core import command; "
    code += "from src.sweep.cluster import connected; "
    code += "command(lambda: connected('auto').__enter__())"
    done = run("-c", code, PADDY_WORK=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == 'error: --address needs Ray; pip install -e ".[ray]"\n'
