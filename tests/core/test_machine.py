"""Cores and memory as a container lends them."""

import os
import shutil
import sys
from types import SimpleNamespace

import pytest

from src.core import resources as machine


@pytest.fixture
def cgroup(tmp_path, monkeypatch):
    """A function that writes the files of a container's limits; this process may use 16 cores."""
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)

    def write(**files: str) -> None:
        for name, text in files.items():
            path = tmp_path / name.replace("__", "/").replace("cpu_", "cpu.")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text + "\n")

    return write


@pytest.mark.parametrize(
    ("limit", "cores"),
    [("max 100000", 16), ("400000 100000", 4), ("150000 100000", 2), ("50000 100000", 1),
     ("9900000 100000", 16)],
)
def test_cores_are_those_the_quota_of_cgroup_v2_pays_for(cgroup, limit, cores):
    cgroup(cpu_max=limit)
    assert machine.cores() == cores


@pytest.mark.parametrize(("quota", "cores"), [("-1", 16), ("300000", 3), ("20000", 1)])
def test_cores_are_those_the_quota_of_cgroup_v1_pays_for(cgroup, quota, cores):
    cgroup(cpu__cpu_cfs_quota_us=quota, cpu__cpu_cfs_period_us="100000")
    assert machine.cores() == cores


def test_without_a_quota_affinity_decides(cgroup, monkeypatch):
    assert machine.cores() == 16
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    assert machine.cores() == 1


def test_a_system_without_affinity_counts_its_cores(cgroup, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert machine.cores() == os.cpu_count()


@pytest.mark.parametrize(
    ("files", "left"),
    [
        ({"memory.max": "max", "memory.stat": "anon 300\nfile 100"}, 5000),
        ({"memory.max": "1000", "memory.stat": "anon 200\nfile 150\nshmem 100"}, 700),
        ({"memory.max": "9000", "memory.stat": "anon 300\nfile 100"}, 5000),
        ({"memory.max": "200", "memory.stat": "anon 300\nfile 100"}, 0),
        ({"memory__memory.limit_in_bytes": "1000", "memory__memory.stat": "rss 1\ntotal_rss 400"},
         600),
        ({"memory__memory.limit_in_bytes": "1000",
          "memory__memory.stat": "total_rss 400\ntotal_shmem 50"}, 550),
        ({}, 5000),
    ],
)
def test_free_memory_is_what_the_containers_limit_leaves(cgroup, monkeypatch, files, left):
    cgroup(**files)
    free = SimpleNamespace(available=5000)
    monkeypatch.setattr(machine.psutil, "virtual_memory", lambda: free)
    assert machine.free_memory() == left


def test_shared_memory_is_what_is_free_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "SHARED", tmp_path)
    assert abs(machine.shared_memory() - shutil.disk_usage(tmp_path).free) < 1 << 30
    monkeypatch.setattr(machine, "SHARED", tmp_path / "none")
    assert machine.shared_memory() == sys.maxsize  # nothing that could be too small
