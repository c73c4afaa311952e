"""Responses of filters before a task exists: in order, complete, and with the timeouts of the connection."""

from __future__ import annotations

import asyncio

import pytest

from scalekit import Decision, Exchange, Filter, LocalResponse, Size
from scalekit.errors import Unavailable
from scalekit.runner.server.request_parser import ConnectionLimits
from tests.host.runner.server.apps import GET, LAST, paths
from tests.host.runner.server.filter_host import CompletionLog, RespondingFilter, serving_filters
from tests.host.runner.server.raw_client import AppServer, Client, until

pytestmark = pytest.mark.anyio

MANY = 2000
"""Requests in one segment, far more than Python's stack has room for."""


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param}


def bodies(received: bytes) -> list[bytes]:
    """Return the bodies of responses that name their paths, in order."""
    return [b"/" + each.partition(b"\r\n\r\n/")[2] for each in received.split(b"HTTP/1.1 200 OK\r\n")[1:]]


async def test_a_local_response_creates_no_task() -> None:
    decides = RespondingFilter()
    async with serving_filters(decides.app, decides) as wire, wire.client() as client:
        await client.send(GET % b"/local" + GET % b"/gate")
        assert bodies(await client.receive(b"/local")) == [b"/local"]
        assert len(wire.state.tasks) == 1
        decides.gates["/gate"].set()
        await client.receive(b"/gate")


async def test_local_and_application_responses_are_sent_in_request_order() -> None:
    decides = RespondingFilter()
    paths = ["/gate/1", "/local/2", "/pending/3", "/pending/app/4", "/local/5", "/gate/6", "/local/7", "/8"]
    async with serving_filters(decides.app, decides) as wire, wire.client() as client:
        await client.send(b"".join(GET % path.encode() for path in paths))
        await until(lambda: "/gate/1" in decides.gates)
        assert not decides.replies
        decides.gates["/gate/1"].set()
        received = await client.receive(b"/local/2")
        await until(lambda: "/pending/3" in decides.replies)
        decides.replies["/pending/3"].set_result(None)
        received += await client.receive(b"/pending/3")
        await until(lambda: "/pending/app/4" in decides.replies)
        assert not wire.state.tasks
        decides.replies["/pending/app/4"].set_result(None)
        received += await client.receive(b"/local/5")
        await until(lambda: "/gate/6" in decides.gates)
        decides.gates["/gate/6"].set()
        received += await client.receive(b"/8")
    assert bodies(received) == [path.encode() for path in paths]


@pytest.mark.parametrize("first", [b"", GET % b"/pending/first", GET % b"/gate/first"])
async def test_many_requests_in_one_segment_are_served(first: bytes) -> None:
    decides = RespondingFilter()
    async with serving_filters(decides.app, decides) as wire, wire.client() as client:
        sending = asyncio.create_task(client.send(first + b"".join(GET % b"/local/%d" % n for n in range(MANY))))
        if first:
            await until(lambda: bool(decides.replies or decides.gates))
            for reply in decides.replies.values():
                reply.set_result(None)
            for gate in decides.gates.values():
                gate.set()
        received = await client.receive(b"/local/%d" % (MANY - 1))
        await sending
        assert wire.state.total_requests == MANY + bool(first)
    assert bodies(received)[-MANY:] == [b"/local/%d" % n for n in range(MANY)]


async def test_the_local_response_to_head_has_no_body() -> None:
    decides = RespondingFilter()
    async with serving_filters(decides.app, decides) as wire:
        received = await wire.request(b"HEAD /local HTTP/1.1\r\nHost: x\r\n\r\n" + LAST % b"/local/last")
    head, behind, _ = received.partition(b"HTTP/1.1 200 OK\r\n")[2].partition(b"HTTP/1.1 200 OK\r\n")
    assert b"content-length: 6\r\n" in head
    assert head.endswith(b"\r\n\r\n")
    assert behind


@pytest.mark.parametrize("request_bytes", [b"GET /local HTTP/1.0\r\nHost: x\r\n\r\n", LAST % b"/local"])
async def test_connection_close_and_http_1_0_close_the_connection(request_bytes: bytes) -> None:
    decides = RespondingFilter()
    async with serving_filters(decides.app, decides) as wire:
        received = await wire.request(request_bytes + GET % b"/local/behind")
    assert received.count(b"HTTP/1.1 200 OK") == 1
    assert b"connection: close\r\n" in received
    assert received.endswith(b"\r\n\r\n/local")


HEADS = {
    "length": (b"Content-Length: 5\r\n", b"hello"),
    "chunked": (b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
    "expect": (b"Content-Length: 5\r\nExpect: 100-continue\r\n", b"hello"),
}


@pytest.mark.parametrize("kind", HEADS)
async def test_a_body_that_arrives_after_its_response_is_discarded(kind: str) -> None:
    fields, body = HEADS[kind]
    decides = RespondingFilter()
    async with serving_filters(decides.app, decides) as wire, wire.client() as client:
        await client.send(b"POST /local/1 HTTP/1.1\r\nHost: x\r\n" + fields + b"\r\n")
        received = await client.receive(b"/local/1")
        assert b"100 Continue" not in received
        await client.send(body[:3])
        await client.send(body[3:] + GET % b"/local/2" + GET % b"/3")
        assert bodies(await client.receive(b"/3")) == [b"/local/2", b"/3"]


async def test_a_large_body_that_arrives_after_its_response_is_not_buffered() -> None:
    decides = RespondingFilter()
    async with serving_filters(decides.app, decides) as wire, wire.client() as client:
        await client.send(b"POST /local/1 HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n")
        await client.receive(b"/local/1")
        async with asyncio.timeout(20):
            await client.send(b"x" * 3_000_000 + GET % b"/local/2")
        await client.receive(b"/local/2")


SOON = 0.05
"""Seconds of a timeout that expires during a test."""


def limits(header_timeout: float) -> ConnectionLimits:
    return ConnectionLimits(header_timeout=header_timeout, write_timeout=600.0, max_header=Size("64KiB"))


async def first_response(client: Client, decides: RespondingFilter, path: str) -> None:
    await client.send(GET % path.encode())
    if path.startswith("/pending"):
        await until(lambda: path in decides.replies)
        decides.replies[path].set_result(None)
    await client.receive(path.encode())


@pytest.mark.parametrize("path", ["/local", "/pending"])
async def test_an_idle_connection_is_closed_after_keep_alive(path: str) -> None:
    decides = RespondingFilter()
    async with serving_filters(decides.app, decides, keep_alive=SOON) as wire, wire.client() as client:
        await first_response(client, decides, path)
        assert await client.rest() == b""


@pytest.mark.parametrize("path", ["/local", "/pending"])
async def test_header_timeout_does_not_run_while_a_connection_is_idle(path: str) -> None:
    decides = RespondingFilter()
    async with serving_filters(decides.app, decides, limits=limits(SOON)) as wire, wire.client() as client:
        await first_response(client, decides, path)
        await asyncio.sleep(4 * SOON)
        await first_response(client, decides, f"{path}/again")


@pytest.mark.parametrize("path", ["/local", "/pending"])
async def test_header_timeout_runs_once_the_next_head_has_started(path: str) -> None:
    decides = RespondingFilter()
    async with serving_filters(decides.app, decides, limits=limits(SOON)) as wire, wire.client() as client:
        await first_response(client, decides, path)
        await client.send(b"GET /loc")
        assert (await client.rest()).startswith(b"HTTP/1.1 408 ")


async def test_header_timeout_runs_for_a_head_that_starts_in_the_segment_of_a_complete_request() -> None:
    decides = RespondingFilter()
    async with serving_filters(decides.app, decides, limits=limits(SOON)) as wire, wire.client() as client:
        await client.send(GET % b"/local" + b"GET /loc")
        assert b"\r\n\r\n/localHTTP/1.1 408 " in await client.rest()


async def test_keep_alive_does_not_run_once_the_next_head_has_started() -> None:
    decides = RespondingFilter()
    async with serving_filters(decides.app, decides, keep_alive=SOON) as wire, wire.client() as client:
        await client.send(GET % b"/local/1" + b"GET /local/2 ")
        await client.receive(b"/local/1")
        await asyncio.sleep(4 * SOON)
        await client.send(b"HTTP/1.1\r\nHost: x\r\n\r\n")
        await client.receive(b"/local/2")


async def test_a_local_response_waits_for_a_client_that_does_not_read() -> None:
    decides = RespondingFilter(b"/" * 300_000)
    async with serving_filters(decides.app, decides) as wire, wire.client() as client:
        await client.send(GET % b"/local" * 40 + LAST % b"/local")
        await until(lambda: len(wire.state.tasks) == 1)
        received = await client.rest()
    assert received.count(b"HTTP/1.1 200 OK") == 41
    assert received.count(b"/" * 300_000) == 41


@pytest.mark.parametrize("path", ["/pending", "/pending/app"])
async def test_a_client_disconnects_while_a_decision_is_pending(path: str, caplog: pytest.LogCaptureFixture) -> None:
    decides, ends = RespondingFilter(), CompletionLog()
    async with serving_filters(decides.app, ends, decides) as wire:
        async with wire.client() as client:
            await client.send(b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n" % path.encode())
            await until(lambda: path in decides.replies)
        assert not ends.notes
        decides.replies[path].set_result(None)
        await until(lambda: bool(ends.notes) and not wire.state.tasks)
    assert ends.notes == [(path, 200, "")]
    assert not [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")]


class Departures(Filter):
    """Notes of each request whether its client had left when its response began."""

    def __init__(self) -> None:
        self.early: list[bool] = []

    def on_complete(self, exchange: Exchange, error: BaseException | None) -> None:
        self.early.append(exchange.disconnected_early)


@pytest.mark.parametrize("leaves", [True, False])
async def test_filters_see_a_disconnect_before_a_local_response(leaves: bool) -> None:
    decides, departures = RespondingFilter(), Departures()
    async with serving_filters(decides.app, departures, decides) as wire:
        async with wire.client() as client:
            await client.send(b"POST /pending HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n")
            await until(lambda: "/pending" in decides.replies)
            if not leaves:
                decides.replies["/pending"].set_result(None)
                await client.receive(b"/pending")
        if leaves:
            decides.replies["/pending"].set_result(None)
        await until(lambda: bool(departures.early))
    assert departures.early == [leaves]


async def shut_down(wire: AppServer) -> None:
    """Shut down the connections as a draining server does."""
    for connection in list(wire.state.connections):
        connection.shutdown()


@pytest.mark.parametrize("path", ["/pending", "/pending/app"])
async def test_a_draining_connection_closes_after_the_pending_response(path: str) -> None:
    decides = RespondingFilter()
    async with serving_filters(decides.app, decides) as wire, wire.client() as client:
        await client.send(GET % path.encode())
        await until(lambda: path in decides.replies)
        await shut_down(wire)
        decides.replies[path].set_result(None)
        received = await client.rest()
    assert b"connection: close\r\n" in received
    assert received.endswith(path.encode())


@pytest.mark.parametrize(
    "header", [(b"x-a\n", b"1"), (b"x-a", b"1\r\nx-b: 2"), (b"content-length", b"many"), (b"content-length", b"9")]
)
async def test_an_invalid_local_response_is_logged_and_closes_the_connection(
    header: tuple[bytes, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    class Responds(Filter):
        def on_request(self, exchange: Exchange) -> Decision:
            return LocalResponse(200, [header], b"local")

    ends = CompletionLog()
    async with serving_filters(paths, ends, Responds()) as wire:
        assert await wire.request(GET % b"/local" + GET % b"/behind") == b""
        await until(lambda: not wire.state.tasks)
    ((path, _, error),) = ends.notes
    assert path == "/local"
    assert error in ("RuntimeError", "ValueError")
    assert "Exception in ASGI application" in caplog.text


async def test_an_exception_in_on_complete_is_logged_and_the_connection_stays_open(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Fails(Filter):
        def on_complete(self, exchange: Exchange, error: BaseException | None) -> None:
            raise LookupError(exchange.path)

    decides, ends = RespondingFilter(), CompletionLog()
    async with serving_filters(decides.app, ends, Fails(), decides) as wire, wire.client() as client:
        await client.send(GET % b"/local/1" + GET % b"/local/2" + GET % b"/3")
        assert bodies(await client.receive(b"/3")) == [b"/local/1", b"/local/2", b"/3"]
        await until(lambda: len(ends.notes) == 3)
    assert [note[0] for note in ends.notes] == ["/local/1", "/local/2", "/3"]
    assert caplog.text.count("a filter failed in on_complete or on_close") == 3


@pytest.mark.parametrize(
    ("error", "status", "noted"), [(LookupError(), 500, (0, "LookupError")), (Unavailable("db"), 503, (503, ""))]
)
@pytest.mark.parametrize("pending", [False, True])
async def test_an_exception_in_a_filter_becomes_the_error_response_of_the_host(
    error: Exception, status: int, noted: tuple[int, str], pending: bool
) -> None:
    class Fails(RespondingFilter):
        def on_request(self, exchange: Exchange) -> Decision:
            return super().on_request(exchange) if pending else self.response(exchange.path)

        def response(self, path: str) -> Decision:  # type: ignore[override]
            raise error

    decides, ends = Fails(), CompletionLog()
    async with serving_filters(decides.app, ends, decides) as wire, wire.client() as client:
        await client.send(LAST % b"/pending")
        if pending:
            await until(lambda: bool(decides.replies))
            decides.replies["/pending"].set_result(None)
        received = await client.rest()
    assert received.startswith(b"HTTP/1.1 %d " % status)
    assert b"application/problem+json" in received
    assert ends.notes == [("/pending", *noted)]


async def test_an_exception_in_a_filter_cancels_pending_decisions() -> None:
    class Fails(RespondingFilter):
        def response(self, path: str) -> LocalResponse:
            raise LookupError(path)

    class Looks(RespondingFilter):
        runs_while_pending = True

    outer, inner = Fails(), Looks()
    async with serving_filters(outer.app, outer, inner) as wire, wire.client() as client:
        await client.send(LAST % b"/pending")
        await until(lambda: bool(inner.replies))
        outer.replies["/pending"].set_result(None)
        assert (await client.rest()).startswith(b"HTTP/1.1 500 ")
    assert inner.replies["/pending"].cancelled()


@pytest.mark.parametrize("failure", ["cancelled", "exception"])
async def test_a_failed_pending_decision_does_not_block_the_connection(failure: str) -> None:
    decides, ends = RespondingFilter(), CompletionLog()
    async with serving_filters(decides.app, ends, decides) as wire, wire.client() as client:
        await client.send(LAST % b"/pending")
        await until(lambda: bool(decides.replies))
        reply = decides.replies["/pending"]
        if failure == "cancelled":
            reply.cancel()
        else:
            reply.set_exception(OSError("disconnected"))
            reply.exception()  # which the filter reads
        status = int((await client.rest()).split()[1])
        await until(lambda: not wire.state.tasks)
    assert status == (503 if failure == "cancelled" else 200)
    assert ends.notes == [("/pending", status, "")]
