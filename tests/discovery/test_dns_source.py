"""Instances from DNS, with a name server on the loopback address."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from scalekit import ConfigError
from scalekit.errors import Unavailable
from tests.discovery.harness import StockService, open_services, wait_instances
from tests.discovery.name_server import NameServer
from tests.processes import HOST, free_ports

pytestmark = pytest.mark.anyio


@pytest.fixture
def server() -> Iterator[NameServer]:
    with NameServer({("one.example.", "A"): [HOST]}) as server:
        yield server


def srv(port: int, priority: int = 1, weight: int = 5) -> str:
    return f"{priority} {weight} {port} one.example."


async def test_srv_records_give_ports_and_weights_and_are_queried_again(server: NameServer) -> None:
    with StockService() as first, StockService() as second:
        server.zone["inventory.example.", "SRV"] = [srv(first.port, weight=9), srv(1, priority=2)]
        async with open_services(source="dns", domain="example", nameserver=server.address) as directory:
            assert await wait_instances(directory, 1) == [first.url]
            (instance,) = await directory.instances("inventory")
            assert instance.weight == 9
            async with directory.client("inventory").get("/stock") as response:
                assert response.status == 200
            server.zone["inventory.example.", "SRV"] = [srv(first.port), srv(second.port)]
            assert await wait_instances(directory, 2) == sorted([first.url, second.url])


async def test_instances_from_a_records_have_dns_port(server: NameServer) -> None:
    with StockService() as stock:
        server.zone["inventory.example.", "A"] = [HOST]
        table = {"records": "a", "dns_port": stock.port, "domain": "example", "nameserver": server.address}
        async with open_services(source="dns", **table) as directory:
            assert await wait_instances(directory, 1) == [stock.url]


@pytest.mark.parametrize("records", ["a", "srv"])
async def test_addresses_are_queried_again_when_their_ttl_ends(server: NameServer, records: str) -> None:
    server.ttls = {"SRV": 3600}
    server.zone["inventory.example.", "A"] = [HOST]
    server.zone["inventory.example.", "SRV"] = ["1 1 80 inventory.example."]
    table = {"records": records, "domain": "example", "nameserver": server.address, "dns_interval": "1h"}
    async with open_services(source="dns", **table) as directory:
        assert await wait_instances(directory, 1) == [f"http://{HOST}:80"]
        server.zone["inventory.example.", "A"] = [HOST, "127.0.0.2"]
        assert await wait_instances(directory, 2) == [f"http://{HOST}:80", "http://127.0.0.2:80"]


async def test_the_last_known_instances_are_cached_for_when_dns_fails(server: NameServer, tmp_path: object) -> None:
    server.zone["inventory.example.", "SRV"] = [srv(81)]
    table = {"source": "dns", "domain": "example", "nameserver": server.address, "cache_dir": f"{tmp_path}/cache"}
    async with open_services(**table) as directory:
        assert await wait_instances(directory, 1) == [f"http://{HOST}:81"]
    server.failing = True
    async with open_services(**table) as directory:
        assert await wait_instances(directory, 1) == [f"http://{HOST}:81"]


async def test_an_unknown_name_has_no_instance(server: NameServer) -> None:
    async with open_services(source="dns", domain="example", nameserver=server.address) as directory:
        with pytest.raises(Unavailable, match="has no healthy instance"):
            await directory.client("unheard").get("/")


@pytest.mark.slow
async def test_the_error_names_an_unavailable_server(server: NameServer) -> None:
    (port,) = free_ports(1)
    table = {"source": "dns", "domain": "example", "nameserver": f"{HOST}:{port}", "initial_timeout": "8s"}
    async with open_services(**table) as directory:
        with pytest.raises(Unavailable, match="no instance is known: DNS at"):
            await directory.client("inventory").get("/")


async def test_a_nameserver_that_is_no_address_fails_the_start() -> None:
    with pytest.raises(ConfigError, match="is not an address"):
        async with open_services(source="dns", domain="example", nameserver="ns.example:53"):
            raise AssertionError("the start succeeded")
