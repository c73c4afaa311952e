"""One request and its answer on the wire: framing, what is refused, and what an application is told."""

from __future__ import annotations

import asyncio
import gc
import weakref
from contextvars import ContextVar
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from tests.host.server.wire import serving, until

pytestmark = pytest.mark.anyio

GET = b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
SEEN: ContextVar[str] = ContextVar("SEEN", default="nothing")


def start(*headers: tuple[bytes, bytes], status: int = 200) -> Message:
    return {"type": "http.response.start", "status": status, "headers": headers}


def body(data: bytes = b"", more: bool = False) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


async def answer(send: Send, data: bytes) -> None:
    await send(start((b"Content-Length", b"%d" % len(data))))
    await send(body(data))


async def chunks(scope: Scope, receive: Receive, send: Send) -> None:
    await send(start())
    await send(body(b"one", more=True))
    await send(body(b"", more=True))
    await send(body(b"two", more=True))
    await send(body())


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    received, more = b"", True
    while more:
        message = await receive()
        received += message["body"]
        more = message["more_body"]
    await answer(send, received)


async def paths(scope: Scope, receive: Receive, send: Send) -> None:
    await answer(send, scope["path"].encode())


async def test_an_answer_of_known_length_is_head_and_body() -> None:
    async with serving(paths) as wire:
        assert await wire.ask(LAST % b"/a%20b?c") == (
            b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\n/a b"
        )


async def test_an_answer_of_unknown_length_goes_in_chunks() -> None:
    async with serving(chunks) as wire:
        assert await wire.ask(LAST % b"/") == (
            b"HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
            b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"
        )


async def test_a_head_is_answered_without_a_body() -> None:
    request = b"HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    async with serving(paths) as wire:
        assert await wire.ask(request) == b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: close\r\n\r\n"
    async with serving(chunks) as wire:
        assert await wire.ask(request) == b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n"


async def test_a_body_larger_than_what_is_copied_arrives_whole() -> None:
    data = bytes(range(256)) * 1000

    async def large(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await send(body(data, more=True))
        await send(body(data))

    async with serving(large) as wire:
        answered = await wire.ask(LAST % b"/")
    assert answered.endswith(b"\r\n\r\n" + b"3e800\r\n%b\r\n" % data * 2 + b"0\r\n\r\n")


async def test_a_head_goes_out_while_the_application_waits_with_its_body() -> None:
    go_on = asyncio.Event()

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await go_on.wait()
        await send(body(b"begun", more=True))
        await go_on.wait()
        await send(body(b"ended"))

    async with serving(stream) as wire, wire.client() as client:
        await client.send(LAST % b"/")
        await client.receive(b"chunked\r\n\r\n")
        go_on.set()
        await client.receive(b"5\r\nbegun\r\n5\r\nended\r\n0\r\n\r\n")


async def test_pipelined_requests_are_served_one_after_the_other_in_order() -> None:
    served: list[str] = []

    async def slower_first(scope: Scope, receive: Receive, send: Send) -> None:
        served.append(f"begin {scope['path']}")
        await asyncio.sleep(0.05 if scope["path"] == "/1" else 0)
        served.append(f"end {scope['path']}")
        await answer(send, scope["path"].encode())

    async with serving(slower_first) as wire:
        answered = await wire.ask(GET % b"/1" + GET % b"/2" + LAST % b"/3")
    assert [part[:2] for part in answered.split(b"\r\n\r\n")[1:]] == [b"/1", b"/2", b"/3"]
    assert served == ["begin /1", "end /1", "begin /2", "end /2", "begin /3", "end /3"]


@pytest.mark.parametrize("value", [b"a\r\nset-cookie: b", b"a\nb", b"a\r", b"\0", b"\x7f", b"a\r\n\r\n<html>"])
@pytest.mark.parametrize("name", [b"x-a", b"connection", b"content-length", b"transfer-encoding"])
async def test_a_value_that_would_end_its_line_is_refused(
    name: bytes, value: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def injected(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start((b"x-b", b"c"), (name, value)))
        await send(body(b"x"))

    async with serving(injected) as wire:
        for _ in range(2):
            assert await wire.ask(GET % b"/") == b""
    assert "Exception in ASGI application" in caplog.text


@pytest.mark.parametrize("name", [b"x a", b"x:a", b"x\r\na", b"x-\0", b"(x)"])
async def test_a_name_that_is_none_is_refused_each_time(name: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async def injected(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start((name, b"a")))
        await send(body(b"x"))

    async with serving(injected) as wire:
        for _ in range(2):
            assert await wire.ask(GET % b"/") == b""
    assert caplog.text.count("RuntimeError: Invalid HTTP header name.") == 2


async def test_a_client_that_asks_is_told_to_go_on_once_the_body_is_read() -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    heard: list[bytes] = []

    async def hears(scope: Scope, receive: Receive, send: Send) -> None:
        while (message := await receive())["more_body"]:
            heard.append(message["body"])
        await answer(send, message["body"])

    async with serving(hears) as wire, wire.client() as client:
        await client.send(head)
        assert await client.receive(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(b"he")
        await until(lambda: heard == [b"he"])
        await client.send(b"llo")
        assert (await client.rest()).startswith(b"HTTP/1.1 200 OK\r\n")
    async with serving(paths) as wire:
        assert (await wire.ask(head)).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_a_body_in_many_parts_is_read_whole() -> None:
    data = b"".join(b"%x\r\n%b\r\n" % (size, b"z" * size) for size in range(1, 600))
    async with serving(echo) as wire:
        answered = await wire.ask(
            b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
            + data
            + b"0\r\n\r\n"
        )
    assert answered.endswith(b"\r\n\r\n" + b"z" * (599 * 300))


async def test_a_body_longer_than_it_was_said_to_be_is_not_sent(caplog: pytest.LogCaptureFixture) -> None:
    async def longer(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start((b"content-length", b"5")))
        await send(body(b"four", more=True))
        await send(body(b"more"))

    async with serving(longer) as wire:
        assert await wire.ask(GET % b"/") == b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfour"
    assert "RuntimeError: Response content longer than Content-Length" in caplog.text


async def test_a_body_shorter_than_it_was_said_to_be_ends_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    async def shorter(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start((b"content-length", b"5")))
        await send(body(b"four"))

    async with serving(shorter) as wire:
        assert await wire.ask(GET % b"/") == b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfour"
    assert "RuntimeError: Response content shorter than Content-Length" in caplog.text


async def fails(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["path"] == "/begun":
        await send(start())
    raise LookupError(scope["path"])


async def ends_early(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["path"] == "/begun":
        await send(start())


@pytest.mark.parametrize(
    ("app", "path", "logged"),
    [
        (fails, b"/", "LookupError: /"),
        (ends_early, b"/", "ASGI callable returned without starting response."),
        (fails, b"/begun", "LookupError: /begun"),
        (ends_early, b"/begun", "ASGI callable returned without completing response."),
    ],
)
async def test_what_is_not_answered_is_answered_with_500_or_cut(
    app: type, path: bytes, logged: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(app) as wire:
        answered = await wire.ask(GET % path + GET % path)
    if path == b"/":
        assert answered.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
        assert answered.endswith(b"\r\nconnection: close\r\n\r\nInternal Server Error")
    else:
        assert answered == b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    assert caplog.text.count(logged) == 1


async def test_messages_in_the_wrong_order_are_refused() -> None:
    refused: list[str] = []

    async def wrong(scope: Scope, receive: Receive, send: Send) -> None:
        for message in (body(b"x"), start(status=204), start(), body(), body(b"y")):
            try:
                await send(message)
            except RuntimeError as error:
                refused.append(str(error))

    async with serving(wrong) as wire:
        assert await wire.ask(LAST % b"/") == b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n"
    assert refused == [
        "Expected ASGI message 'http.response.start', but got 'http.response.body'.",
        "Expected ASGI message 'http.response.body', but got 'http.response.start'.",
        "Unexpected ASGI message 'http.response.body' sent, after response already completed.",
    ]


class Waiting:
    """Reads the request, and then waits to be told that its client has gone."""

    def __init__(self) -> None:
        self.waits = False
        self.told: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        self.waits = True
        self.told.append((await receive())["type"])
        await send(start())
        await send(body(b"nobody reads this"))


@pytest.mark.parametrize("behind", [b"", GET % b"/behind"])
async def test_an_application_that_waits_is_told_of_a_client_that_leaves(
    behind: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    app = Waiting()
    async with serving(app) as wire:
        async with wire.client() as client:
            await client.send(GET % b"/" + behind)
            await until(lambda: app.waits)
        await until(lambda: not wire.state.tasks)
    assert app.told == ["http.disconnect"]
    assert not caplog.records


async def test_two_that_wait_for_a_message_are_both_told() -> None:
    told: list[str] = []

    async def twice(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        first, second = (asyncio.ensure_future(receive()) for _ in range(2))
        await asyncio.sleep(0)
        await answer(send, b"done")
        told.extend([(await first)["type"], (await second)["type"], (await receive())["type"]])

    async with serving(twice) as wire, wire.client() as client:
        await client.send(GET % b"/")
        await client.receive(b"done")
        await until(lambda: not wire.state.tasks)
        assert told == ["http.disconnect"] * 3


async def test_what_one_request_sets_in_its_context_the_next_one_does_not_see() -> None:
    async def setting(scope: Scope, receive: Receive, send: Send) -> None:
        seen = SEEN.get()
        SEEN.set(scope["path"])
        await answer(send, seen.encode())

    async with serving(setting) as wire:
        answered = await wire.ask(GET % b"/1" + GET % b"/2" + LAST % b"/3")
    assert answered.count(b"\r\n\r\nnothing") == 3


async def test_a_body_that_nobody_reads_is_taken_only_so_far() -> None:
    go_on = asyncio.Event()

    async def reads_late(scope: Scope, receive: Receive, send: Send) -> None:
        await go_on.wait()
        await echo(scope, receive, send)

    size = 5_000_000
    async with serving(reads_late) as wire, wire.client() as client:
        upload = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size + b"z" * size
        sending = asyncio.ensure_future(client.send(upload))
        await until(lambda: bool(wire.state.connections))
        connection: Any = next(iter(wire.state.connections))
        await until(lambda: connection.flow.read_paused)
        assert len(connection.cycle.body) < 1_000_000
        go_on.set()
        await sending
        assert len(await client.receive(b"z" * size)) > size


async def test_an_application_waits_for_a_client_that_does_not_read() -> None:
    parts, sent = 2_000, 0

    async def sends_a_lot(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal sent
        await send(start())
        for _ in range(parts):
            await send(body(b"x" * 10_000, more=True))
            sent += 1
        await send(body())

    async with serving(sends_a_lot) as wire, wire.client() as client:
        await client.send(LAST % b"/")
        await until(lambda: any(vars(each)["flow"].write_paused for each in wire.state.connections))
        assert sent < parts
        assert (await client.rest()).count(b"x" * 10_000) == parts


async def test_a_connection_that_has_ended_is_forgotten_at_once() -> None:
    async with serving(paths) as wire:
        async with wire.client() as client:
            await client.send(GET % b"/")
            await client.receive(b"/")
            (connection,) = wire.state.connections
            forgotten = weakref.ref(connection)
            del connection
            gc.disable()
        try:
            await until(lambda: forgotten() is None)
        finally:
            gc.enable()


async def test_a_client_of_the_old_version_gets_one_answer() -> None:
    request = b"GET /old HTTP/1.0\r\n\r\n"
    async with serving(paths) as wire:
        assert await wire.ask(request) == b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\n/old"


async def test_a_connection_ends_when_an_answer_or_every_answer_says_so() -> None:
    async def last(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start((b"connection", b"x, Close"), (b"content-length", b"0")))
        await send(body())

    async with serving(last) as wire:
        assert await wire.ask(GET % b"/" * 2) == b"HTTP/1.1 200 OK\r\nconnection: x, Close\r\ncontent-length: 0\r\n\r\n"
    async with serving(paths) as wire:
        wire.state.default_headers = [(b"connection", b"close")]
        assert await wire.ask(GET % b"/" * 2) == b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 1\r\n\r\n/"


async def test_requests_are_counted_and_their_tasks_forgotten() -> None:
    async with serving(paths) as wire:
        await wire.ask(GET % b"/" * 2 + LAST % b"/")
        assert wire.state.total_requests == 3
        assert not wire.state.tasks


@pytest.mark.parametrize("requests", [GET % b"/1", GET % b"/1" + GET % b"/2"])
async def test_a_connection_is_closed_once_it_was_idle_for_its_time(requests: bytes) -> None:
    async with serving(paths, keep_alive=0.05) as wire:
        answered = await wire.ask(requests)
    assert answered.count(b"HTTP/1.1 200 OK") == requests.count(b"GET")


async def test_a_request_that_takes_longer_than_idle_connections_are_kept_is_served() -> None:
    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(1.0 if scope["path"] == "/slow" else 0)
        await answer(send, b"served")

    async with serving(slow, keep_alive=0.5) as wire, wire.client() as client:
        await client.send(GET % b"/")
        await client.receive(b"served")
        await client.send(GET % b"/slow")
        assert (await client.rest()).endswith(b"served")
