"""Instances that are killed or overloaded, and clients that break off, behind nginx, Caddy and HAProxy."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection, HTTPException, RemoteDisconnected
from pathlib import Path
from threading import Thread
from uuid import uuid4

import pytest

from tests.processes import HOST, wait_for
from tests.proxies import FRONTS, CaddyFront, Proxy
from tests.servers import ask
from tests.service import Service

pytestmark = pytest.mark.needs("nginx", "caddy", "haproxy")

SERVER = 'trusted_proxies = ["127.0.0.1"]\ndrain_delay = "1s"\n'
SOURCE = """\
import asyncio
import os
from pathlib import Path

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

HITS = Path({hits!r})


async def once(request):
    \"""Respond at once, but not to the first request with this key.\"""
    key = request.path_params["key"]
    await request.body()
    first = f"{{key}} " not in HITS.read_text()
    with HITS.open("a") as file:
        file.write(f"{{key}} {{os.getpid()}}\\n")
    if first:
        await asyncio.sleep(600)
    return PlainTextResponse(key)


async def overloaded(request):
    return PlainTextResponse("later", 503, {{"Retry-After": "7"}})


async def pid(request):
    return PlainTextResponse(str(os.getpid()))


async def read(request):
    return PlainTextResponse(str(len(await request.body())))


methods = ["GET", "HEAD", "PUT", "POST", "DELETE"]
app = Starlette(
    routes=[
        Route("/once/{{key}}", once, methods=methods),
        Route("/overloaded", overloaded),
        Route("/pid", pid),
        Route("/read", read, methods=methods),
    ]
)
"""


class Pair:
    """Two instances behind a proxy; *hits* has a line for each request that an instance has begun to execute."""

    def __init__(self, services: list[Service], front: Proxy, hits: Path) -> None:
        self.services = services
        self.front = front
        self.hits = hits

    def executions(self, key: str) -> list[int]:
        """Return the process ids of the instances that have executed the request with *key*."""
        lines = [line.split() for line in self.hits.read_text().splitlines()]
        return [int(pid) for name, pid in lines if name == key]

    def wait_for_both(self) -> None:
        """Wait until the proxy sends requests to both instances."""
        pids = {str(each.pid) for each in self.services}
        wait_for("both instances", lambda: pids <= {ask(self.front.port, "GET", "/pid") for _ in range(6)})

    def status(self, method: str, path: str, body: bytes | None = None) -> int:
        """Return the status of the response, 0 without one."""
        connection = HTTPConnection(HOST, self.front.port, timeout=60)
        try:
            connection.request(method, path, body)
            return connection.getresponse().status
        except (RemoteDisconnected, HTTPException):
            return 0
        finally:
            connection.close()

    def status_after_kill(self, method: str, key: str, body: bytes | None = None) -> int:
        """Return the status of a request whose instance is killed while it executes the request."""
        found: list[int] = []
        client = Thread(target=lambda: found.append(self.status(method, f"/once/{key}", body)))
        client.start()
        (pid,) = wait_for("the execution", lambda: self.executions(key))
        with self.without(next(each for each in self.services if each.pid == pid)):
            client.join(60)
        return found[0]

    @contextmanager
    def without(self, service: Service) -> Iterator[None]:
        """Kill *service* for the time of the block."""
        service.kill()
        try:
            yield
        finally:
            service.start()
            self.wait_for_both()


@pytest.fixture(scope="module")
def hits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    hits = tmp_path_factory.mktemp("hits") / "hits"
    hits.write_text("")
    return hits


@pytest.fixture(scope="module")
def services(hits: Path) -> Iterator[list[Service]]:
    source = {"service": SOURCE.format(hits=str(hits))}
    with ExitStack() as stack:
        yield [stack.enter_context(Service(f"[server]\n{SERVER}", source)) for _ in range(2)]


@pytest.fixture(scope="module", params=sorted(FRONTS))
def pair(request: pytest.FixtureRequest, services: list[Service], hits: Path) -> Iterator[Pair]:
    with FRONTS[request.param](*(each.port for each in services), server=SERVER) as front:
        yield Pair(services, front, hits)


def new_key() -> str:
    return uuid4().hex


def test_a_get_whose_instance_is_killed_is_executed_by_the_other(pair: Pair) -> None:
    key = new_key()
    assert pair.status_after_kill("GET", key) == 200
    assert len(set(pair.executions(key))) == 2


def test_a_delete_is_sent_again_except_by_caddy(pair: Pair) -> None:
    key = new_key()
    status = pair.status_after_kill("DELETE", key)
    expected = (502, 1) if isinstance(pair.front, CaddyFront) else (200, 2)
    assert (status, len(pair.executions(key))) == expected


def test_a_put_is_sent_again_with_its_whole_body_or_not_at_all(pair: Pair) -> None:
    key = new_key()
    status = pair.status_after_kill("PUT", key, b"x" * 1000)
    assert (status, len(pair.executions(key))) in ((200, 2), (502, 1))


@pytest.mark.parametrize("body", [None, b"x" * 1000], ids=["without body", "with body"])
def test_a_post_whose_instance_is_killed_is_not_executed_again(pair: Pair, body: bytes | None) -> None:
    key = new_key()
    assert pair.status_after_kill("POST", key, body) in (0, 502)
    assert len(pair.executions(key)) == 1


def test_every_method_is_served_when_connections_to_one_instance_fail(pair: Pair) -> None:
    with pair.without(pair.services[0]):
        statuses = [pair.status(method, "/read") for method in ("GET", "HEAD") for _ in range(12)]
        statuses += [
            pair.status(method, "/read", b"x" * 1000) for method in ("POST", "PUT", "DELETE") for _ in range(4)
        ]
    assert set(statuses) == {200}


def test_an_overloaded_service_takes_no_instance_out(pair: Pair) -> None:
    assert {pair.status("GET", "/overloaded") for _ in range(12)} == {503}
    assert pair.status("GET", "/read") == 200


BROKEN_OFF = {
    "length": b"Content-Length: 1000\r\n\r\nabc",
    "chunked": b"Transfer-Encoding: chunked\r\n\r\n3e8\r\nabc",
    "malformed chunk": b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n",
}


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("body", sorted(BROKEN_OFF))
def test_clients_that_break_off_take_no_instance_out(pair: Pair, method: str, body: str) -> None:
    for _ in range(6):
        with socket.create_connection((HOST, pair.front.port), timeout=60) as connection:
            connection.sendall(f"{method} /read HTTP/1.1\r\nHost: a\r\n".encode() + BROKEN_OFF[body])
        assert pair.status("GET", "/read") == 200
        assert pair.status("POST", "/read", b"abc") == 200
