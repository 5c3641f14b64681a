"""Cores and memory as a container limits them."""

import os
import platform
import resource
import shutil
import sys
from types import SimpleNamespace

import pytest
from conftest import run

from src.core import resources


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_cores_are_those_this_process_may_use():
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
    done = run("-c", code + "from src.core import cores; print(cores())")
    assert done.stdout == "1\n", done


@pytest.mark.parametrize(
    ("files", "left"),
    [
        ({"memory.max": "max", "memory.stat": "anon 300\nfile 100"}, 5000),
        ({"memory.max": "1000", "memory.stat": "anon 200\nfile 150\nshmem 100"}, 700),
        ({"memory.max": "9000", "memory.stat": "anon 300\nfile 100"}, 5000),
        ({"memory.max": "200", "memory.stat": "anon 300\nfile 100"}, 0),
        ({"memory/memory.limit_in_bytes": "1000",
          "memory/memory.stat": "rss 1\ntotal_rss 400\ntotal_shmem 50"}, 550),
        ({}, 5000),
    ],
)
def test_free_memory_is_what_the_containers_limit_leaves(tmp_path, monkeypatch, files, left):
    monkeypatch.setattr(resources, "CGROUP", tmp_path)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    free = SimpleNamespace(available=5000, total=5 << 30)
    monkeypatch.setattr(resources.psutil, "virtual_memory", lambda: free)
    assert resources.free_memory() == left


@pytest.mark.parametrize(("limit", "memory"), [("max", 16.0), (str(3 << 29), 1.5)])
def test_machine_has_a_name_and_no_more_memory_than_its_container(
    tmp_path, monkeypatch, limit, memory
):
    (tmp_path / "memory.max").write_text(limit)
    (tmp_path / "memory.stat").write_text("anon 300")
    (tmp_path / "cpuinfo").write_text("processor : 0\nmodel name\t: Fast CPU\n")
    monkeypatch.setattr(resources, "CGROUP", tmp_path)
    monkeypatch.setattr(resources, "CPUS", tmp_path / "cpuinfo")
    total = SimpleNamespace(total=16 << 30)
    monkeypatch.setattr(resources.psutil, "virtual_memory", lambda: total)
    machine = {"device": "Fast CPU", "cores": resources.cores(), "memory_gb": memory}
    assert resources.machine() == machine
    monkeypatch.setattr(resources, "CPUS", tmp_path / "none")  # on another system
    assert resources.machine()["device"]


def test_shared_memory_is_what_is_free_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr(resources, "SHARED", tmp_path)
    assert abs(resources.shared_memory() - shutil.disk_usage(tmp_path).free) < 1 << 30
    monkeypatch.setattr(resources, "SHARED", tmp_path / "none")
    assert resources.shared_memory() == sys.maxsize  # nothing that could be too small


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_reused_memory_costs_page_faults_once():
    code = "import resource; from src.core import reuse_memory; {}" + """
for _ in range(20): b"x" * 2**26
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)"""
    before, after = (int(run("-c", code.format(call)).stdout) for call in ("", "reuse_memory()"))
    assert before - after > 18 * 2**26 / resource.getpagesize() / 1.1
