"""The health check of the source, before any service is watched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scalekit import create_app
from scalekit.testing import running
from scalekit.testing.conformance import bare_application
from tests.discovery.kubernetes.api_server import ApiServer
from tests.discovery.name_server import NameServer
from tests.processes import HOST, free_ports
from tests.servers import Consul

pytestmark = pytest.mark.anyio


async def source_error(**table: Any) -> str:
    host = create_app({"plugins": {"discovery": {"cache_dir": "", **table}}}, app=bare_application)
    async with running(host):
        await host.monitor.check_once()
        assert not host.monitor.failing(critical=True)
        return host.monitor.results["discovery.source"].last_error


async def test_the_configuration_file_is_healthy() -> None:
    assert await source_error() == ""


async def test_an_unavailable_consul_is_reported() -> None:
    (port,) = free_ports(1)
    table = {"source": "consul", "consul": f"http://{HOST}:{port}"}
    assert f"Consul at http://{HOST}:{port} is unavailable" in await source_error(**table)


@pytest.mark.needs("consul")
async def test_an_available_consul_is_healthy() -> None:
    with Consul() as consul:
        assert await source_error(source="consul", consul=consul.url) == ""


async def test_a_name_server_is_healthy_unless_it_responds_with_servfail() -> None:
    with NameServer({("inventory.example.", "A"): [HOST]}) as server:
        table = {"source": "dns", "domain": "example", "nameserver": server.address}
        assert await source_error(**table) == ""
        server.failing = True
        assert f"DNS at {server.address} is unavailable" in await source_error(**table)


async def test_an_api_server_is_healthy_unless_it_rejects_the_token(tmp_path: Path) -> None:
    with ApiServer(tmp_path) as server:
        assert await source_error(**server.table()) == ""
        server.tokens = set()
        assert "responded with status 401" in await source_error(**server.table())
