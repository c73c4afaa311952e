"""How much memory there is, and how much of it a process uses, as the kernel tells."""

from __future__ import annotations

import os
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")
CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def available() -> int:
    """Return the bytes that this process and its kin may use: the cgroup's limit, or all the machine has."""
    machine = os.sysconf("SC_PHYS_PAGES") * PAGE
    limits = [int(text) for text in map(_read, _cgroup_files()) if text.isdigit()]
    return min([machine, *limits])


def resident(pid: int) -> int:
    """Return the bytes of the process *pid* that are in memory, shared ones counted whole; 0 when it has ended."""
    fields = _read(f"/proc/{pid}/statm").split()
    return int(fields[1]) * PAGE if fields else 0


def proportional(pid: int) -> int:
    """Return the same with what is shared counted in part; the kernel walks all its pages for that."""
    for line in _read(f"/proc/{pid}/smaps_rollup").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def in_use(pid: int, limit: int) -> int:
    """Return what *pid* uses, which is worked out exactly only when it may be more than *limit*."""
    whole = resident(pid)
    return whole if whole <= limit else proportional(pid) or whole


def _cgroup_files() -> list[str]:
    """Return where the limits of this process's cgroup and of those around it may stand."""
    own = [line.partition("::")[2] for line in _read("/proc/self/cgroup").splitlines() if line.startswith("0::")]
    paths = [path for text in own for path in (Path(text), *Path(text).parents)]
    return [*CGROUP_LIMITS, *(f"/sys/fs/cgroup{path}/memory.max" for path in paths if str(path) != "/")]


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except OSError:
        return ""
