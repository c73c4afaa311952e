"""Opening, sharing and closing connections, and the errors when that fails."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from scalekit import StartError, create_app
from scalekit.telemetry import Telemetry
from scalekit.testing import running
from scalekit_redis import Connections, RedisUnavailable, redis_connections
from scalekit_redis.connector import Connector
from scalekit_redis.metrics import CONNECTIONS
from scalekit_redis.url import parse_url
from tests.lib.redis.conftest import SecureServer
from tests.lib.redis.poll import failure, until, until_available
from tests.lib.redis.proxy import open_proxy
from tests.plugin_source import Install
from tests.processes import HOST, free_ports
from tests.servers import Redis as Server

pytestmark = pytest.mark.anyio

PASSWORD = "p:@ss/hush"


def clients(server: Server) -> int:
    return len(server.cli("CLIENT", "LIST").splitlines()) - 1  # without the connection of this query


async def test_clients_of_one_url_share_a_connection_until_the_last_is_closed(
    server: Server, connections: Connections
) -> None:
    before = clients(server)
    async with connections.open(server.url) as first:
        async with connections.open(f"redis://{HOST}:{server.port}", timeout=9) as second:
            assert await first.set("key", "x") is True
            assert await second.get("key") == b"x"
            assert clients(server) == before + 1
        async with connections.open(f"redis://{HOST}:{server.port}/1") as third:
            assert await third.get("key") is None
            assert clients(server) == before + 2
        assert await first.get("key") == b"x"
    await until("the end of the connection", lambda: clients(server) == before)
    async with connections.open(server.url) as again:
        assert await again.get("key") == b"x"


async def test_concurrent_opens_share_one_connection(
    server: Server, connections: Connections, telemetry: Telemetry
) -> None:
    async def use() -> None:
        async with connections.open(server.url) as redis:
            await redis.get("key")

    await asyncio.gather(*(use() for _ in range(50)))
    assert telemetry.series(CONNECTIONS, str(server.url).removesuffix("/0")).value == 1


async def test_a_closed_client_sends_nothing(server: Server, connections: Connections) -> None:
    async with connections.open(server.url) as redis:
        pass
    assert (await failure(lambda: redis.get("key"))).kind == "closed"


async def test_pending_commands_fail_when_the_client_is_closed(server: Server, connections: Connections) -> None:
    async with open_proxy(server.port) as proxy:
        async with connections.open(proxy.url) as redis:
            proxy.open.clear()
            waiting: list[asyncio.Future[Any]] = [
                asyncio.ensure_future(redis.get("key")),
                asyncio.ensure_future(redis.set("key", "x")),
            ]
            await asyncio.sleep(0)
        ended = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(each, RedisUnavailable) for each in ended), ended


async def test_an_unavailable_server_does_not_fail_the_start(connections: Connections) -> None:
    (port,) = free_ports(1)
    async with connections.open(f"redis://{HOST}:{port}") as redis:
        assert (await failure(lambda: redis.get("key"))).kind == "unavailable"


async def test_plugins_of_an_application_share_one_connection(server: Server, install: Install) -> None:
    source = f"""
    from contextlib import asynccontextmanager
    from scalekit import Lifespan, hookimpl
    from scalekit_redis import redis_connections

    @hookimpl
    def scalekit_lifespan(context):
        @asynccontextmanager
        async def run():
            async with redis_connections(context).open("{server.url}") as redis:
                await redis.call("INCR", "started")
                yield

        return Lifespan(run)
    """
    install("one", source)
    install("other", source)
    server.cli("DEL", "started")
    before = clients(server)
    host = create_app({"plugins": {"one": {}, "other": {}}}, app=nothing)
    async with running(host):
        assert server.cli("GET", "started") == "2"
        assert clients(server) == before + 1
        assert isinstance(redis_connections(host.context), Connections)
    await until("the end of the connection", lambda: clients(server) == before)


async def nothing(scope: object, receive: object, send: object) -> None:
    """Do nothing."""


@pytest.fixture(params=[pytest.param("redis-server", marks=pytest.mark.needs("redis"))])
def protected(request: pytest.FixtureRequest) -> Iterator[Server]:
    class ProtectedServer(Server):
        password = PASSWORD

    with ProtectedServer("--requirepass", PASSWORD, "--user", "ann", "on", f">{PASSWORD}", "~*", "+@all") as server:
        yield server


@pytest.mark.parametrize("user", ["", "ann"])
async def test_a_password_is_sent_and_never_logged_or_shown(
    protected: Server, connections: Connections, user: str, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"redis://{user}:{quote(PASSWORD, safe='')}@{HOST}:{protected.port}"
    async with connections.open(url) as redis:
        assert await redis.set("key", "x") is True
        await asyncio.to_thread(protected.kill)
        while (error := await failure(lambda: redis.get("key"))).kind != "unavailable":
            pass
        assert "hush" not in str(error) + repr(error)
        assert "hush" not in repr(error.__cause__) + repr(error.__context__)
        await asyncio.to_thread(protected.start)
        assert await until_available(lambda: redis.get("key")) is None
    assert "hush" not in caplog.text


def test_a_password_in_a_connection_error_is_masked() -> None:
    connector = Connector(parse_url("redis://ann:hush@localhost"), ("localhost", 6379))
    assert connector.describe(ConnectionError("ann with hush cannot connect")) == "ann with *** cannot connect"


@pytest.mark.parametrize("password", ["", "wrong-hush"])
async def test_a_wrong_password_fails_the_start(protected: Server, connections: Connections, password: str) -> None:
    with pytest.raises(StartError, match=f"redis://{HOST}:{protected.port} rejects the connection: ") as caught:
        async with connections.open(f"redis://:{password}@{HOST}:{protected.port}"):
            pass
    assert "hush" not in str(caught.value)


async def test_an_unknown_database_fails_the_start(server: Server, connections: Connections) -> None:
    with pytest.raises(StartError, match="DB index is out of range"):
        async with connections.open(f"redis://{HOST}:{server.port}/99"):
            pass


@pytest.mark.needs("redis")
async def test_a_server_is_reached_through_a_unix_socket(connections: Connections) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        path = f"{folder}/redis.sock"
        with Server("--unixsocket", path):
            async with connections.open(f"unix://{path}?db=1") as redis:
                assert await redis.set("key", "x") is True
                assert await asyncio.gather(*(redis.get("key") for _ in range(100))) == [b"x"] * 100


@pytest.mark.parametrize(
    "binary",
    [
        pytest.param("redis-server", marks=pytest.mark.needs("redis")),
        pytest.param("valkey-server", marks=pytest.mark.needs("valkey")),
    ],
)
async def test_the_certificate_of_a_tls_server_is_verified(
    certificate: Path, connections: Connections, binary: str
) -> None:
    with SecureServer(certificate, binary) as server:
        url = f"rediss://{HOST}:{server.ports[1]}"
        async with connections.open(f"{url}?ssl_ca_certs={certificate}/cert.pem", timeout=5) as redis:
            value = bytes(500_000)
            assert await redis.set("key", value) is True
            assert await asyncio.gather(*(redis.get("key") for _ in range(20))) == [value] * 20
            await asyncio.to_thread(server.kill)
            await failure(lambda: redis.get("key"))
            await asyncio.to_thread(server.start)
            assert await until_available(lambda: redis.get("key")) is None
        with pytest.raises(StartError, match="certificate verify failed"):
            async with connections.open(url):
                pass


WITHOUT_HIREDIS = """
import asyncio, sys
import scalekit
from scalekit_redis import Connections
from scalekit.telemetry import NullTelemetry

assert not {"redis", "hiredis"} & sys.modules.keys()
sys.modules["hiredis"] = None

async def main():
    async with Connections(NullTelemetry()).open("redis://:hush@localhost"):
        pass

try:
    asyncio.run(main())
except scalekit.StartError as error:
    print(error)
"""


async def test_hiredis_is_imported_by_the_first_open_and_the_error_without_it_has_the_remedy() -> None:
    ended = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", WITHOUT_HIREDIS], capture_output=True, text=True, check=True
    )
    assert ended.stdout == "redis://localhost:6379 needs hiredis: pip install 'scalekit-asgi[redis]'\n"


async def test_a_rejected_start_leaves_no_task(protected: Server, connections: Connections) -> None:
    url = f"redis://{HOST}:{protected.port}"
    for _ in range(2):
        with pytest.raises(StartError, match="rejects the connection"):
            async with connections.open(url):
                pass
    assert not [task for task in asyncio.all_tasks() if "redis" in task.get_name()]


async def test_a_cancelled_open_leaves_no_task(connections: Connections) -> None:
    (port,) = free_ports(1)
    with socket.create_server((HOST, port), backlog=8):  # accepts connections and never replies
        opening = asyncio.ensure_future(enter(connections, f"redis://{HOST}:{port}"))
        await until("the attempt", lambda: any("redis" in task.get_name() for task in asyncio.all_tasks()))
        opening.cancel()
        await asyncio.wait([opening])
    assert not [task for task in asyncio.all_tasks() if "redis" in task.get_name()]


async def test_an_open_cancelled_at_any_step_leaves_no_task_and_no_connection(
    server: Server, connections: Connections
) -> None:
    before = clients(server)
    for turns in range(40):
        opening = asyncio.ensure_future(enter(connections, server.url))
        for _ in range(turns):
            await asyncio.sleep(0)
        opening.cancel()
        await asyncio.wait_for(asyncio.wait([opening]), 60)
        assert not [task for task in asyncio.all_tasks() if "redis" in task.get_name()]
    await until("the end of all connections", lambda: clients(server) == before)


async def enter(connections: Connections, url: str) -> None:
    async with connections.open(url):
        await asyncio.Event().wait()
