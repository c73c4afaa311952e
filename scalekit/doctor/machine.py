"""Diagnostics of the machine: file limits, accept queue, processors, memory, ports and the version of Python."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from math import ceil
from pathlib import Path

from scalekit.config.field_types import socket_path
from scalekit.config.tables import Server, split_address
from scalekit.context import Context
from scalekit.diagnostic import Diagnostic, Finding, Severity
from scalekit.runner.memory.usage import available_memory, cgroup_files

FEW_FILES = 4096
"""Open files below which connections are refused early: each connection is one."""
SMALL_SHARE = 128 * 2**20
"""Bytes of memory of a process below which an application with plugins does not fit."""
SOMAXCONN = "/proc/sys/net/core/somaxconn"
PYTHON_ENDS = {(3, 11): date(2027, 10, 31), (3, 12): date(2028, 10, 31), (3, 13): date(2029, 10, 31)}
"""The ends of support of Python's versions (devguide.python.org/versions)."""


def machine_diagnostics(context: Context) -> list[Diagnostic]:
    """Return the diagnostics of the machine for the ``[server]`` of *context*."""
    server = context.server

    async def limits() -> Sequence[Finding]:
        return [*file_findings(), *backlog_findings(server.backlog), *python_findings(sys.version_info[:2])]

    async def resources() -> Sequence[Finding]:
        return [
            *processor_findings(server.workers, available_processors(cgroup_files("cpu.max"))),
            *memory_findings(server, available_memory()),
        ]

    async def addresses() -> Sequence[Finding]:
        return await asyncio.to_thread(lambda: list(address_findings(server)))

    return [
        Diagnostic("limits of the machine", limits),
        Diagnostic("processors and memory", resources),
        Diagnostic("addresses", addresses),
    ]


def file_findings() -> Iterator[Finding]:
    """Yield whether a process may open too few files."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < FEW_FILES:
        yield Finding(
            "file-limit",
            Severity.ERROR if soft < 512 else Severity.WARNING,
            f"a process may open {soft} files, each connection is one: more clients than that are refused",
            "set LimitNOFILE=65536 in the unit of systemd, --ulimit nofile=65536 for a container, or ulimit -n 65536",
            "RLIMIT_NOFILE",
            f"{soft} (hard limit {'unlimited' if hard == resource.RLIM_INFINITY else hard})",
        )


def backlog_findings(backlog: int, file: str = SOMAXCONN) -> Iterator[Finding]:
    """Yield whether the kernel shortens the accept queue of *backlog* connections."""
    limit = int(_read(file) or backlog)
    if limit < backlog:
        yield Finding(
            "accept-queue",
            Severity.WARNING,
            f"the kernel limits the accept queue to {limit} connections, backlog is {backlog}: bursts are refused",
            f"sysctl -w net.core.somaxconn={max(4096, backlog)}, or lower backlog",
            "net.core.somaxconn",
            str(limit),
        )


def processor_findings(workers: int | None, processors: int) -> Iterator[Finding]:
    """Yield whether the number of *workers* does not fit to that of *processors*."""
    if workers is None and processors >= 4:
        yield Finding(
            "workers",
            Severity.ADVICE,
            f"one process serves, which uses one of {processors} processors",
            f"set workers = {processors} in [server], or run an instance for each processor",
            "server.workers",
            "none",
        )
    elif workers is not None and workers > 2 * processors:
        yield Finding(
            "workers",
            Severity.WARNING,
            f"{workers} workers share {processors} processors: each costs memory and connections, and none is faster",
            f"set workers = {processors} in [server], twice as many at most",
            "server.workers",
            str(workers),
        )


def memory_findings(server: Server, available: int) -> Iterator[Finding]:
    """Yield whether the workers of *server* may need more memory than is *available*, in bytes."""
    workers, limit = server.workers or 1, server.memory.limit
    share = available // workers
    if limit is not None and limit.of(available) * workers > available:
        yield Finding(
            "memory",
            Severity.WARNING,
            f"{workers} workers of {_mebibytes(limit.of(available))} each need more than the {_mebibytes(available)}"
            " of the machine or the cgroup: the kernel ends one before the limit replaces it",
            f'set limit = "{_mebibytes(int(share * 0.9))}" in [server.memory], or lower workers',
            "server.memory.limit",
            str(limit),
        )
    if share < SMALL_SHARE:
        yield Finding(
            "memory",
            Severity.WARNING,
            f"each of {workers} processes has {_mebibytes(share)} of memory",
            "raise the memory limit of the container, or lower workers in [server]",
            "memory.max",
            _mebibytes(available),
        )


def python_findings(version: tuple[int, int], today: date | None = None) -> Iterator[Finding]:
    """Yield whether the *version* of Python has no security updates any more."""
    end = PYTHON_ENDS.get(version)
    if end is not None and (today or datetime.now(UTC).date()) > end:
        yield Finding(
            "end-of-life",
            Severity.WARNING,
            f"Python {version[0]}.{version[1]} has had no security updates since {end}",
            "run the service on a newer Python",
            "python",
            f"{version[0]}.{version[1]}",
        )


def address_findings(server: Server) -> Iterator[Finding]:
    """Yield the addresses of *server* that another process uses, or that this machine does not have."""
    addresses = (
        [] if socket_path(server.host) or server.role == "worker" else [("server.host", server.host, server.port)]
    )
    management = server.management_address
    if management is not None and not socket_path(management):
        addresses.append(("server.management_address", *split_address(management)))
    for key, host, port in addresses:
        error = _bind_error(host, port)
        if error is not None:
            yield _address_finding(key, f"{host}:{port}", error)


def _address_finding(key: str, address: str, error: OSError) -> Finding:
    if error.errno == errno.EADDRINUSE:
        message = f"another process listens on {address}: unless it is an instance of this service, a start fails"
        remedy = "stop the other process, or choose another port; if it is this service, nothing is wrong"
        return Finding("address", Severity.ADVICE, message, remedy, key, address)
    message = f"this machine cannot listen on {address}: {error.strerror or error}"
    return Finding(
        "address", Severity.ERROR, message, "choose an address of this machine, and a port from 1024", key, address
    )


def _bind_error(host: str, port: int) -> OSError | None:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen()
    except OSError as error:
        return error
    return None


def available_processors(quota_files: Sequence[str]) -> int:
    """Return the processors that the service may use at a time: its own, fewer with a quota in *quota_files*."""
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [_read(file).split() for file in quota_files]
    limits = [ceil(int(quota[0]) / int(quota[1])) for quota in quotas if len(quota) == 2 and quota[0].isdigit()]
    return max(1, min([own, *limits]))


def _read(file: str) -> str:
    try:
        return Path(file).read_text(encoding="ascii")
    except OSError:  # not Linux, or not readable in the sandbox
        return ""


def _mebibytes(size: int) -> str:
    return f"{size // 2**20}MiB"
