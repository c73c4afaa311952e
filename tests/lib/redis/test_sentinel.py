"""Connections to the master of Sentinels: authentication, TLS, sharing, and what fails the start."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from scalekit import StartError
from scalekit_redis import Connections
from tests.lib.redis.conftest import SecureServer
from tests.lib.redis.poll import failure, until_available
from tests.processes import HOST, free_ports
from tests.servers import Redis as Server
from tests.servers import SentinelGroup, SentinelNode

pytestmark = [pytest.mark.anyio, pytest.mark.needs("redis")]


@pytest.fixture(scope="module")
def group() -> Iterator[SentinelGroup]:
    with SentinelGroup() as group:
        yield group


async def rejection(connections: Connections, url: str) -> str:
    """Return the error of the start."""
    with pytest.raises(StartError) as caught:
        async with connections.open(url):
            pass
    assert not [task for task in asyncio.all_tasks() if "redis" in task.get_name()]
    return str(caught.value)


async def test_databases_are_separate_and_equal_urls_share_one_connection(
    group: SentinelGroup, connections: Connections
) -> None:
    async with connections.open(f"{group.url}/1") as one, connections.open(group.url) as other:
        await one.set("key", "x")
        assert await other.get("key") is None
        async with connections.open(f"{group.url}/1", timeout=9) as third:
            assert await third.get("key") == b"x"
            assert third._router is one._router


async def test_errors_name_the_present_master(group: SentinelGroup, connections: Connections) -> None:
    async with connections.open(group.url) as redis:
        await redis.get("key")
        group.master.pause()
        try:
            error = await failure(lambda: redis.get("key", timeout=0.01))
        finally:
            group.master.resume()
        assert str(error).startswith(f"{group.url} (master {HOST}:{group.port}): ")
        await until_available(redis.probe)


async def test_an_unknown_master_fails_the_start(group: SentinelGroup, connections: Connections) -> None:
    error = await rejection(connections, group.url.replace("mymaster", "yours"))
    assert "no Sentinel names the master yours" in error
    assert "No such master with that name" in error


async def test_a_server_that_is_no_sentinel_fails_the_start(group: SentinelGroup, connections: Connections) -> None:
    error = await rejection(connections, f"redis-sentinel://{HOST}:{group.port}/mymaster")
    assert f"{HOST}:{group.port} has the mode 'standalone', expected 'sentinel'" in error


async def test_one_reachable_sentinel_of_several_is_enough(group: SentinelGroup, connections: Connections) -> None:
    (closed,) = free_ports(1)
    url = f"redis-sentinel://{HOST}:{closed},{HOST}:{group.sentinels[2].port}/mymaster"
    async with connections.open(url) as redis:
        assert await until_available(lambda: redis.set("key", "x")) is True


async def test_a_replica_that_a_sentinel_names_as_the_master_is_not_used(connections: Connections) -> None:
    with Server() as master, Server() as server:
        server.cli("SET", "key", "stale")
        with SentinelNode(server) as sentinel:
            server.cli("REPLICAOF", HOST, master.port)  # Sentinel does not know yet
            async with connections.open(f"redis-sentinel://{HOST}:{sentinel.port}/mymaster") as redis:
                error = await failure(lambda: redis.get("key"))
                assert f"{HOST}:{server.port} has the role 'replica', expected 'master'" in str(error)
                server.cli("REPLICAOF", "NO", "ONE")
                assert await until_available(lambda: redis.set("key", "new")) is True


PASSWORDS = ["--requirepass", "data-hush", "--masterauth", "data-hush"]


class ProtectedServer(Server):
    password = "data-hush"


class ProtectedSentinel(SentinelNode):
    """Needs a user of its own, who may do no more than the documentation says."""

    password = "sentinel-hush"

    def prepare(self) -> None:
        super().prepare()
        allowed = "+hello +subscribe +sentinel|get-master-addr-by-name +sentinel|master resetchannels &+switch-master"
        with (self.box.directory / "sentinel.conf").open("a") as file:
            file.write(f"user default on >{self.password} +@all allchannels\nuser app on >app-hush {allowed}\n")


async def test_master_and_sentinels_have_users_of_their_own(
    connections: Connections, caplog: pytest.LogCaptureFixture
) -> None:
    with ProtectedServer(*PASSWORDS) as server, ProtectedSentinel(server, "auth-pass mymaster data-hush") as sentinel:
        where = f"{HOST}:{sentinel.port}/mymaster"
        options = "?sentinel_username=app&sentinel_password=app-hush"
        async with connections.open(f"redis-sentinel://:data-hush@{where}{options}") as redis:
            assert await redis.set("key", "x") is True
            server.cli("CLIENT", "KILL", "TYPE", "normal")
            assert await until_available(lambda: redis.get("key")) == b"x"
        errors = [
            await rejection(connections, f"redis-sentinel://:data-hush@{where}"),
            await rejection(connections, f"redis-sentinel://:data-hush@{where}?sentinel_password=wrong-hush"),
            await rejection(connections, f"redis-sentinel://:wrong-hush@{where}{options}"),
            await rejection(connections, f"redis-sentinel://{where}{options}"),
        ]
    for error in errors:
        assert "NOAUTH" in error or "WRONGPASS" in error
    assert "hush" not in "".join(errors) + caplog.text


class SecureSentinel(SentinelNode):
    """Accepts TLS on a second port, and connects to its master with TLS."""

    port_count = 2

    def prepare(self) -> None:
        super().prepare()
        file = self.box.directory / "sentinel.conf"
        file.write_text(file.read_text().replace(f" {self.master.port} ", f" {self.master.ports[1]} "))

    def command(self) -> list[object]:
        return [*super().command(), "--tls-port", self.ports[1], "--tls-replication", "yes", *self.master.arguments]


async def test_tls_is_used_for_sentinels_and_master(certificate: Path, connections: Connections) -> None:
    with SecureServer(certificate) as server, SecureSentinel(server) as sentinel:
        url = f"rediss-sentinel://{HOST}:{sentinel.ports[1]}/mymaster"
        async with connections.open(f"{url}?ssl_ca_certs={certificate}/cert.pem", timeout=5) as redis:
            assert await redis.set("key", "x") is True
            assert server.cli("GET", "key") == "x"
        assert "certificate verify failed" in await rejection(connections, url)
