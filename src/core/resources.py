"""CPU and memory limits of this process, in a container too."""

import ctypes
import platform
import shutil
import sys
from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup")  # in a container: its own limits
SHARED = Path("/dev/shm")  # where loader processes put their batches


def cores() -> int:
    """Cores this process may use: its affinity, and no more than its container's quota pays for."""
    import joblib

    return joblib.cpu_count()


def free_memory() -> int:
    """Bytes this process may still take: the machine's, and no more than its container's limit."""
    return max(0, min(psutil.virtual_memory().available, _memory_limit()))


def _memory_limit() -> int:
    """What the container's limit leaves, by cgroup v2 or v1; its cache of files does not count."""
    for limit, stat, taken in (
        ("memory.max", "memory.stat", ("anon", "shmem")),
        ("memory/memory.limit_in_bytes", "memory/memory.stat", ("total_rss", "total_shmem")),
    ):
        files = [CGROUP / limit, CGROUP / stat]
        if all(file.is_file() for file in files):
            most, facts = (file.read_text("ascii").split() for file in files)
            if most != ["max"]:
                pairs = dict(zip(facts[::2], facts[1::2], strict=True))
                return int(most[0]) - sum(int(pairs.get(name, 0)) for name in taken)
    return sys.maxsize


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
