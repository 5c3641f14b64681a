"""CPU and memory limits of this process, in a container too."""

import ctypes
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

import psutil

CGROUP = Path("/sys/fs/cgroup")  # in a container: its own limits
CPUS = Path("/proc/cpuinfo")
SHARED = Path("/dev/shm")  # where loader processes put their batches


def cores() -> int:
    """Cores this process may use: its affinity, and no more than its container's quota pays for."""
    import joblib

    return joblib.cpu_count()


def free_memory() -> int:
    """Bytes this process may still take: the machine's, and no more than its container's limit."""
    most, taken = _memory_limit()
    return max(0, min(psutil.virtual_memory().available, most - taken))


def _memory_limit() -> tuple[int, int]:
    """The container's limit and what is taken of it, by cgroup v2 or v1, without cached files."""
    for limit, stat, taken in (
        ("memory.max", "memory.stat", ("anon", "shmem")),
        ("memory/memory.limit_in_bytes", "memory/memory.stat", ("total_rss", "total_shmem")),
    ):
        files = [CGROUP / limit, CGROUP / stat]
        if all(file.is_file() for file in files):
            most, facts = (file.read_text("ascii").split() for file in files)
            if most != ["max"]:
                pairs = dict(zip(facts[::2], facts[1::2], strict=True))
                return int(most[0]), sum(int(pairs.get(name, 0)) for name in taken)
    return sys.maxsize, 0


def machine() -> dict[str, Any]:
    """What a card says of this machine: its processor, the cores and memory this process may use.

    With a GPU its name replaces the processor's.
    """
    memory = min(psutil.virtual_memory().total, _memory_limit()[0])
    return {"device": _processor(), "cores": cores(), "memory_gb": round(memory / 2**30, 1)}


def _processor() -> str:
    lines = CPUS.read_text("utf-8").splitlines() if CPUS.is_file() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def shared_memory() -> int:
    """Bytes free for the batches of loader processes."""
    return shutil.disk_usage(SHARED).free if SHARED.is_dir() else sys.maxsize


def reuse_memory() -> None:
    """Have glibc reuse freed memory, of any size, instead of returning it to the system.

    The batches of a training are freed and allocated again at every step. Each new page is a page
    fault: a third of the time of a training on a CPU. Elsewhere than with glibc nothing is done.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(-4, 0)  # M_MMAP_MAX: large blocks come from the heap, too
        libc.mallopt(-1, -1)  # M_TRIM_THRESHOLD: the heap never shrinks
