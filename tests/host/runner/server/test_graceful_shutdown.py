"""Graceful shutdown: requests in flight complete, the remaining ones are cancelled and named."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from http.client import HTTPConnection, HTTPResponse

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.processes import HOST, free_ports, wait_for
from tests.service import Service

SOCKETS = """
async def app(scope, receive, send):
    assert scope["type"] == "websocket"
    await receive()
    await send({"type": "websocket.accept"})
    while (await receive())["type"] != "websocket.disconnect":
        pass
"""
HANGING_PLUGIN = """
import asyncio
from contextlib import asynccontextmanager
from scalekit import Lifespan, hookimpl

@asynccontextmanager
async def run():
    yield
    await asyncio.Event().wait()

@hookimpl
def scalekit_lifespan(context):
    return Lifespan(run)
"""

STARTING = """
import asyncio


async def app(scope, receive, send):
    print("the application starts")
    await asyncio.sleep(600)
"""
STOPPING = """
import asyncio


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print("the application stops")
        await asyncio.sleep(600)
"""
LINGERING = """
import asyncio


async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"served"})
    if scope["path"] == "/linger":
        await asyncio.sleep(600)
"""
TELLING_PLUGIN = """
import asyncio
from contextlib import asynccontextmanager
from scalekit import Lifespan, hookimpl

@asynccontextmanager
async def run():
    yield
    print("the plugin stopped")

async def drain():
    print("the plugin drains")
    await asyncio.sleep(600)

@hookimpl
def scalekit_lifespan(context):
    return Lifespan(run, drain=drain)
"""


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as executor:
        yield executor


def open_request(port: int, path: str) -> HTTPConnection:
    connection = HTTPConnection(HOST, port, timeout=60)
    connection.request("GET", path)
    return connection


def respond(connection: HTTPConnection) -> tuple[int, str, str | None]:
    response: HTTPResponse = connection.getresponse()
    return response.status, response.read().decode(), response.getheader("connection")


def fetch(port: int, path: str) -> tuple[int, str, str | None]:
    with closing(open_request(port, path)) as connection:
        return respond(connection)


def in_flight(service: Service, path: str, pool: ThreadPoolExecutor) -> Future[tuple[int, str, str | None]]:
    """Start a request, wait until the service has received it, and return its future response."""
    connection = open_request(service.port, path)
    service.get("/served/after/it")  # one event loop: the other request has been read before this response

    def finish() -> tuple[int, str, str | None]:
        with closing(connection):
            return respond(connection)

    return pool.submit(finish)


def test_on_sigterm_readiness_is_503_while_connections_are_still_accepted(pool: ThreadPoolExecutor) -> None:
    with Service('[server]\ndrain_delay = "20s"') as service:
        slow = in_flight(service, "/sleep/1", pool)
        service.signal(signal.SIGTERM)
        wait_for("not ready", lambda: fetch(service.port, "/health/ready")[0] == 503)
        assert fetch(service.port, "/new")[:2] == (200, "/new 0")
        assert fetch(service.port, "/health/live")[0] == 200
        assert slow.result(20)[:2] == (200, "/sleep/1 0")


def test_every_response_while_draining_has_connection_close() -> None:
    with Service('[server]\ndrain_delay = "20s"') as service, ExitStack() as stack:
        idle = stack.enter_context(closing(open_request(service.port, "/before")))
        assert respond(idle)[2] is None
        service.signal(signal.SIGTERM)
        service.wait_for_log("draining")
        wait_for("the wish", lambda: fetch(service.port, "/during")[2] == "close")
        idle.request("GET", "/idle")
        assert respond(idle) == (200, "/idle 0", "close")


def test_requests_in_flight_complete_after_the_listeners_have_closed(pool: ThreadPoolExecutor) -> None:
    with Service('[server]\ndrain_delay = "0s"') as service:
        slow = in_flight(service, "/sleep/1", pool)
        service.signal(signal.SIGTERM)
        assert slow.result(20)[:2] == (200, "/sleep/1 0")
        assert service.wait() == 0
        assert "stopped; all requests completed" in service.log()


def test_sigint_skips_the_drain(pool: ThreadPoolExecutor) -> None:
    with Service('[server]\ndrain_delay = "10m"') as service:
        slow = in_flight(service, "/sleep/0.5", pool)
        service.signal(signal.SIGINT)
        assert slow.result(20)[:2] == (200, "/sleep/0.5 0")
        assert service.wait() == 0


def test_a_second_signal_cancels_requests_at_once(pool: ThreadPoolExecutor) -> None:
    with Service('[server]\ndrain_delay = "10m"\ngraceful_timeout = "10m"') as service:
        slow = in_flight(service, "/sleep/600", pool)
        service.signal(signal.SIGTERM)
        service.wait_for_log("draining")
        service.signal(signal.SIGTERM)
        assert service.wait() == 0
        assert slow.result(20)[0] == 503


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_cancels_an_incomplete_start(number: signal.Signals) -> None:
    class Starting(Service):
        def is_ready(self) -> bool:
            return "the application starts" in self.log()

    with Starting("[plugins.telling]", {"service": STARTING}, {"telling": TELLING_PLUGIN}) as service:
        service.signal(number)
        assert service.wait() == 0
        assert "the plugin stopped" in service.log()
        assert "Traceback" not in service.log()


def test_a_second_signal_cancels_stopping_plugins_and_the_application() -> None:
    toml = '[server]\ndrain_delay = "0s"\nstop_timeout = "10m"\ngraceful_timeout = "10m"\n[plugins.telling]'
    with Service(toml, {"service": STOPPING}, {"telling": TELLING_PLUGIN}) as service:
        service.signal(signal.SIGTERM)
        service.wait_for_log("the plugin drains")
        service.signal(signal.SIGTERM)
        assert service.wait() == 0
    with Service(toml.partition("[plugins")[0], {"service": STOPPING}) as service:
        service.signal(signal.SIGTERM)
        service.wait_for_log("the application stops")
        service.signal(signal.SIGTERM)
        assert service.wait() == 0


def test_a_background_task_is_named_when_it_is_cancelled() -> None:
    with Service('[server]\ndrain_delay = "0s"\ngraceful_timeout = "300ms"', {"service": LINGERING}) as service:
        assert service.get("/linger") == "served"
        service.signal(signal.SIGTERM)
        assert service.wait() == 0
        assert "stopped; cancelled 1 requests in flight: a task of Task-" in service.log()


def test_a_request_over_graceful_timeout_is_cancelled_with_a_response_and_named(pool: ThreadPoolExecutor) -> None:
    with Service('[server]\ndrain_delay = "0s"\ngraceful_timeout = "300ms"') as service:
        slow = in_flight(service, "/sleep/600", pool)
        service.signal(signal.SIGTERM)
        status, body, _ = slow.result(20)
        assert status == 503
        assert "the server is restarting" in body
        assert service.wait() == 0
        assert "stopped; cancelled 1 requests in flight: GET '/sleep/600'" in service.log()


def test_websockets_are_closed_with_status_1012() -> None:
    with Service('[server]\ndrain_delay = "0s"', {"service": SOCKETS}) as service:
        with connect(f"ws://{HOST}:{service.port}/") as socket:
            service.signal(signal.SIGTERM)
            with pytest.raises(ConnectionClosed) as closed:
                socket.recv(timeout=60)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012
        assert service.wait() == 0


def test_a_plugin_that_hangs_while_stopping_is_cancelled_and_named() -> None:
    toml = '[server]\ndrain_delay = "0s"\nstop_timeout = "200ms"\n[plugins.clingy]\n'
    with Service(toml, plugins={"clingy": HANGING_PLUGIN}) as service:
        service.signal(signal.SIGTERM)
        assert service.wait() == 0
        assert (
            "plugin 'clingy' ([plugins.clingy], scalekit.toml:4) did not stop within 0.2s and was cancelled"
            in service.log()
        )


def test_the_management_address_responds_while_the_process_drains() -> None:
    (port,) = free_ports(1)
    toml = f'[server]\ndrain_delay = "20s"\nmanagement_address = "127.0.0.1:{port}"\n'

    class Managed(Service):
        def is_ready(self) -> bool:
            return fetch(port, "/health/ready")[0] == 200

    with Managed(toml) as service:
        assert service.get("/health/ready") == "/health/ready 0", "on the public address it is the application's"
        assert fetch(port, "/elsewhere")[0] == 404
        service.signal(signal.SIGTERM)
        wait_for("not ready", lambda: fetch(port, "/health/ready")[0] == 503)
        assert '"phase":"draining"' in fetch(port, "/health")[1]
