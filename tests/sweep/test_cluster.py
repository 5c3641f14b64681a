"""A Ray cluster: rows go to its nodes, bundles come back, a node may go or come meanwhile."""

import ipaddress
import resource
import shutil
import signal
import socket
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil
import pytest
from conftest import TINY, refusal, run
from small_cluster import TOKEN, Cluster, sweep, until_line
from small_sweep import left, until

from src import bundle
from src.bundle import versions
from src.core import make_variant
from src.sweep import Outcome, Place, Row, State, file_of, progress_of
from src.sweep.cluster import Nodes, _reason, _received, fetch
from src.sweep.folder import lock
from src.sweep.node import Wanted, _row_here, data_of, on_node, pieces, unfit

APART = Place("a 1", {})


@pytest.fixture
def cluster(tmp_path):
    started = Cluster(tmp_path / "home")
    yield started
    started.end()


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


def test_an_address_where_nobody_answers_is_one_line(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    done = run("-c", "from src.core import command; from src.sweep.cluster import connected; "
               f"command(lambda: connected('{address}').__enter__())", PADDY_WORK=str(tmp_path))
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith(f"error: nobody answers at {address} (Connection refused); ")


def test_a_byte_that_changed_on_the_way_is_noticed_and_nothing_takes_its_place(work, tmp_path):
    row = Row(make_variant(**TINY), tmp_path, tmp_path / "models")
    stored = Row(row.variant, tmp_path, work / "models")
    flipped = dict(pieces(stored))
    model = flipped["test_resnet_squish_32.pkl"]
    flipped["test_resnet_squish_32.pkl"] = model[:-1] + bytes([model[-1] ^ 1])
    assert "did not arrive whole" in refusal(fetch, iter(flipped.items()), row)
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
    wanted = Wanted(data_of(data), other, False, str(tmp_path / "none"),
                    "/another/sweep")
    assert unfit(wanted).startswith("has other versions: torch 1.0 (here ")
    assert unfit(wanted._replace(mixed=True)) == ""
    assert "other photographs" in unfit(wanted._replace(mixed=True, data="another"))
    image = next((data / "test_images").iterdir())
    image.write_bytes(image.read_bytes() + b" ")
    assert "other photographs" in unfit(wanted._replace(mixed=True))


def test_a_bundle_comes_in_small_pieces_and_arrives_equal_to_the_byte(work, tmp_path, monkeypatch):
    monkeypatch.setattr("src.sweep.node.CHUNK", 10_000)
    row = Row(make_variant(**TINY), tmp_path, tmp_path / "models")
    sent = list(pieces(row._replace(models=work / "models")))
    assert max(len(piece) for _, piece in sent) == 10_000 and sent[-1][0] == f"{row.name}.json"
    assert len(sent) > len({name for name, _ in sent}) + 2
    fetch(iter(sent), row)
    names = [path.name for path in row.models.iterdir()]
    assert set(names) == {name for name, _ in sent}
    assert all((row.models / name).read_bytes() == (work / "models" / name).read_bytes()
               for name in names if not name.endswith(".json"))


def test_a_node_sends_nothing_that_it_writes_to_the_drivers_own_folder(work, data, tmp_path):
    probe, variant = work / "models" / "probe", make_variant(**TINY)
    probe.touch()
    wanted = Wanted(data_of(data), versions.installed(), False, str(probe),
                    "/another/sweep")
    (done,) = on_node(variant.recipe, wanted, APART, {})
    assert done.state == State.DONE  # found there
    probe.unlink()
    shutil.copytree(work / "models", _row_here(variant.recipe, wanted, {}).models)
    done, *sent = on_node(variant.recipe, wanted, APART, {})
    assert done.state == State.DONE and sent[-1][0] == f"{variant.name}.json"


def test_a_row_that_another_sweep_trains_or_has_finished_is_sent_to_no_node(work, data):
    done = Row(make_variant(**TINY), data, work / "models")
    trains = done._replace(variant=make_variant(**TINY, seed=43))
    with lock(trains.name):
        assert Nodes(None, None, 1).work(trains, APART).state == State.BUSY
    assert Nodes(None, None, 1).work(done, APART).state == State.DONE


def test_the_log_of_a_failure_comes_back(models, tmp_path):
    row = Row(make_variant(**TINY), tmp_path, models)
    failed = Outcome("", "a", State.FAILED, "no rice")
    assert _received(iter([{"epoch": 1}, failed, b"the log\n"]), row) == failed
    assert file_of(row.name, "log").read_text() == "the log\n"
    assert progress_of(row.name) == {"epoch": 1}


def test_of_an_error_on_a_node_the_reason_is_said_and_not_rays_header():
    from ray.exceptions import RayTaskError

    text = "\x1b[36mray::row()\x1b[39m (pid=7)\n  File ...\nOSError: [Errno 5] x.pkl"
    error = RayTaskError("on_node", text, OSError(5, "x.pkl"))
    for one in (error, error.as_instanceof_cause()):  # Ray raises either
        assert _reason(one) == "OSError: [Errno 5] x.pkl"


def test_without_ray_one_line_says_how_to_get_it(tmp_path):
    code = "import sys; sys.modules['ray'] = None; from src.core import command; "
    code += "from src.sweep.cluster import connected; "
    code += "command(lambda: connected('auto').__enter__())"
    done = run("-c", code, PADDY_WORK=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == 'error: --address needs Ray; pip install -e ".[ray]"\n'
