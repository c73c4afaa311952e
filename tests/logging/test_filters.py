from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import anyio.to_thread
import orjson
import pytest
import structlog
from fastapi import FastAPI, Request
from litestar import Litestar, get
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import Request as StarletteRequest
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from scalekit.http.trace_context import TRACE_CONTEXT
from scalekit.testing import ReceivedResponse, request
from tests.host.asgi import Conversation, http_scope
from tests.logging.log_capture import Line, logging_app, read

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
IDS = {"x-request-id": "abc-1", "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}

log = structlog.get_logger()
stdlib = logging.getLogger("shop.stdlib")


async def log_everywhere(request: StarletteRequest) -> Response:
    log.info("structlog", order=7)
    stdlib.warning("stdlib %d", 1, extra={"article": "A-1", "password": "hunter2"})
    await asyncio.to_thread(stdlib.info, "thread")
    await anyio.to_thread.run_sync(lambda: log.info("anyio thread"))
    await log.ainfo("async")
    task = asyncio.create_task(later())
    await task
    logging.getLogger("uvicorn.error").info("server")
    return PlainTextResponse("ok", background=BackgroundTask(stdlib.info, "background"))


async def later() -> None:
    stdlib.info("task")


async def stream(request: StarletteRequest) -> Response:
    async def body() -> AsyncIterator[bytes]:
        for number in range(3):
            await asyncio.sleep(0)
            stdlib.info("piece", extra={"number": number})
            yield b"x" * 100

    return StreamingResponse(body(), background=BackgroundTask(asyncio.sleep, 0.2))


async def fail(request: StarletteRequest) -> Response:
    raise LookupError("no such thing, token=abc")


async def unavailable(request: StarletteRequest) -> Response:
    raise HTTPException(503)


async def own_id(request: StarletteRequest) -> Response:
    return PlainTextResponse("ok", headers={"X-Request-ID": "theirs"})


async def outgoing_headers(request: StarletteRequest) -> Response:
    identity = TRACE_CONTEXT.get()
    return JSONResponse(identity.headers() if identity else {})


async def chat(websocket: WebSocket) -> None:
    await websocket.accept()
    stdlib.info("chat")
    while (text := await websocket.receive_text()) != "end":
        await websocket.send_text(text)
    await websocket.close(4000)


APPLICATION = Starlette(
    routes=[
        Route("/talk", log_everywhere),
        Route("/mine", own_id),
        Route("/other", outgoing_headers),
        WebSocketRoute("/chat/{room}", chat),
        Mount(
            "/shop",
            routes=[Route("/items/{id}", stream, methods=["GET", "POST"]), Route("/f", fail), Route("/r", unavailable)],
        ),
    ]
)


async def logged_request(
    directory: Path, target: str, app: ASGIApp = APPLICATION, **options: Any
) -> tuple[ReceivedResponse, list[Line]]:
    """Send one request; return its response and all lines."""
    table = options.pop("table", {})
    async with logging_app(app, directory, **table) as (host, state):
        try:
            response = await request(host, target, state=state, **options)
        except LookupError:
            response = ReceivedResponse(500)
    return response, [line for line in read(directory / "combined.log") if line["logger"] != "scalekit"]


def access_line(lines: list[Line]) -> Line:
    (line,) = [each for each in lines if each["logger"] == "scalekit.access"]
    return line


@pytest.mark.anyio
async def test_every_line_of_a_request_has_its_request_id_and_trace_id(tmp_path: Path) -> None:
    response, lines = await logged_request(tmp_path, "/talk", headers=IDS)
    assert [value for name, value in response.headers if name == b"x-request-id"] == [b"abc-1"]
    events = [line["event"] for line in lines]
    assert sorted(events) == sorted(
        ["structlog", "stdlib 1", "thread", "anyio thread", "async", "task", "server", "background", "request"]
    )
    assert {line["request_id"] for line in lines} == {"abc-1"}
    assert {line["trace_id"] for line in lines} == {TRACE}
    by_event = {line["event"]: line for line in lines}
    assert by_event["structlog"]["order"] == 7
    assert by_event["structlog"]["logger"] == __name__
    assert by_event["stdlib 1"]["logger"] == "shop.stdlib"
    assert (by_event["stdlib 1"]["article"], by_event["stdlib 1"]["password"]) == ("A-1", "***")
    assert by_event["stdlib 1"]["level"] == "warning"


@pytest.mark.anyio
async def test_the_access_line_describes_request_and_response(tmp_path: Path) -> None:
    response, lines = await logged_request(
        tmp_path,
        "/shop/items/7?token=hidden",
        method="POST",
        client=("192.0.2.7", 1),
        headers={**IDS, "user-agent": 'curl/8 "x"', "authorization": "Bearer hidden", "cookie": "a=hidden"},
    )
    line = access_line(lines)
    duration = line.pop("duration_ms")
    assert 0 < duration < 200  # background tasks run after the response
    assert line.pop("timestamp")
    assert line == {
        "level": "info",
        "event": "request",
        "logger": "scalekit.access",
        "request_id": "abc-1",
        "trace_id": TRACE,
        "method": "POST",
        "path": "/shop/items/7",
        "route": "/shop/items/{id}",
        "status": 200,
        "bytes": 300,
        "client": "192.0.2.7",
        "user_agent": 'curl/8 "x"',
    }
    assert len(response.body) == 300
    assert b"hidden" not in (tmp_path / "combined.log").read_bytes()


@pytest.mark.anyio
async def test_a_malformed_request_id_is_replaced(tmp_path: Path) -> None:
    response, lines = await logged_request(
        tmp_path, "/talk", headers={"x-request-id": 'a"b\x1b', "traceparent": "nonsense"}
    )
    found = response.header("x-request-id")
    assert found not in (None, 'a"b\x1b')
    assert {line["request_id"] for line in lines} == {found}


@pytest.mark.anyio
async def test_the_response_has_one_request_id_although_the_application_set_another(tmp_path: Path) -> None:
    response, _ = await logged_request(tmp_path, "/mine", headers=IDS)
    assert [value for name, value in response.headers if name.lower() == b"x-request-id"] == [b"abc-1"]


@pytest.mark.anyio
@pytest.mark.parametrize("table", [{}, {"tail": {"slow_threshold": "1h"}}], ids=["fast path", "with tail"])
async def test_the_trace_is_propagated_with_a_span_that_the_access_line_lists(
    tmp_path: Path, table: dict[str, Any]
) -> None:
    response, lines = await logged_request(tmp_path, "/other", headers={**IDS, "tracestate": "vendor=1"}, table=table)
    propagated = orjson.loads(response.body)
    assert (propagated["x-request-id"], propagated["tracestate"]) == ("abc-1", "vendor=1")
    version, trace, span, flags = propagated["traceparent"].split("-")
    assert (version, trace, flags) == ("00", TRACE, "01")
    assert access_line(lines)["calls"] == [span]


@pytest.mark.anyio
async def test_context_variables_of_concurrent_requests_do_not_mix(tmp_path: Path) -> None:
    async def work(request: StarletteRequest) -> Response:
        mark = request.url.query
        structlog.contextvars.bind_contextvars(mark=mark)
        for _ in range(5):
            log.info("working", expected=mark)
            await asyncio.sleep(0)
            await asyncio.to_thread(stdlib.info, "working", extra={"expected": mark})
        return PlainTextResponse("ok")

    app = Starlette(routes=[Route("/work", work)])
    async with logging_app(app, tmp_path) as (host, state):
        await asyncio.gather(
            *(request(host, f"/work?m{n}", state=state, headers={"x-request-id": f"m{n}"}) for n in range(50))
        )
    lines = [line for line in read(tmp_path / "combined.log") if line["event"] == "working"]
    assert len(lines) == 500
    assert all(line["request_id"] == line["expected"] for line in lines)
    assert all(line["mark"] == line["expected"] for line in lines if line["logger"] != "shop.stdlib")


@pytest.mark.anyio
async def test_a_pipelined_request_does_not_inherit_bound_fields(tmp_path: Path) -> None:
    inner: list[asyncio.Task[ReceivedResponse]] = []

    async def first(scope: Scope, receive: Receive, send: Send) -> None:
        structlog.contextvars.bind_contextvars(user="the first one's")
        log.info(scope["path"])
        if scope["path"] == "/first":  # uvicorn starts a pipelined request in the context of the previous one
            inner.append(asyncio.create_task(request(host, "/second", state=state)))
            await inner[0]
        await PlainTextResponse("ok")(scope, receive, send)

    async def second(scope: Scope, receive: Receive, send: Send) -> None:
        log.info("second")
        await PlainTextResponse("ok")(scope, receive, send)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await (first if scope["path"] == "/first" else second)(scope, receive, send)

    async with logging_app(app, tmp_path) as (host, state):
        await request(host, "/first", state=state)
        assert TRACE_CONTEXT.get() is None
    by_event = {line["event"]: line for line in read(tmp_path / "combined.log")}
    assert by_event["/first"]["user"] == "the first one's"
    assert "user" not in by_event["second"]
    assert by_event["/first"]["request_id"] != by_event["second"]["request_id"]


@pytest.mark.anyio
async def test_an_exception_is_one_line_with_its_traceback(tmp_path: Path) -> None:
    _, lines = await logged_request(tmp_path, "/shop/f", headers=IDS)
    line = access_line(lines)
    assert (line["level"], line["status"], line["route"]) == ("error", 500, "/shop/f")
    assert line["exception"].startswith("Traceback")
    assert line["exception"].endswith("LookupError: no such thing, token=***")
    assert [access_line(read(tmp_path / "error.log"))] == [line]


@pytest.mark.anyio
async def test_a_response_from_500_on_is_an_error(tmp_path: Path) -> None:
    _, lines = await logged_request(tmp_path, "/shop/r")
    assert (access_line(lines)["level"], access_line(lines)["status"]) == ("error", 503)
    assert "exception" not in access_line(lines)
    assert read(tmp_path / "error.log") == [access_line(lines)]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("table", "written"),
    [
        ({"access": False}, ["/shop/f"]),
        ({"level": "ERROR"}, ["/shop/f", "/shop/r"]),
        ({"levels": {"scalekit.access": "CRITICAL"}}, []),
        ({"levels": {"scalekit": "WARNING"}}, ["/shop/f", "/shop/r"]),
    ],
)
async def test_the_configuration_selects_access_lines(
    table: dict[str, Any], written: list[str], tmp_path: Path
) -> None:
    async with logging_app(APPLICATION, tmp_path, **table) as (host, state):
        for target in ("/mine", "/shop/r"):
            await request(host, target, state=state)
        with pytest.raises(LookupError):
            await request(host, "/shop/f", state=state)
    paths = [line["path"] for line in read(tmp_path / "combined.log") if line["logger"] == "scalekit.access"]
    assert sorted(paths) == written


async def conversation(app: ASGIApp, tmp_path: Path, scope: Scope, **table: Any) -> tuple[Conversation, Line]:
    talk = Conversation()
    async with logging_app(app, tmp_path, **table) as (host, state):
        try:
            await talk.run(host, {**scope, "state": state})
        except (LookupError, ConnectionError):
            pass
    return talk, access_line(read(tmp_path / "combined.log"))


@pytest.mark.anyio
async def test_a_client_that_disconnects_before_the_response_is_499(tmp_path: Path) -> None:
    async def read_body(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await StarletteRequest(scope, receive).body()

    talk = Conversation()
    talk.leave()
    async with logging_app(read_body, tmp_path) as (host, state):
        with pytest.raises(Exception) as caught:  # noqa: PT011
            await talk.run(host, http_scope(state=state))
    assert type(caught.value).__name__ == "ClientDisconnect"
    line = access_line(read(tmp_path / "combined.log"))
    assert (line["status"], line["level"]) == (499, "info")
    assert "exception" not in line


@pytest.mark.anyio
async def test_a_response_to_a_disconnected_client_is_499(tmp_path: Path) -> None:
    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await receive()
            await PlainTextResponse("the body did not come", 400)(scope, receive, send)

    talk = Conversation()
    talk.leave()
    async with logging_app(respond, tmp_path) as (host, state):
        await talk.run(host, http_scope(state=state))
    assert access_line(read(tmp_path / "combined.log"))["status"] == 499


@pytest.mark.anyio
async def test_a_cancelled_request_has_an_access_line(tmp_path: Path) -> None:
    async def hang(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await asyncio.Event().wait()

    async with logging_app(hang, tmp_path) as (host, state):
        for draining in (False, True):
            task = asyncio.create_task(request(host, "/", state=state))
            await asyncio.sleep(0)
            if draining:
                await host.lifecycle.drain()
            task.cancel()
            if draining:
                assert (await task).status == 503
            else:
                with pytest.raises(asyncio.CancelledError):
                    await task
    lines = [line for line in read(tmp_path / "combined.log") if line["event"] == "request"]
    assert [(line["status"], line["level"]) for line in lines] == [(499, "info"), (503, "error")]


@pytest.mark.anyio
async def test_an_exception_after_the_response_started_does_not_change_its_status(tmp_path: Path) -> None:
    async def half(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"half", "more_body": True})
            raise LookupError("the rest")

    _, line = await conversation(half, tmp_path, http_scope())
    assert (line["status"], line["level"], line["bytes"]) == (200, "error", 4)
    assert "LookupError: the rest" in line["exception"]


@pytest.mark.anyio
async def test_an_application_without_a_response_is_500_and_a_scope_without_client_has_no_address(
    tmp_path: Path,
) -> None:
    async def silent(scope: Scope, receive: Receive, send: Send) -> None:
        return

    _, line = await conversation(silent, tmp_path, http_scope(client=None))
    assert (line["status"], line["level"], line["client"], line["user_agent"]) == (500, "error", "", "")


def websocket_scope(path: str) -> Scope:
    return http_scope(path, headers=[(b"x-request-id", b"abc-1")], type="websocket", scheme="ws", subprotocols=[])


@pytest.mark.anyio
async def test_a_websocket_is_one_line_when_it_ends(tmp_path: Path) -> None:
    talk = Conversation()
    for message in ("connect", "hello", "ünï", "end"):
        kind = "websocket.connect" if message == "connect" else "websocket.receive"
        talk.to_app.put_nowait({"type": kind, "text": message})
    async with logging_app(APPLICATION, tmp_path) as (host, state):
        await talk.run(host, {**websocket_scope("/chat/7"), "state": state})
    accepted = talk.sent[0]
    assert [value for name, value in accepted["headers"] if name == b"x-request-id"] == [b"abc-1"]
    lines = read(tmp_path / "combined.log")
    line = access_line(lines)
    expected = {
        "event": "websocket",
        "status": 101,
        "code": 4000,
        "bytes": 10,
        "route": "/chat/{room}",
        "level": "info",
    }
    assert {name: line[name] for name in expected} == expected
    assert {each["request_id"] for each in lines if each["event"] in ("chat", "websocket")} == {"abc-1"}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("path", "messages", "expected"),
    [
        ("/unknown", [{"type": "websocket.connect"}], {"status": 403, "code": 1000, "level": "info"}),
        (
            "/chat/1",
            [{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1001}],
            {"status": 101, "code": 1001, "level": "info"},
        ),
    ],
)
async def test_status_and_code_of_a_rejected_and_of_a_closed_websocket(
    path: str, messages: list[Message], expected: Line, tmp_path: Path
) -> None:
    talk = Conversation()
    for message in messages:
        talk.to_app.put_nowait(message)
    async with logging_app(APPLICATION, tmp_path) as (host, state):
        try:
            await talk.run(host, {**websocket_scope(path), "state": state})
        except Exception as error:
            assert "Disconnect" in type(error).__name__  # noqa: PT017
    line = access_line(read(tmp_path / "combined.log"))
    assert {name: line[name] for name in expected} == expected


@pytest.mark.anyio
async def test_route_templates_of_frameworks(tmp_path: Path) -> None:
    fast = FastAPI()

    @fast.get("/users/{name}")
    async def user(name: str, request: Request) -> str:
        stdlib.info("fast")
        return name

    @get("/orders/{number:int}")
    async def order() -> int:
        return 7

    _, lines = await logged_request(tmp_path / "fast", "/users/bob", fast)
    assert access_line(lines)["route"] == "/users/{name}"
    _, lines = await logged_request(
        tmp_path / "lite", "/orders/7", cast(ASGIApp, Litestar([order], logging_config=None))
    )
    assert access_line(lines)["route"].startswith("/orders/{number")


@pytest.mark.anyio
async def test_messages_pass_unchanged(tmp_path: Path) -> None:
    received: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            received.append(await receive())
            await PlainTextResponse("ok")(scope, receive, send)

    talk = Conversation()
    talk.chunk(b"body")
    async with logging_app(app, tmp_path) as (host, state):
        await talk.run(host, http_scope(method="POST", state=state))
    assert received == [{"type": "http.request", "body": b"body", "more_body": False}]
    assert talk.body == b"ok"
