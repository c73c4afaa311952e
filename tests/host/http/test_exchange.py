"""The attributes of an exchange while it is served and afterwards."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Generator
from contextvars import ContextVar, copy_context
from functools import partial
from types import coroutine
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from scalekit import Decision, Exchange, Filter, WebSocketExchange
from scalekit.errors import Unavailable
from scalekit.http.filter_chain import FilterChain
from scalekit.http.trace_context import trace_context_of
from tests.host.asgi import Conversation, behind, echo_length, http_scope, respond
from tests.host.http.recorder import EarlyRecorder, Note, PendingDecision, page, response

pytestmark = pytest.mark.anyio

COLOUR: ContextVar[str] = ContextVar("colour", default="none")


class Ends(Filter):
    """Records the exchange and the exception."""

    request_headers = (b"x-seen",)
    exchange: Any = None
    error: BaseException | None = None

    def on_complete(self, exchange: Exchange, error: BaseException | None) -> None:
        self.exchange, self.error = exchange, error

    def on_close(self, exchange: WebSocketExchange, error: BaseException | None) -> None:
        self.exchange, self.error = exchange, error


SERVER_INFO: ContextVar[Exchange | None] = ContextVar("served", default=None)


class Sets(Filter):
    """Sets context variables."""

    def __init__(self, colour: str) -> None:
        self.colour = colour

    def on_application(self, exchange: Exchange) -> None:
        exchange.set_context(COLOUR, self.colour)
        exchange.set_context(SERVER_INFO, exchange)


async def serve(chain: FilterChain, *messages: Message, **more: Any) -> Conversation:
    client = Conversation()
    for message in messages:
        client.to_app.put_nowait(message)
    await client.run(chain, http_scope(**more))
    return client


async def test_the_record_of_a_request() -> None:
    ends = Ends()

    async def rewrites(scope: Scope, receive: Receive, send: Send) -> None:
        scope["path"] = "/other"
        await echo_length(scope, receive, send)

    parts = [{"type": "http.request", "body": body, "more_body": body == b"12"} for body in (b"12", b"345")]
    await serve(behind(rewrites, ends), *parts, path="/mine", method="POST")
    record = ends.exchange
    assert (record.path, record.route_path, record.route) == ("/mine", "/mine", "")
    assert (record.status, record.request_bytes, record.response_bytes) == (200, 5, 1)
    assert (record.disconnected, record.disconnected_early, ends.error) == (False, False, None)
    assert record.seconds > 0


async def test_the_route_path_lacks_the_removed_prefix() -> None:
    ends = Ends()
    await serve(behind(page, ends), path="/shop/cart", root_path="/shop")
    assert (ends.exchange.path, ends.exchange.route_path) == ("/shop/cart", "/cart")


@pytest.mark.parametrize("root", [None, "", "/shop"])
@pytest.mark.parametrize("takes_over", [True, False])
async def test_the_route_path_is_that_before_a_mount_extends_the_prefix(root: str | None, takes_over: bool) -> None:
    class TakesOver(Filter):
        def on_request(self, exchange: Exchange) -> Decision:
            return (lambda app: app(exchange.scope, exchange.receive, exchange.send)) if takes_over else None

    async def mount(scope: Scope, receive: Receive, send: Send) -> None:
        scope["root_path"] = scope.get("root_path", "") + "/cart"
        await respond(send)

    outer, inner = Ends(), Ends()
    below = "/cart/items"
    more = {} if root is None else {"root_path": root}
    scope = {key: value for key, value in http_scope(f"{root or ''}{below}").items() if key != "root_path"}
    await Conversation().run(behind(mount, outer, TakesOver(), inner), scope | more)
    assert (outer.exchange.route_path, inner.exchange.route_path) == (below, below)
    assert (inner.exchange is outer.exchange) is not takes_over


async def test_every_value_of_a_header() -> None:
    ends = Ends()
    for values in ([], [b"1"], [b"1", b"2", b"3"]):
        await serve(behind(page, ends), headers=[(b"x-other", b"0"), *((b"x-seen", value) for value in values)])
        assert ends.exchange.values(b"x-seen") == values
        assert ends.exchange.headers.get(b"x-seen") == (values[0] if values else None)
        assert b"x-other" not in ends.exchange.headers


async def test_exchange_and_scope_have_one_trace_context() -> None:
    ends = Ends()
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(trace_context_of(scope))
        await respond(send)

    await serve(behind(app, ends), headers=[(b"x-request-id", b"abc")])
    assert ends.exchange.trace_context is seen[0]

    class AsksFirst(Filter):
        def on_request(self, exchange: Exchange) -> Decision:
            seen.append(exchange.trace_context)
            return None

    await serve(behind(app, AsksFirst()), headers=[(b"x-request-id", b"abc")])
    assert seen[1] is seen[2]
    assert [each.request_id for each in seen] == ["abc"] * 3


async def test_the_size_of_a_local_response() -> None:
    class Gives(Filter):
        def on_request(self, exchange: Exchange) -> Decision:
            return response(404, b"none")

    ends = Ends()
    await serve(behind(page, ends, Gives()))
    assert (ends.exchange.status, ends.exchange.response_bytes) == (404, 4)


@pytest.mark.parametrize("early", [True, False])
async def test_a_disconnect_before_the_response_is_distinguished_from_a_later_one(early: bool) -> None:
    ends = Ends()

    async def reads(scope: Scope, receive: Receive, send: Send) -> None:
        if early:
            await receive()
        await respond(send)
        await receive()

    await serve(behind(reads, ends), *[{"type": "http.disconnect"}] * 2)
    assert (ends.exchange.disconnected_early, ends.exchange.disconnected) == (early, True)


async def test_the_time_ends_with_the_last_byte() -> None:
    ends = Ends()

    async def lingers(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send)
        ended.append(asyncio.get_running_loop().time() - began)
        await asyncio.sleep(0.05)

    ended: list[float] = []
    began = asyncio.get_running_loop().time()
    await serve(behind(lingers, ends))
    assert ends.exchange.seconds <= ended[0]


async def test_context_variables_are_set_for_the_application_and_are_as_before_afterwards() -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(COLOUR.get())
        await respond(send)

    class Notes(Filter):
        def on_request(self, exchange: Exchange) -> Decision:
            seen.append(COLOUR.get())
            return None

        def on_complete(self, exchange: Exchange, error: BaseException | None) -> None:
            seen.append(COLOUR.get())

    token = COLOUR.set("before")
    await serve(behind(app, Sets("outer"), Notes(), Sets("inner")))
    assert seen == ["before", "inner", "inner"]
    assert COLOUR.get() == "before"
    COLOUR.reset(token)


async def test_context_variables_are_as_before_after_an_exception_too() -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise LookupError

    with pytest.raises(LookupError):
        await serve(behind(broken, Sets("mine")))
    assert COLOUR.get() == "none"


def test_an_exchange_closed_in_another_context_is_completed() -> None:
    ends = Ends()

    async def hangs(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()

    @coroutine
    def never() -> Generator[None, None, Message]:
        yield
        raise AssertionError

    serving: Any = behind(hangs, ends, Sets("mine"))(http_scope(), never, None)  # type: ignore[arg-type]
    copy_context().run(serving.send, None)
    serving.close()
    assert isinstance(ends.error, GeneratorExit)
    assert COLOUR.get() == "none"


def records() -> int:
    """Return the number of exchanges in memory, including those of other tests."""
    return sum(issubclass(type(each), Exchange) for each in gc.get_objects())


async def test_an_exception_reaches_on_complete_and_is_raised_and_context_variables_are_reset() -> None:
    ends, mine = Ends(), LookupError("mine")

    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise mine

    gc.collect()
    gc.disable()
    before = records()
    try:
        with pytest.raises(LookupError) as caught:
            await serve(behind(broken, ends, Sets("mine")))
        assert caught.value is mine is ends.error
        assert ends.exchange.status == 0
        ends.exchange = ends.error = None
        mine.__traceback__ = None
        del caught
        assert records() == before
    finally:
        gc.enable()


@pytest.mark.parametrize("kind", ["none", "response", "takeover", "pending", "looking", "looking takeover"])
async def test_a_request_creates_no_reference_cycle(kind: str) -> None:
    notes: list[Note] = []
    pending = PendingDecision()

    def takes_over(exchange: Exchange) -> Any:
        async def serve(app: Any) -> None:
            await app(exchange.scope, exchange.receive, exchange.send)

        return serve

    def decides(exchange: Exchange) -> Any:
        if kind in ("none", "response"):
            return response() if kind == "response" else None
        return takes_over(exchange) if kind == "takeover" else pending(exchange)

    async def ask(client: Conversation) -> None:
        chain = behind(
            page, Sets("outer"), EarlyRecorder("a", notes, decides), EarlyRecorder("b", notes, inner), Sets("inner")
        )
        serving = asyncio.create_task(client.run(chain, http_scope()))
        while not notes:
            await asyncio.sleep(0)
        if pending.replies:
            pending.complete()
        await serving
        pending.replies.clear()

    inner = {"looking": response(), "looking takeover": takes_over}.get(kind)
    gc.collect()
    gc.disable()
    before = records()
    try:
        client = Conversation()
        await ask(client)
        assert client.status == 200
        await asyncio.sleep(0)
        assert records() == before
    finally:
        gc.enable()


class HoldsStart(Filter):
    """Holds the start of a response until its body, as the plugin compression does."""

    def on_response_start(self, exchange: Exchange) -> None:
        if not exchange.is_local_response:
            self.send = exchange.replace_send(partial(self.hold, exchange))

    async def hold(self, exchange: Exchange, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.start, exchange.status = message, 0
            return
        if not exchange.status:
            exchange.status = self.start["status"]
            await self.send(self.start)
        exchange.client_send = self.send
        await self.send(message)


class Fails(Filter):
    """Raises when a response starts, as long as *times* is positive."""

    def __init__(self, times: int = 1) -> None:
        self.times = times

    def on_response_start(self, exchange: Exchange) -> None:
        self.times -= 1
        if self.times >= 0:
            raise LookupError


async def test_a_replacement_of_send_transforms_the_messages_and_ends_with_the_last() -> None:
    ends = Ends()
    client = await serve(behind(page, ends, HoldsStart()))
    assert (client.status, client.body) == (200, b"page")
    assert (ends.exchange.status, ends.exchange.client_send) == (200, client.send)


async def test_after_a_failure_a_start_that_was_held_counts_as_unsent() -> None:
    async def half(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        raise Unavailable("the list of guests")

    ends = Ends()
    client = await serve(behind(half, ends, HoldsStart(), HoldsStart()))
    assert [message.get("status") for message in client.sent] == [503, None]
    assert (ends.exchange.status, ends.exchange.response_bytes) == (503, len(client.body))


@pytest.mark.parametrize("count", [1, 2])
async def test_a_failure_of_a_later_filter_restores_send(count: int) -> None:
    async def retries(scope: Scope, receive: Receive, send: Send) -> None:
        with pytest.raises(LookupError):
            await respond(send)
        senders.append(ends.exchange.client_send)
        await respond(send)

    ends = Ends()
    chain = behind(retries, ends, Fails(), *[HoldsStart() for _ in range(count)])
    client = Conversation()
    senders: list[Send] = []
    exchange = chain.exchange(http_scope(), client.to_app.get, client.send)
    ends.exchange = exchange
    await chain.serve(exchange)
    assert (senders, client.status, client.body) == ([client.send], 200, b"ok")


async def test_a_filter_that_fails_on_a_local_response_leaves_no_record_of_it() -> None:
    ends = Ends()
    with pytest.raises(LookupError):
        await serve(behind(page, ends, Fails(), EarlyRecorder("a", [], response(404))))
    record = ends.exchange
    assert (record.status, record.response_bytes, record.is_local_response) == (0, 0, False)


async def open_websocket(chain: FilterChain, **more: Any) -> Conversation:
    client = Conversation()
    client.to_app.put_nowait({"type": "websocket.connect"})
    client.to_app.put_nowait({"type": "websocket.disconnect", "code": 1001})
    await client.run(chain, http_scope(type="websocket", **more))
    return client


async def test_the_record_of_a_websocket() -> None:
    ends = Ends()

    async def closes(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": "ü"})
        await send({"type": "websocket.send", "bytes": b"123"})
        await send({"type": "websocket.close", "code": 4000})
        raise LookupError

    with pytest.raises(LookupError):
        await open_websocket(behind(closes, ends))
    assert (type(ends.exchange), type(ends.error)) == (WebSocketExchange, LookupError)
    assert (ends.exchange.status, ends.exchange.response_bytes, ends.exchange.code) == (101, 5, 4000)


async def test_the_close_code_of_a_websocket_is_the_first_one() -> None:
    ends = Ends()

    async def closes(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 4000})
        assert (await receive())["code"] == 1001

    await open_websocket(behind(closes, ends))
    assert ends.exchange.code == 4000


async def test_a_websocket_that_its_client_closes() -> None:
    ends = Ends()

    async def waits(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept", "headers": [(b"x-mine", b"1")]})
        await receive()

    class Adds(Filter):
        def on_open(self, exchange: WebSocketExchange) -> Decision:
            exchange.added_headers.append((b"x-added", b"1"))
            return None

    client = await open_websocket(behind(waits, ends, Adds()))
    assert (ends.exchange.status, ends.exchange.code, ends.exchange.disconnected) == (101, 1001, True)
    assert client.sent[0]["headers"] == [(b"x-mine", b"1"), (b"x-added", b"1")]


@pytest.mark.parametrize("extensions", [{}, {"websocket.http.response": {}}])
async def test_a_websocket_is_rejected_with_a_response_or_a_close(extensions: dict[str, Any]) -> None:
    notes: list[Note] = []
    outer, inner = EarlyRecorder("a", notes), EarlyRecorder("c", notes)
    chain = behind(page, outer, EarlyRecorder("b", notes, response(421)), inner)
    client = await open_websocket(chain, extensions=extensions)
    if extensions:
        assert [message["type"] for message in client.sent] == [
            "websocket.http.response.start",
            "websocket.http.response.body",
        ]
        assert (client.sent[0]["status"], client.sent[1]["body"]) == (421, b"local")
        assert notes == [("a", "open"), ("b", "open"), ("a", "start", 421), ("a", "close", 421, 0)]
    else:
        assert client.sent == [{"type": "websocket.close", "code": 1008, "reason": "refused"}]
        assert notes == [("a", "open"), ("b", "open"), ("a", "close", 403, 1008)]


async def test_a_websocket_that_raises_unavailable_fails() -> None:
    ends = Ends()

    def gone(exchange: Exchange) -> Decision:
        raise Unavailable("the list of guests")

    with pytest.raises(Unavailable):
        await open_websocket(behind(page, ends, EarlyRecorder("a", [], gone)))
    assert isinstance(ends.error, Unavailable)


async def test_a_websocket_waits_for_a_pending_decision_like_a_request() -> None:
    notes: list[Note] = []
    pending = PendingDecision(response(429))
    client = Conversation()
    chain = behind(page, EarlyRecorder("a", notes, pending), EarlyRecorder("b", notes))
    opening = asyncio.create_task(client.run(chain, http_scope(type="websocket")))
    while not notes:
        await asyncio.sleep(0)
    assert notes == [("a", "open"), ("b", "open")]
    pending.complete()
    await opening
    assert [message["type"] for message in client.sent] == ["websocket.close"]
