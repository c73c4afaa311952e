from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import orjson
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scalekit import Decision, Exchange, Filter, Key, LocalResponse, StartError, create_app, local_problem
from scalekit.errors import Unavailable
from scalekit.host import Host
from scalekit.lifecycle import Phase
from scalekit.testing import request, running
from scalekit_visits.keys import VISITS
from tests.host.asgi import Conversation, behind, http_only, http_scope, respond
from tests.plugin_source import Install

pytestmark = pytest.mark.anyio


def host(app: ASGIApp, **tables: Any) -> Host:
    return create_app(tables, app=app)


async def serve(app: Host, scope: Scope) -> tuple[Conversation, Exception | None]:
    """Serve one request as a server does; return the conversation and the exception."""
    client = Conversation()
    client.chunk(b"")
    async with running(app) as state:
        try:
            await client.run(app, {**scope, "state": dict(state)})
        except Exception as error:
            return client, error
    return client, None


async def test_an_exception_before_the_response_becomes_one_500_with_the_request_id_and_is_raised_to_the_server() -> (
    None
):
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise KeyError("hunter2")

    client, error = await serve(host(http_only(broken)), http_scope("/x\r\ny", headers=[(b"x-request-id", b"abc-1")]))
    assert [message["type"] for message in client.sent] == ["http.response.start", "http.response.body"]
    assert orjson.loads(client.body) == {
        "type": "about:blank",
        "title": "Internal Server Error",
        "status": 500,
        "request_id": "abc-1",
    }
    assert (b"x-request-id", b"abc-1") in client.sent[0]["headers"]
    assert isinstance(error, KeyError)
    assert error.__notes__ == [r"while serving GET '/x\r\ny', request id abc-1"]


async def test_an_exception_after_the_response_started_adds_nothing_to_it() -> None:
    async def half(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise KeyError("later")

    client, error = await serve(host(half), http_scope())
    assert client.body == b"half"
    assert client.status == 200
    assert isinstance(error, KeyError)


async def test_an_exception_while_a_filter_holds_the_start_becomes_one_500() -> None:
    statuses: list[int] = []

    class Holds(Filter):
        def on_response_start(self, exchange: Exchange) -> None:
            if exchange.status == 200:
                exchange.replace_send(partial(self.hold, exchange))

        async def hold(self, exchange: Exchange, message: Message) -> None:
            exchange.status = 0

        def on_complete(self, exchange: Exchange, error: BaseException | None) -> None:
            statuses.append(exchange.status)

    async def half(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise KeyError("before the body")

    app = host(half)
    app.chain = behind(half, Holds())
    client = Conversation()
    with pytest.raises(KeyError):
        await client.run(app, http_scope())
    assert [message.get("status") for message in client.sent] == [500, None]
    assert statuses == [0]


@pytest.mark.parametrize("decision", [None, local_problem(429, "later")])
async def test_a_filter_that_fails_when_a_response_starts_leaves_a_500(decision: LocalResponse | None) -> None:
    class Decides(Filter):
        def on_request(self, exchange: Exchange) -> Decision:
            return decision

    class Fails(Filter):
        def on_response_start(self, exchange: Exchange) -> None:
            raise LookupError

    app = host(hello)
    app.chain = behind(hello, Fails(), Decides())
    client = Conversation()
    with pytest.raises(LookupError):
        await client.run(app, http_scope())
    assert [message.get("status") for message in client.sent] == [500, None]


@pytest.mark.parametrize("early", ["http.response.debug", "http.response.early_hint"])
async def test_messages_before_the_response_start_do_not_start_it(early: str) -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": early})
        raise KeyError

    client, _ = await serve(host(http_only(broken)), http_scope())
    assert client.status == 500


async def test_a_response_of_the_applications_own_error_handler_is_sent_unchanged() -> None:
    async def broken(request: Request) -> Response:
        raise KeyError

    async def handler(request: Request, error: Exception) -> Response:
        return JSONResponse("mine", 500)

    app = Starlette(routes=[Route("/", broken)], exception_handlers={Exception: handler})
    client, error = await serve(host(app), http_scope())
    assert client.body == b'"mine"'
    assert isinstance(error, KeyError), "as without ScaleKit, the server hears of it"


async def test_a_malformed_request_id_is_replaced() -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise KeyError

    client, _ = await serve(host(http_only(broken)), http_scope(headers=[(b"x-request-id", b"a\r\nb")]))
    assert len(orjson.loads(client.body)["request_id"]) == 32


async def test_on_complete_is_called_when_the_send_of_the_response_fails() -> None:
    ended: list[object] = []

    class Ends(Filter):
        def on_complete(self, exchange: Exchange, error: BaseException | None) -> None:
            ended.append((exchange.status, error))

    async def needs(scope: Scope, receive: Receive, send: Send) -> None:
        raise Unavailable("a shelf")

    async def broken(message: Message) -> None:
        raise disconnected

    disconnected = OSError("the client has disconnected")
    app = host(http_only(needs))
    app.chain = behind(http_only(needs), Ends())
    with pytest.raises(OSError, match="the client has disconnected"):
        await app(http_scope(), Conversation().to_app.get, broken)
    assert ended == [(503, disconnected)]


async def test_middleware_sees_the_exception_and_not_a_500(install: Install) -> None:
    install(
        "watch",
        """
        from scalekit import Layer, LayeredFilter, Middleware, hookimpl
        seen = []
        class Watch:
            def __init__(self, app): self.app = app
            async def __call__(self, scope, receive, send):
                try:
                    await self.app(scope, receive, send)
                except BaseException as error:
                    seen.append(error)
                    raise
        @hookimpl
        def scalekit_filters(context): return [LayeredFilter(Layer.LOG, Middleware(Watch))]
        """,
    )

    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise KeyError("mine")

    app = host(http_only(broken), plugins={"watch": {}})
    client, error = await serve(app, http_scope())
    assert client.status == 500
    watch: Any = app.links[1].filter
    assert __import__(watch.cls.__module__).seen == [error]


async def test_plugins_start_before_the_application_and_stop_after_it(install: Install) -> None:
    install(
        "story",
        """
        from contextlib import asynccontextmanager
        from scalekit import Lifespan, hookimpl
        events = []
        @asynccontextmanager
        async def run():
            events.append("plugin up")
            yield
            events.append("plugin down")
        @hookimpl
        def scalekit_lifespan(context): return Lifespan(run)
        """,
    )

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[dict[str, int]]:
        events.append("application up")
        yield {"mine": 1}
        events.append("application down")

    app = host(Starlette(lifespan=lifespan), plugins={"story": {}})
    (loaded,) = app.settings.plugins._loaded.values()
    events: list[str] = loaded.events
    async with running(app):
        assert events == ["plugin up", "application up"]
    assert events == ["plugin up", "application up", "application down", "plugin down"]


async def test_the_state_of_application_and_plugins_are_both_on_the_request() -> None:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[dict[str, int]]:
        yield {"mine": 7}

    async def show(request: Request) -> Response:
        return JSONResponse([request.state.mine, VISITS(request).add("x")])

    app = host(Starlette(routes=[Route("/", show)], lifespan=lifespan), plugins={"visits": {}})
    async with running(app) as state:
        assert (await request(app, "/", state=state)).body == b"[7,1]"


async def test_lifespan_state_and_request_state_hold_only_values_of_the_application() -> None:
    seen: list[dict[str, Any]] = []

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[dict[str, int]]:
        yield {"mine": 7}

    async def show(request: Request) -> Response:
        seen.append(dict(request.state._state))
        return Response()

    app = host(Starlette(routes=[Route("/", show)], lifespan=lifespan), plugins={"visits": {}, "logging": {}})
    async with running(app) as state:
        seen.append(dict(state))
        await request(app, "/", state=state)
    assert seen == [{"mine": 7}, {"mine": 7}]


@pytest.mark.parametrize("moment", ["start", "stop"])
async def test_an_error_of_the_applications_lifespan_keeps_its_type(moment: str) -> None:
    class OutOfPaperError(Exception):
        pass

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None]:
        if moment == "start":
            raise OutOfPaperError("tray 2")
        yield
        raise OutOfPaperError("tray 2")

    from_app: asyncio.Queue[Any] = asyncio.Queue()
    to_app: asyncio.Queue[Any] = asyncio.Queue()
    to_app.put_nowait({"type": "lifespan.startup"})
    to_app.put_nowait({"type": "lifespan.shutdown"})
    app = host(Starlette(lifespan=lifespan), plugins={"visits": {}})
    with pytest.raises(OutOfPaperError, match=r"^tray 2$"):
        await app({"type": "lifespan"}, to_app.get, from_app.put)
    last = [from_app.get_nowait() for _ in range(from_app.qsize())][-1]
    kind = "startup" if moment == "start" else "shutdown"
    assert last["type"] == f"lifespan.{kind}.failed"
    assert "the application" in last["message"]
    assert "tray 2" in last["message"]


async def test_the_applications_lifespan_can_use_resources_of_plugins() -> None:
    numbers: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        numbers.append(scope["scalekit"].get(VISITS).add("x"))
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async with running(host(app, plugins={"visits": {}})):
        assert numbers == [1]


async def test_a_server_without_lifespan_state_is_supported() -> None:
    async def show(request: Request) -> Response:
        return JSONResponse(VISITS(request).add("x"))

    app = host(Starlette(routes=[Route("/", show)]), plugins={"visits": {}})
    to_app: asyncio.Queue[Any] = asyncio.Queue()
    from_app: asyncio.Queue[Any] = asyncio.Queue()
    living = asyncio.create_task(app({"type": "lifespan"}, to_app.get, from_app.put))
    to_app.put_nowait({"type": "lifespan.startup"})
    assert (await from_app.get())["type"] == "lifespan.startup.complete"
    client = Conversation()
    scope = http_scope()
    del scope["state"]
    await client.run(app, scope)
    assert client.body == b"1"
    to_app.put_nowait({"type": "lifespan.shutdown"})
    assert (await from_app.get())["type"] == "lifespan.shutdown.complete"
    await living


@pytest.mark.parametrize("position", ["before", "after"])
async def test_a_plugin_that_fails_to_start_is_reported_with_its_table_and_the_others_are_stopped(
    position: str, install: Install
) -> None:
    source = """
        from contextlib import asynccontextmanager
        from scalekit import Lifespan, hookimpl
        events = []
        @asynccontextmanager
        async def run():
            {0}
            events.append("up")
            yield
            events.append("down")
        @hookimpl
        def scalekit_lifespan(context): return Lifespan(run)
        """
    install("mm", source.format("pass"))
    bad = "aa" if position == "before" else "zz"
    install(bad, source.format("raise OSError('no route to host')"))
    app = host(Starlette(), plugins={"mm": {}, bad: {}})
    with pytest.raises(
        StartError, match=rf"plugin '{bad}' \(\[plugins.{bad}\], configuration\) did not start: OSError"
    ):
        async with running(app):
            pytest.fail("it did not start")
    events = app.settings.plugins._loaded["mm"].events
    assert events == ([] if position == "before" else ["up", "down"])


async def test_an_application_that_fails_to_start_is_reported_with_its_message() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "lifespan.startup.failed", "message": "no licence"})

    with pytest.raises(StartError, match="the application did not start: no licence"):
        async with running(host(app)):
            pytest.fail("it did not start")


async def test_middleware_receives_no_lifespan_scope(install: Install) -> None:
    install(
        "wall",
        """
        from scalekit import Layer, LayeredFilter, Middleware, hookimpl
        class Wall:
            def __init__(self, app): pass
            async def __call__(self, scope, receive, send): raise RuntimeError("nothing gets through")
        @hookimpl
        def scalekit_filters(context): return [LayeredFilter(Layer.LOG, Middleware(Wall))]
        """,
    )
    app = host(Starlette(), plugins={"wall": {}})
    async with running(app):
        assert app.lifecycle.phase is Phase.READY


async def test_a_request_cancelled_while_the_process_drains_gets_a_503() -> None:
    entered = asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        entered.set()
        await asyncio.Event().wait()

    app = host(slow)
    client = Conversation()
    async with running(app) as state:
        serving = asyncio.create_task(client.run(app, http_scope(state=dict(state))))
        await entered.wait()
        app.lifecycle.begin_drain()
        serving.cancel()
        await serving
    assert client.status == 503
    assert (b"retry-after", b"1") in client.sent[0]["headers"]


async def test_a_cancelled_request_gets_no_response_unless_the_process_drains() -> None:
    entered = asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        entered.set()
        await asyncio.Event().wait()

    app = host(slow)
    client = Conversation()
    async with running(app) as state:
        serving = asyncio.create_task(client.run(app, http_scope(state=dict(state))))
        await entered.wait()
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
    assert client.sent == []


async def test_trusting_all_addresses_logs_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    host(Starlette(), server={"trusted_proxies": ["0.0.0.0/0"]})
    assert "server.trusted_proxies has 0.0.0.0/0: ANY client can forge its address" in caplog.text


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        raise ValueError
    await respond(send, scope["client"][0].encode())


@pytest.mark.parametrize(
    ("tables", "scope", "status"),
    [
        ({"server": {"allowed_hosts": ["shop"]}}, http_scope(), 421),
        ({"server": {"allowed_hosts": ["testserver"]}}, http_scope(), 200),
        ({"server": {"allowed_hosts": ["shop"]}}, http_scope("/health/live"), 200),
        ({"server": {"max_body": 5}}, http_scope(headers=[(b"content-length", b"6")]), 413),
        ({"server": {"management_address": "127.0.0.1:9100"}}, http_scope("/health/live"), 200),
        (
            {"server": {"management_address": "127.0.0.1:9100"}},
            http_scope("/-/visits", server=("127.0.0.1", 9100)),
            404,
        ),
        ({"health": {"path": "/up"}}, http_scope("/up/live"), 200),
    ],
)
async def test_the_tables_of_the_host_shape_the_chain(tables: Any, scope: Scope, status: int) -> None:
    client, _ = await serve(host(hello, **tables), scope)
    assert client.status == status


async def test_with_a_management_address_operator_pages_are_not_public() -> None:
    app = host(hello, server={"management_address": "127.0.0.1:9100"}, plugins={"visits": {}})
    expected = {
        ("/-/visits", 9100): b"[",
        ("/health/live", 9100): b'{"status":"alive"}',
        ("/visits/x", 9100): b'{"type":"about:blank","title":"Not Found"',
        ("/-/visits", 80): b"127.0.0.1",
        ("/health/live", 80): b"127.0.0.1",
        ("/visits/x", 80): b"0",
    }
    for (path, port), beginning in expected.items():
        client, _ = await serve(app, http_scope(path, server=("127.0.0.1", port)))
        assert client.body.startswith(beginning), (path, port, client.body)


async def test_plugin_routes_come_before_a_catch_all_of_the_application() -> None:
    async def everything(request: Request) -> Response:
        return JSONResponse("everything")

    app = host(Starlette(routes=[Route("/{path:path}", everything)]), plugins={"visits": {}})
    client, _ = await serve(app, http_scope("/visits/x"))
    assert client.body == b"0"


@pytest.mark.parametrize(
    "tables",
    [
        {},
        {"server": {"management_address": "127.0.0.1:9100"}},
        {"plugins": {"cache": {"policies": [{"path": "/**", "ttl": "60s"}]}}},
    ],
)
async def test_filters_match_the_path_before_a_mount_of_the_application(tables: Any, install: Install) -> None:
    install(
        "paths",
        """
        from scalekit import Filter, Layer, LayeredFilter, hookimpl
        class Path(Filter):
            def on_response_start(self, exchange):
                exchange.response_headers.append((b"x-path", exchange.route_path.encode()))
        @hookimpl
        def scalekit_filters(context): return [LayeredFilter(layer, Path()) for layer in (Layer.EDGE, Layer.RESOURCES)]
        """,
    )

    async def users(request: Request) -> Response:
        return Response("users")

    app = host(
        Starlette(routes=[Mount("/admin", routes=[Route("/users", users)])]),
        **{**tables, "plugins": {"paths": {}, **tables.get("plugins", {})}},
    )
    client, _ = await serve(app, http_scope("/admin/users"))
    assert client.body == b"users"
    paths = [value for name, value in client.sent[0]["headers"] if name == b"x-path"]
    assert paths == [b"/admin/users"] * 2


async def test_a_key_works_without_a_request() -> None:
    app = host(hello, plugins={"visits": {}})
    async with app.context.started():
        assert app.context.get(VISITS).add("x") == 1
    assert not app.context.has(VISITS)


async def test_a_command_starts_only_the_plugins_that_provide_the_keys_it_needs() -> None:
    app = host(hello, plugins={"visits": {}})
    async with app.context.started(VISITS):
        assert app.context.has(VISITS)
    async with app.context.started(Key[object]("another")):
        assert not app.context.has(VISITS)
