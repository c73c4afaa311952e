"""Health tells whether the source answers, before anything has been looked for."""

from __future__ import annotations

from typing import Any

import pytest

from scalekit import create_app
from scalekit.testing import running
from scalekit.testing.conformance import bare_application
from tests.discovery.test_dns_source import NameServer
from tests.processes import HOST, free_ports
from tests.servers import Consul

pytestmark = pytest.mark.anyio


async def source_error(**table: Any) -> str:
    host = create_app({"plugins": {"discovery": {"keep": "", **table}}}, app=bare_application)
    async with running(host):
        await host.monitor.check_once()
        assert not host.monitor.failing(critical=True)
        return host.monitor.results["discovery.source"].last_error


async def test_the_file_is_always_there() -> None:
    assert await source_error() == ""


async def test_a_consul_that_is_gone_is_told() -> None:
    (port,) = free_ports(1)
    table = {"source": "consul", "consul": f"http://{HOST}:{port}"}
    assert f"Consul at http://{HOST}:{port} cannot be asked" in await source_error(**table)


@pytest.mark.needs("consul")
async def test_a_consul_that_answers_is_well() -> None:
    with Consul() as consul:
        assert await source_error(source="consul", consul=consul.url) == ""


async def test_a_name_server_that_answers_is_well_and_one_that_refuses_is_told() -> None:
    with NameServer({("inventory.example.", "A"): [HOST]}) as server:
        table = {"source": "dns", "domain": "example", "nameserver": server.address}
        assert await source_error(**table) == ""
        server.broken = True
        assert f"DNS at {server.address} cannot be asked" in await source_error(**table)
