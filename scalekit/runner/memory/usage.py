"""Read memory usage (RSS, PSS) and memory limits (cgroup, machine) from the kernel."""

from __future__ import annotations

import os
import sys
from pathlib import Path

IS_KNOWN = sys.platform != "win32"
"""Whether the platform says how much memory there is."""
PAGE = os.sysconf("SC_PAGE_SIZE") if IS_KNOWN else 4096
CGROUP_LIMITS = ("/sys/fs/cgroup/memory/memory.limit_in_bytes",)


def available_memory() -> int:
    """Return the bytes that the service may use: the cgroup's limit, or the memory of the machine."""
    machine = os.sysconf("SC_PHYS_PAGES") * PAGE if IS_KNOWN else sys.maxsize
    limits = [int(text) for text in map(_read, [*CGROUP_LIMITS, *cgroup_files("memory.max")]) if text.isdigit()]
    return min([machine, *limits])


def rss(pid: int) -> int:
    """Return the resident set size of process *pid* in bytes, with shared pages in full; 0 when it has exited."""
    fields = _read(f"/proc/{pid}/statm").split()
    return int(fields[1]) * PAGE if fields else 0


def pss(pid: int) -> int:
    """Return the proportional set size in bytes, with shared pages divided by their users; slow: it walks all pages."""
    for line in _read(f"/proc/{pid}/smaps_rollup").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def memory_in_use(pid: int, limit: int) -> int:
    """Return the memory of *pid* in bytes; the PSS, which is slow to read, only when the RSS exceeds *limit*."""
    upper_bound = rss(pid)
    return upper_bound if upper_bound <= limit else pss(pid) or upper_bound


def cgroup_files(name: str) -> list[str]:
    """Return the files *name* of this process's cgroup and its parents."""
    own = [line.partition("::")[2] for line in _read("/proc/self/cgroup").splitlines() if line.startswith("0::")]
    paths = [path for text in own for path in (Path(text), *Path(text).parents)]
    return [f"/sys/fs/cgroup/{name}", *(f"/sys/fs/cgroup{path}/{name}" for path in paths if str(path) != "/")]


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except OSError:
        return ""
