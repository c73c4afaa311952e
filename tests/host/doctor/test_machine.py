"""Limits of the machine are findings where the service needs more."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from scalekit import Severity
from scalekit.config.tables import Memory, Server
from scalekit.config.types import SizeOrShare
from scalekit.doctor.machine import (
    address_findings,
    available_processors,
    backlog_findings,
    file_findings,
    memory_findings,
    processor_findings,
    python_findings,
)

MIB = 2**20


@pytest.fixture
def few_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_low_limit_of_files_is_found(few_files: None) -> None:
    (finding,) = file_findings()
    assert (finding.name, finding.severity) == ("file-limit", Severity.WARNING)
    assert finding.value.startswith("1024 (hard limit ")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, hard), hard))
    assert not list(file_findings())


def test_an_accept_queue_is_compared_with_that_of_the_kernel(tmp_path: Path) -> None:
    file = tmp_path / "somaxconn"
    file.write_text("128\n")
    (finding,) = backlog_findings(2048, str(file))
    assert (finding.key, finding.value) == ("net.core.somaxconn", "128")
    assert "sysctl -w net.core.somaxconn=4096" in finding.remedy
    assert not list(backlog_findings(128, str(file)))
    assert not list(backlog_findings(2048, str(tmp_path / "none")))


@pytest.mark.parametrize(
    ("workers", "processors", "severity"),
    [(None, 8, Severity.ADVICE), (None, 2, None), (8, 4, None), (9, 4, Severity.WARNING)],
)
def test_workers_fit_to_the_processors(workers: int | None, processors: int, severity: Severity | None) -> None:
    assert [each.severity for each in processor_findings(workers, processors)] == [severity] * (severity is not None)


def test_a_quota_of_the_cgroup_limits_the_processors(tmp_path: Path) -> None:
    for name, text in {"root": "max 100000\n", "half": "50000 100000\n", "many": "6400000 100000\n"}.items():
        (tmp_path / name).write_text(text)
    own = available_processors([])
    assert own == available_processors([str(tmp_path / each) for each in ("root", "many", "absent")])
    assert available_processors([str(tmp_path / each) for each in ("root", "half")]) == 1


def test_workers_fit_into_the_memory() -> None:
    def found(workers: int, limit: str | None, available: int) -> list[str]:
        server = Server(workers=workers, memory=Memory(limit=None if limit is None else SizeOrShare(limit)))
        return [each.key for each in memory_findings(server, available * MIB)]

    assert found(4, "512MiB", 1024) == ["server.memory.limit"]
    assert found(4, "20%", 1024) == []
    assert found(8, None, 512) == ["memory.max"]
    assert found(4, None, 4096) == []


def test_a_python_without_updates_is_found() -> None:
    (finding,) = python_findings((3, 11), date(2028, 1, 1))
    assert finding.name == "end-of-life"
    assert not list(python_findings((3, 11), date(2027, 1, 1)))
    assert not list(python_findings((3, 99)))


def test_addresses_that_are_in_use_or_not_of_this_machine_are_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (used,) = address_findings(Server(host="127.0.0.1", port=port))
        assert (used.severity, used.value) == (Severity.ADVICE, f"127.0.0.1:{port}")
        (management,) = address_findings(Server(role="worker", management_address=f"127.0.0.1:{port}"))
        assert management.key == "server.management_address"
    (foreign,) = address_findings(Server(host="192.0.2.1", port=0))
    assert (foreign.severity, foreign.value) == (Severity.ERROR, "192.0.2.1:0")
    assert not list(address_findings(Server(host="127.0.0.1", port=0)))
    assert not list(address_findings(Server(host="unix:/tmp/shop.sock")))
