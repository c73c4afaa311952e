from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scalekit import Exchange, Observer, Observing, Socket, create_app
from scalekit.host import Host, Part, fold
from scalekit.identity import CURRENT
from tests.host.asgi import Conversation, echo_length, http_scope, respond

pytestmark = pytest.mark.anyio


class Notes(Observer):
    """Writes down what it is told."""

    def __init__(self, name: str, notes: list[Any]) -> None:
        self.name = name
        self.notes = notes

    def begin(self, exchange: Exchange) -> None:
        self.notes.append((self.name, "begin", id(exchange)))

    def end(self, exchange: Exchange, error: BaseException | None) -> None:
        self.notes.append((self.name, exchange.status, exchange.sent, id(exchange)))


class Ends(Observer):
    """Keeps the record and the exception."""

    def __init__(self) -> None:
        self.exchange: Any = None
        self.error: BaseException | None = None

    def end(self, exchange: Exchange, error: BaseException | None) -> None:
        self.exchange, self.error = exchange, error

    def close(self, socket: Socket, error: BaseException | None) -> None:
        self.exchange, self.error = socket, error


class Identifies(Observer):
    def begin(self, exchange: Exchange) -> None:
        exchange.identify()


class Longer:
    """A middleware that adds to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def longer(message: Message) -> None:
            await send({**message, "body": message["body"] + b"!!"} if "body" in message else message)

        await self.app(scope, receive, longer)


class Apart:
    """A middleware that serves in a task of its own."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def serve() -> None:
            await self.app(scope, receive, send)

        await asyncio.create_task(serve())


def around(app: ASGIApp, *chain: Any) -> Host:
    """Return *app* under a host with middleware and observers, the first outermost."""
    host = create_app({}, app=app)
    middleware = [Middleware(Observing, each) if isinstance(each, Observer) else Middleware(each) for each in chain]
    host.chain = fold([*host.parts, *(Part("LOG", "test", each) for each in middleware)], app)
    return host


async def answers(scope: Scope, receive: Receive, send: Send) -> None:
    await respond(send, b"ok")


async def serve(host: Host, *messages: Message, **more: Any) -> Conversation:
    client = Conversation()
    for message in messages:
        client.to_app.put_nowait(message)
    await client.run(host, http_scope(**more))
    return client


async def test_observers_side_by_side_share_one_record_and_are_told_inwards_and_back() -> None:
    notes: list[Any] = []
    await serve(around(answers, Notes("a", notes), Notes("b", notes)))
    record = notes[0][-1]
    assert notes == [("a", "begin", record), ("b", "begin", record), ("b", 200, 2, record), ("a", 200, 2, record)]


async def test_an_observer_sees_what_passes_at_its_place() -> None:
    notes: list[Any] = []
    client = await serve(around(answers, Notes("out", notes), Longer, Notes("in", notes)))
    assert client.body == b"ok!!"
    assert [note[:3] for note in notes[2:]] == [("in", 200, 2), ("out", 200, 4)]
    notes.clear()
    await serve(around(answers, Longer, Notes("in", notes)))
    assert notes[-1][:3] == ("in", 200, 2)


async def test_observers_on_both_sides_of_what_changes_nothing_are_each_told_once() -> None:
    notes: list[Any] = []
    await serve(around(answers, Notes("out", notes), Apart, Notes("in", notes)))
    assert [note[:2] for note in notes] == [("out", "begin"), ("in", "begin"), ("in", 200), ("out", 200)]


async def test_the_record_of_a_request() -> None:
    ends = Ends()

    async def rewrites(scope: Scope, receive: Receive, send: Send) -> None:
        scope["path"] = "/other"
        await echo_length(scope, receive, send)

    parts = [{"type": "http.request", "body": body, "more_body": body == b"12"} for body in (b"12", b"345")]
    await serve(around(rewrites, ends), *parts, path="/mine", method="POST")
    record = ends.exchange
    assert (record.path, record.status, record.received, record.sent, record.left) == ("/mine", 200, 5, 1, False)
    assert (record.route, ends.error) == ("", None)
    assert record.seconds > 0


@pytest.mark.parametrize("late", [True, False])
async def test_a_client_that_left_is_told_from_one_that_left_before_the_answer(late: bool) -> None:
    ends = Ends()

    async def reads(scope: Scope, receive: Receive, send: Send) -> None:
        if late:
            await receive()
        await respond(send)
        await receive()

    await serve(around(reads, ends), *[{"type": "http.disconnect"}] * 2)
    assert (ends.exchange.late, ends.exchange.left) == (late, True)


async def test_an_exception_is_told_and_passed_on_and_leaves_nothing_behind() -> None:
    ends, outer = Ends(), LookupError("mine")

    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise outer

    host = around(broken, ends, Longer, Identifies())
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(LookupError) as caught:
            await serve(host)
        assert caught.value is outer is ends.error
        assert ends.exchange.status == 0
        ends.exchange = ends.error = None
        outer.__traceback__ = None
        del caught
        assert [each for each in gc.get_objects() if type(each) is Exchange] == []
    finally:
        gc.enable()


@pytest.mark.parametrize("middleware", [(), (Apart,), (Longer,)])
async def test_who_is_identified_is_current_while_it_is_served_and_named_once(middleware: tuple[Any, ...]) -> None:
    current: list[Any] = []

    async def shows(scope: Scope, receive: Receive, send: Send) -> None:
        current.append(CURRENT.get())
        await send({"type": "http.response.start", "status": 200, "headers": [(b"X-Request-Id", b"theirs")]})
        await send({"type": "http.response.body"})

    async def longer_empty(host: Host) -> list[tuple[bytes, bytes]]:
        client = await serve(host, headers=[(b"x-request-id", b"abc")])
        return [field for field in client.sent[0]["headers"] if field[0].lower() == b"x-request-id"]

    assert await longer_empty(around(shows, *middleware, Identifies(), Ends())) == [(b"x-request-id", b"abc")]
    assert [each.request_id for each in current] == ["abc"]
    assert CURRENT.get() is None


async def test_health_pages_are_told_to_nobody() -> None:
    notes: list[Any] = []
    assert (await serve(around(answers, Notes("a", notes)), path="/health/live")).status == 200
    assert notes == []


async def test_a_websocket_is_told_as_one() -> None:
    notes: list[Any] = []
    ends = Ends()

    async def closes(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": "ü"})
        await send({"type": "websocket.close", "code": 4000})
        raise LookupError

    with pytest.raises(LookupError):
        await serve(around(closes, ends, Notes("a", notes)), type="websocket")
    assert (type(ends.exchange), type(ends.error)) == (Socket, LookupError)
    assert (ends.exchange.status, ends.exchange.sent, ends.exchange.code) == (101, 2, 4000)
    assert notes == []
