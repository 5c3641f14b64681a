"""The nodes of a cluster: two at once, others' versions, the driver's folder, a retry, a race."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import TINY
from small_bundles import variant_in
from small_cluster import ASKED, TOGETHER, Cluster, sweep
from small_sweep import left, until

from src import bundle
from src.bundle import versions
from src.core import make_variant
from src.sweep import attempts_at, progress_of
from src.sweep.node import Wanted, _row_here, data_of

MIB = 2**20
OTHER = "0.0.1"  # the version of timm on one of the nodes


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """Of the cluster; the nodes a and b work in folders of it."""
    return tmp_path_factory.mktemp("cluster")


@pytest.fixture(scope="module")
def address(home, competition_once) -> Iterator[str]:
    """Of a cluster with two nodes; b has another timm."""
    metadata = home / "packages" / f"timm-{OTHER}.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text(f"Metadata-Version: 2.1\nName: timm\nVersion: {OTHER}\n")
    cluster = Cluster(home / "home")
    known = f"PADDY_DATA={competition_once}"
    cluster.change("add", "a", known, f"PADDY_WORK={home / 'a'}")
    cluster.change("add", "b", known, f"PADDY_WORK={home / 'b'}", f"PYTHONPATH={home / 'packages'}")
    yield cluster.address
    cluster.end()


@pytest.fixture
def drive(address, home, data, models):
    """Start a sweep there by these words; the processes of nodes that failed are ended."""
    yield lambda *words, **options: sweep(address, home / "home", *words, **options)
    for node in ("a", "b"):
        for process in left(home / node):
            process.kill()


def told(process) -> str:
    """All that a sweep printed, if it went well."""
    seen, errors = process.communicate(timeout=120)
    assert process.returncode == 0, seen + errors
    return seen


def test_a_sweep_has_ray_report_nothing(drive, monkeypatch):
    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED", raising=False)
    assert told(drive(code=ASKED)).endswith("it reports: False\n")


def test_two_nodes_train_two_rows_at_once_and_the_card_says_whose_versions(drive, models, home):
    lines = told(drive("seed=42,43", "--mixed-versions")).splitlines()
    states = [line.split(": ")[1].split(",")[0] for line in lines if line.startswith("test_")
              and ": " in line]
    assert states == ["training", "training", "done", "done"]
    timm = {bundle.read_card(models, make_variant(**TINY, seed=seed).name)["versions"]["timm"]
            for seed in (42, 43)}
    assert timm == {OTHER, versions.installed()["timm"]}
    assert [len(list((home / node / "sweep").rglob("*.pkl"))) for node in "ab"] == [1, 1]


def test_a_node_with_other_versions_is_named_and_one_that_sees_the_folders_writes_there(
    drive, home
):
    work = home / "a"  # so that the node has the very folders of the driver
    seen = told(drive("seed=44", code=TOGETHER, PADDY_WORK=str(work)))
    assert f"has other versions: timm {versions.installed()['timm']} (here {OTHER}); " in seen
    name = make_variant(**TINY, seed=44).name
    assert bundle.read_card(work / "models", name)["commit"]
    log = (work / "sweep" / f"{name}.log").read_text()
    assert "the log is there" not in log and f"{name}: epoch 3/3" in log
    assert not list((home / "b").rglob(f"{name}*"))


def test_a_retry_on_the_same_node_resumes_from_the_checkpoint(drive, models, home):
    process = drive("seed=45", "epochs=6")
    name = make_variant(**TINY | {"seed": 45, "epochs": 6}).name
    until(lambda: progress_of(name).get("epoch"))
    for kernel in left(home / "a"):
        if "ipykernel" in " ".join(kernel.cmdline()):
            kernel.kill()
    seen = told(process)
    assert f"{name}: again, " in seen and "1 done, 0 failed" in seen
    (attempt,) = attempts_at(name)
    assert "kernel" in attempt["reason"]
    log = (home / "a" / "sweep" / f"{name}.log").read_text()
    assert f"resuming after epoch {attempt['epoch']} of 6" in log


def test_a_race_on_a_cluster_brings_the_bundles_of_each_round(drive, models, home, data):
    recipes = [TINY | {"arch": "test_vit", "tta": "none", "desc": desc, "seed": seed}
               for desc in "ab" for seed in (42, 43)]
    wanted = Wanted("", {}, True, "/nowhere/at/all", "")
    for recipe in recipes:
        made = ready(home / "ready", data, recipe)
        for node in "ab":  # finished there, as after a driver that was killed
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("PADDY_WORK", str(home / node))
                wanted = wanted._replace(data=data_of(data))
                here = _row_here(make_variant(**recipe).recipe, wanted, {}).models
            here.mkdir(parents=True)
            for path in (home / "ready").glob(f"{made['name']}.*"):
                os.link(path, here / path.name)
    words = ["arch=test_vit", "tta=none", "desc=a,b", "--repeats", "2", "--keep", "1"]
    seen = told(drive("race", *words, "--mixed-versions"))
    assert "round 2: 2 rows; " in seen and "4 runs, " in seen
    for recipe in recipes:
        folder = models if recipe["seed"] == 42 else models / "compare"
        name = make_variant(**recipe).name
        sent, come = (bundle.pkl_path(place, name) for place in (home / "ready", folder))
        assert come.read_bytes() == sent.read_bytes() and come.stat().st_size == 40 * MIB


def ready(folder: Path, data: Path, recipe: dict) -> dict:
    """A finished bundle of 40 MiB, several pieces; its card."""
    model = os.urandom(MIB) * 40
    name = variant_in(folder, data, card={"seconds": 60, "model": model}, **recipe)
    return bundle.read_card(folder, name)


def test_a_file_that_a_node_cannot_open_is_named_where_the_sweep_runs(data, models, tmp_path):
    name, home = make_variant(**TINY).name, tmp_path / "home"
    lock = tmp_path / "a" / "sweep" / f"{name}.lock"
    lock.mkdir(parents=True)
    cluster = Cluster(home)
    try:
        cluster.change("add", "a", f"PADDY_DATA={data}", f"PADDY_WORK={tmp_path / 'a'}")
        seen, errors = sweep(cluster.address, home, "seed=42").communicate(timeout=300)
    finally:
        cluster.end()
    assert "failed, " in seen and f"Is a directory: '{lock}'" in seen, seen + errors
    assert "Is a directory" in attempts_at(name)[-1]["reason"] and "\x1b" not in seen
