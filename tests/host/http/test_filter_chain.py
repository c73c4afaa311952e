"""Filters that decide at once: the order of calls, and the response."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scalekit import LATER, Decision, Exchange, Filter, LocalResponse
from scalekit.host import ChainLink, build_chain
from scalekit.http.filter_chain import FilterChain
from scalekit.http.route_template import RouteTemplates
from tests.host.asgi import Conversation, behind, http_scope, respond
from tests.host.http.recorder import Note, Recorder, calls, page, response

pytestmark = pytest.mark.anyio


class Shouting:
    """Third-party middleware that changes headers and bodies."""

    def __init__(self, app: ASGIApp, header: bytes = b"") -> None:
        self.app = app
        self.header = header

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def louder(message: Message) -> None:
            await send({**message, "body": message["body"] + b"!"} if message.get("body") else message)

        if self.header:
            scope = {**scope, "headers": [*scope["headers"], (b"x-seen", self.header)]}
        await self.app(scope, receive, louder)


class Seen(Filter):
    """Records a request header."""

    request_headers = (b"x-seen",)

    def __init__(self, notes: list[Note]) -> None:
        self.notes = notes

    def on_request(self, exchange: Exchange) -> Decision:
        self.notes.append((exchange.headers.get(b"x-seen"), exchange.values(b"x-seen")))
        return None


def chain_of(app: ASGIApp, *links: Any) -> FilterChain:
    """Return *app* inside filters and middleware, the first outermost."""
    chain = [ChainLink("LOG", "test", each if isinstance(each, Filter) else Middleware(*each)) for each in links]
    return build_chain(chain, app, RouteTemplates())


async def ask(app: ASGIApp, *messages: Message, **more: Any) -> Conversation:
    client = Conversation()
    for message in messages:
        client.to_app.put_nowait(message)
    await client.run(app, http_scope(**more))
    return client


async def test_filters_decide_inwards_and_complete_outwards() -> None:
    notes: list[Note] = []
    client = await ask(behind(page, *[Recorder(name, notes) for name in "abc"]))
    assert client.body == b"page"
    assert [note[:2] for note in notes] == [
        *[(name, "request") for name in "abc"],
        *[(name, "application") for name in "abc"],
        *[(name, "start") for name in "cba"],
        *[(name, "complete") for name in "cba"],
    ]
    assert notes[-1] == ("a", "complete", 200, "")


async def test_a_method_that_a_filter_does_not_override_is_not_called() -> None:
    stage = behind(page, Filter(), Seen([])).exchange(http_scope(), None, None).stage  # type: ignore[arg-type]
    assert [len(each) for each in (stage.decisions, stage.applications[2], stage.response_starts[2])] == [1, 0, 0]
    assert stage.completions[2] == ()


async def test_a_local_response_stops_and_inner_filters_take_no_part() -> None:
    notes: list[Note] = []
    answer = response(404, b"none")
    client = await ask(behind(page, *[Recorder(name, notes, answer if name == "b" else None) for name in "abc"]))
    assert (client.status, client.body) == (404, b"none")
    assert notes == [("a", "request"), ("b", "request"), ("a", "start", 404), ("a", "complete", 404, "")]


async def test_added_headers_do_not_modify_the_local_response() -> None:
    shared = response(200, b"shared", (b"x-own", b"1"))

    class Adding(Filter):
        def on_request(self, exchange: Exchange) -> Decision:
            exchange.added_headers.append((b"x-added", exchange.scope["path"].encode()))
            return None

        def on_response_start(self, exchange: Exchange) -> None:
            exchange.response_headers.append((b"x-last", b"1"))

    class Gives(Filter):
        def on_request(self, exchange: Exchange) -> LocalResponse:
            return shared

    before = list(shared.headers)
    for path in ("/one", "/two"):
        client = await ask(behind(page, Adding(), Gives()), path=path)
        assert client.sent[0]["headers"] == [*before, (b"x-added", path.encode()), (b"x-last", b"1")]
    assert shared.headers == before


async def test_headers_are_added_to_a_copy_of_the_applications_message() -> None:
    class Adding(Filter):
        def on_request(self, exchange: Exchange) -> Decision:
            exchange.added_headers.append((b"x-added", b"1"))
            return None

    mine: Message = {"type": "http.response.start", "status": 200, "headers": [(b"x-mine", b"1")]}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(mine)
        await send({"type": "http.response.body"})

    client = await ask(behind(app, Adding()))
    assert client.sent[0]["headers"] == [(b"x-mine", b"1"), (b"x-added", b"1")]
    assert mine["headers"] == [(b"x-mine", b"1")]


@pytest.mark.parametrize("headers", [[(b"x-mine", b"1")], ((b"x-mine", b"1"),), None])
async def test_headers_that_filters_read_replace_or_change(headers: Any) -> None:
    seen: list[list[tuple[bytes, bytes]]] = []

    class Reads(Filter):
        adds: Any = ()

        def on_response_start(self, exchange: Exchange) -> None:
            seen.append([*exchange.current_headers])

    class Replaces(Reads):
        adds = [(b"x-replaced", b"1")]

        def on_response_start(self, exchange: Exchange) -> None:
            exchange.current_headers = [*exchange.current_headers, *self.adds]

    class Changes(Reads):
        adds = [(b"x-changed", b"1")]

        def on_response_start(self, exchange: Exchange) -> None:
            exchange.response_headers.extend(self.adds)

    mine: Message = {"type": "http.response.start", "status": 200, "headers": headers}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(mine)
        await send({"type": "http.response.body"})

    own = [*(headers or ())]
    chains: list[list[Reads]] = [[], [Replaces()], [Changes()], [Replaces(), Changes(), Reads(), Changes()]]
    for changes in chains:
        client = await ask(behind(app, Reads(), *changes, Reads()))
        expected = [*own, *(header for each in reversed(changes) for header in each.adds)]
        assert client.sent[0]["headers"] == seen[-1] == expected
        assert seen[0] == [*(mine["headers"] or ())] == own
        assert mine["headers"] is headers
        seen.clear()


async def test_a_message_that_no_filter_changes_is_sent_as_it_is() -> None:
    mine: Message = {"type": "http.response.start", "status": 200, "headers": [(b"x-mine", b"1")]}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(mine)
        await send({"type": "http.response.body"})

    notes: list[Note] = []
    client = await ask(behind(app, Recorder("a", notes)))
    assert ("a", "start", 200) in notes
    assert client.sent[0] is mine


async def test_a_server_may_change_the_headers_of_a_local_response_that_is_sent_again() -> None:
    shared = response(200, b"shared", (b"x-own", b"1"))
    before = list(shared.headers)
    for _ in range(2):
        client = await ask(behind(page, Recorder("a", [], shared)))
        assert client.sent[0]["headers"] == before
        client.sent[0]["headers"].append((b"x-server", b"1"))
    assert shared.headers == before


async def test_a_takeover_receives_the_inner_application() -> None:
    notes: list[Note] = []

    def takes_over(exchange: Exchange) -> Any:
        async def serve(app: ASGIApp) -> None:
            notes.append(("b", "serves"))
            await app(exchange.scope, exchange.receive, exchange.send)
            notes.append(("b", "served"))

        return serve

    chain = behind(page, *[Recorder(name, notes, takes_over if name == "b" else None) for name in "abc"])
    client = await ask(chain)
    assert client.body == b"page"
    assert [note[:2] for note in notes] == [
        ("a", "request"),
        ("b", "request"),
        ("a", "application"),
        ("b", "serves"),
        ("c", "request"),
        ("c", "application"),
        ("c", "start"),
        ("a", "start"),
        ("c", "complete"),
        ("b", "served"),
        ("a", "complete"),
    ]
    notes.clear()
    chain.filters[2].decision = response(403)  # type: ignore[attr-defined]
    assert (await ask(chain)).status == 403
    assert ("a", "complete", 403, "") in notes
    assert calls(notes, "complete") == ["a"]


async def test_the_innermost_filter_may_take_over_too() -> None:
    class Last(Filter):
        def on_request(self, exchange: Exchange) -> Decision:
            async def serve(app: ASGIApp) -> None:
                await app(exchange.scope, exchange.receive, exchange.send)

            return serve

    assert (await ask(behind(page, Last()))).body == b"page"


@pytest.mark.parametrize("decision", [LATER, 7])
async def test_an_invalid_decision_is_a_type_error(decision: Any) -> None:
    notes: list[Note] = []
    with pytest.raises(TypeError, match=r"on_request.* returned .* with no decision pending"):
        await ask(behind(page, Recorder("a", notes), Recorder("b", notes, decision)))
    assert notes[-1] == ("a", "complete", 0, "TypeError")


async def test_an_exception_of_a_filter_reaches_on_complete_of_outer_filters() -> None:
    notes: list[Note] = []

    def fails(exchange: Exchange) -> Decision:
        raise LookupError

    with pytest.raises(LookupError):
        await ask(behind(page, *[Recorder(name, notes, fails if name == "b" else None) for name in "abc"]))
    assert notes == [("a", "request"), ("b", "request"), ("a", "complete", 0, "LookupError")]


async def test_a_failing_on_complete_does_not_prevent_the_others(caplog: pytest.LogCaptureFixture) -> None:
    notes: list[Note] = []

    class Fails(Filter):
        def on_complete(self, exchange: Exchange, error: BaseException | None) -> None:
            raise LookupError

    client = await ask(behind(page, Recorder("a", notes), Fails(), Recorder("c", notes)))
    assert client.body == b"page"
    assert calls(notes, "complete") == ["c", "a"]
    assert "a filter failed in on_complete or on_close" in caplog.text


async def test_third_party_middleware_runs_between_two_filter_chains() -> None:
    notes: list[Note] = []
    client = await ask(chain_of(page, Recorder("a", notes), [Shouting], Recorder("c", notes), Recorder("d", notes)))
    assert client.body == b"page!"
    assert [note[:2] for note in notes] == [
        ("a", "request"),
        ("a", "application"),
        ("c", "request"),
        ("d", "request"),
        ("c", "application"),
        ("d", "application"),
        ("d", "start"),
        ("c", "start"),
        ("a", "start"),
        ("d", "complete"),
        ("c", "complete"),
        ("a", "complete"),
    ]


async def test_each_filter_sees_the_headers_and_bytes_at_its_position() -> None:
    ends: list[Any] = []

    class Ends(Seen):
        def on_complete(self, exchange: Exchange, error: BaseException | None) -> None:
            ends.append(exchange.response_bytes)

    notes: list[Note] = []
    await ask(chain_of(page, Ends(notes), [Shouting, b"1"], Ends(notes), [Shouting, b"2"], Ends(notes)))
    assert notes == [(None, []), (b"1", [b"1"]), (b"1", [b"1", b"2"])]
    assert ends == [4, 5, 6]


async def test_inner_filters_see_replaced_request_headers() -> None:
    class Replaces(Seen):
        def on_request(self, exchange: Exchange) -> Decision:
            super().on_request(exchange)
            exchange.replace_headers([*exchange.scope["headers"], (b"x-seen", b"1"), (b"x-seen", b"2")])
            return None

    notes: list[Note] = []
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.extend(value for name, value in scope["headers"] if name == b"x-seen")
        await respond(send)

    await ask(behind(app, Replaces(notes), Seen(notes)))
    assert notes == [(None, []), (b"1", [b"1", b"2"])]
    assert seen == [b"1", b"2"]


@pytest.mark.parametrize("kind", ["lifespan", "of-the-future"])
async def test_other_scopes_go_to_the_application(kind: str) -> None:
    notes: list[Note] = []
    reached: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        reached.append(scope["type"])

    await behind(app, Recorder("a", notes))({"type": kind}, None, None)  # type: ignore[arg-type]
    assert (reached, notes) == ([kind], [])
