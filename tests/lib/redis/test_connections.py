"""Who shares a connection, how it is opened, and what is said where it cannot be."""

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
from tests.lib.redis.poll import failure, until, until_answered
from tests.lib.redis.proxy import proxy
from tests.plugin_source import Install
from tests.processes import HOST, free_ports
from tests.servers import Redis as Server

pytestmark = pytest.mark.anyio

PASSWORD = "p:@ss/hush"


def clients(server: Server) -> int:
    return len(server.cli("CLIENT", "LIST").splitlines()) - 1  # but for the one that asks


async def test_who_names_the_same_address_shares_a_connection_until_the_last_leaves(
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


async def test_many_may_open_and_leave_at_once(server: Server, connections: Connections, telemetry: Telemetry) -> None:
    async def use() -> None:
        async with connections.open(server.url) as redis:
            await redis.get("key")

    await asyncio.gather(*(use() for _ in range(50)))
    assert telemetry.series(CONNECTIONS, str(server.url).removesuffix("/0")).value == 1


async def test_after_the_last_has_left_nothing_is_sent(server: Server, connections: Connections) -> None:
    async with connections.open(server.url) as redis:
        pass
    assert (await failure(lambda: redis.get("key"))).kind == "closed"


async def test_who_waits_when_the_last_leaves_is_told(server: Server, connections: Connections) -> None:
    async with proxy(server.port) as between:
        async with connections.open(between.url) as redis:
            between.open.clear()
            waiting: list[asyncio.Future[Any]] = [
                asyncio.ensure_future(redis.get("key")),
                asyncio.ensure_future(redis.set("key", "x")),
            ]
            await asyncio.sleep(0)
        ended = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(each, RedisUnavailable) for each in ended), ended


async def test_a_server_that_is_not_there_yet_is_no_error(connections: Connections) -> None:
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
    """Serve nothing."""


@pytest.fixture(params=[pytest.param("redis-server", marks=pytest.mark.needs("redis"))])
def guarded(request: pytest.FixtureRequest) -> Iterator[Server]:
    class Guarded(Server):
        password = PASSWORD

    with Guarded("--requirepass", PASSWORD, "--user", "ann", "on", f">{PASSWORD}", "~*", "+@all") as server:
        yield server


@pytest.mark.parametrize("user", ["", "ann"])
async def test_a_password_is_sent_and_never_shown(
    guarded: Server, connections: Connections, user: str, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"redis://{user}:{quote(PASSWORD, safe='')}@{HOST}:{guarded.port}"
    async with connections.open(url) as redis:
        assert await redis.set("key", "x") is True
        await asyncio.to_thread(guarded.kill)
        while (error := await failure(lambda: redis.get("key"))).kind != "unavailable":
            pass
        assert "hush" not in str(error) + repr(error)
        assert "hush" not in repr(error.__cause__) + repr(error.__context__)
        await asyncio.to_thread(guarded.start)
        assert await until_answered(lambda: redis.get("key")) is None
    assert "hush" not in caplog.text


def test_whatever_the_client_library_says_shows_no_password() -> None:
    connector = Connector(parse_url("redis://ann:hush@localhost"), ("localhost", 6379))
    assert connector.describe(ConnectionError("ann with hush cannot connect")) == "ann with *** cannot connect"


@pytest.mark.parametrize("password", ["", "wrong-hush"])
async def test_a_wrong_password_is_refused_at_the_start(
    guarded: Server, connections: Connections, password: str
) -> None:
    with pytest.raises(StartError, match=f"redis://{HOST}:{guarded.port} rejects the connection: ") as caught:
        async with connections.open(f"redis://:{password}@{HOST}:{guarded.port}"):
            pass
    assert "hush" not in str(caught.value)


async def test_a_database_that_is_not_there_is_refused_at_the_start(server: Server, connections: Connections) -> None:
    with pytest.raises(StartError, match="DB index is out of range"):
        async with connections.open(f"redis://{HOST}:{server.port}/99"):
            pass


@pytest.mark.needs("redis")
async def test_a_socket_is_as_good_as_an_address(connections: Connections) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        path = f"{folder}/redis.sock"
        with Server("--unixsocket", path):
            async with connections.open(f"unix://{path}?db=1") as redis:
                assert await redis.set("key", "x") is True
                assert await asyncio.gather(*(redis.get("key") for _ in range(100))) == [b"x"] * 100


@pytest.fixture(scope="module")
def certificate() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test"]
        names = ["-addext", f"subjectAltName=IP:{HOST}", "-keyout", f"{folder}/key.pem", "-out", f"{folder}/cert.pem"]
        subprocess.run([*request, *names], check=True, capture_output=True)
        yield Path(folder)


class SecureServer(Server):
    """Takes TLS on a second port."""

    port_count = 2

    def __init__(self, certificate: Path, binary: str) -> None:
        files = ["--tls-cert-file", f"{certificate}/cert.pem", "--tls-key-file", f"{certificate}/key.pem"]
        super().__init__(
            *files, "--tls-ca-cert-file", f"{certificate}/cert.pem", "--tls-auth-clients", "no", binary=binary
        )

    def command(self) -> list[object]:
        return [*super().command(), "--tls-port", self.ports[1]]


@pytest.mark.parametrize(
    "binary",
    [
        pytest.param("redis-server", marks=pytest.mark.needs("redis")),
        pytest.param("valkey-server", marks=pytest.mark.needs("valkey")),
    ],
)
async def test_over_tls_the_server_must_be_who_it_says(
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
            assert await until_answered(lambda: redis.get("key")) is None
        with pytest.raises(StartError, match="certificate verify failed"):
            async with connections.open(url):
                pass


WITHOUT = """
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


async def test_the_client_libraries_are_imported_when_the_first_is_opened_and_else_the_remedy_is_told() -> None:
    ended = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True
    )
    assert ended.stdout == "redis://localhost:6379 needs hiredis: pip install 'scalekit-asgi[redis]'\n"


async def test_a_start_that_is_refused_leaves_nothing_behind(guarded: Server, connections: Connections) -> None:
    url = f"redis://{HOST}:{guarded.port}"
    for _ in range(2):
        with pytest.raises(StartError, match="rejects the connection"):
            async with connections.open(url):
                pass
    assert not [task for task in asyncio.all_tasks() if "redis" in task.get_name()]


async def test_who_is_cancelled_while_opening_leaves_nothing_behind(connections: Connections) -> None:
    (port,) = free_ports(1)
    with socket.create_server((HOST, port), backlog=8):  # takes connections and never answers
        opening = asyncio.ensure_future(enter(connections, f"redis://{HOST}:{port}"))
        await until("the attempt", lambda: any("redis" in task.get_name() for task in asyncio.all_tasks()))
        opening.cancel()
        await asyncio.wait([opening])
    assert not [task for task in asyncio.all_tasks() if "redis" in task.get_name()]


async def test_nor_does_who_is_cancelled_at_any_moment_of_it(server: Server, connections: Connections) -> None:
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
