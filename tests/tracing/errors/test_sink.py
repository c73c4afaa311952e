"""Unhandled exceptions arrive at a server that takes envelopes, once, without secrets."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from scalekit import ConfigError, create_app
from scalekit.telemetry import TELEMETRY
from scalekit.testing import request, running
from scalekit_tracing import exporter
from scalekit_tracing.errors.error_event import ErrorSource, error_event
from scalekit_tracing.errors.sink import MAX_MESSAGE
from tests.processes import HOST
from tests.tracing.span_receiver import span_receiver

pytestmark = pytest.mark.anyio


class EnvelopeServer:
    """The envelopes that were sent to project 7."""

    def __init__(self) -> None:
        self.port = 0
        self.heads: list[dict[str, str]] = []
        self.events: list[dict[str, Any]] = []
        self.statuses: list[int] = []

    @property
    def dsn(self) -> str:
        return f"http://publickey@{HOST}:{self.port}/7"

    def receive(self, path: str, headers: dict[str, str], body: bytes) -> None:
        assert path == "/api/7/envelope/"
        assert headers["content-type"] == "application/x-sentry-envelope"
        head, item, rest = gzip.decompress(body).split(b"\n", 2)
        length = json.loads(item)["length"]
        event = json.loads(rest[:length])
        assert rest[length:] == b"\n"
        assert json.loads(item)["type"] == "event"
        assert json.loads(head)["event_id"] == event["event_id"]
        self.heads.append(headers)
        self.events.append(event)


@contextmanager
def envelope_server() -> Generator[EnvelopeServer, None, None]:
    server = EnvelopeServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            headers = {name.lower(): str(value) for name, value in self.headers.items()}
            server.receive(self.path, headers, self.rfile.read(int(headers["content-length"])))
            self.send_response(server.statuses.pop(0) if server.statuses else 200)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, format: str, *args: Any) -> None:
            pass

    http = ThreadingHTTPServer((HOST, 0), Handler)
    http.daemon_threads = True
    server.port = http.server_address[1]
    thread = Thread(target=http.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


async def fault(request: Request) -> Response:
    try:
        int("x")
    except ValueError as error:
        raise LookupError("no item: token=abc123secret \ud800") from error
    return Response()


async def other_fault(request: Request) -> Response:
    raise KeyError("other")


async def handled(request: Request) -> Response:
    raise HTTPException(404)


async def slow(request: Request) -> Response:
    await asyncio.sleep(60)
    return Response()


async def group(request: Request) -> Response:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(fail(ValueError("first: password=s3cr3t")))
        tasks.create_task(fail(KeyError("second")))
    return Response()


async def fail(error: Exception) -> None:
    raise error


async def cut(request: Request) -> Response:
    raise ValueError("x" * (MAX_MESSAGE - 20) + " redis://user:s3cr3ts3cr3t@database/")


APP = Starlette(
    routes=[
        Route("/items/{id}", fault),
        Route("/other", other_fault),
        Route("/handled", handled),
        Route("/slow", slow),
        Route("/group", group),
        Route("/cut", cut),
    ]
)


def tables(server: EnvelopeServer, interval: str = "10ms", **errors: Any) -> dict[str, Any]:
    options = {"dsn": server.dsn, "release": "1.2.3", "environment": "test", "max_per_second": 100.0, **errors}
    endpoint = "http://127.0.0.1:1"  # nobody listens there: errors arrive all the same
    sampling = {"errors": False, "ratio": 0.0}
    tracing = {"endpoint": endpoint, "export_interval": interval, "errors": options, "sampling": sampling}
    return {"app": {"name": "shop"}, "plugins": {"tracing": tracing, "metrics": {}}}


async def send(paths: list[str], server: EnvelopeServer, **errors: Any) -> dict[str, float]:
    """Send requests for *paths*; return the metrics of errors."""
    app = create_app(tables(server, **errors), app=APP)
    async with running(app) as state:
        for path in paths:
            try:
                await request(app, path, state=state, headers={"x-request-id": "request-7"})
            except (LookupError, ValueError, ExceptionGroup):
                pass
    families = app.context.get(TELEMETRY).snapshot().families
    return {name: sum(family.data.values()) for name, family in families.items() if "errors" in name and family.data}


async def test_an_exception_is_reported_with_its_cause_and_code() -> None:
    with envelope_server() as server:
        await send(["/items/7?key=secret"], server)
    (event,) = server.events
    assert "sentry_key=publickey" in server.heads[0]["x-sentry-auth"]
    cause, raised = event["exception"]["values"]
    assert (cause["type"], raised["type"], raised["module"]) == ("ValueError", "LookupError", "builtins")
    assert raised["value"] == "no item: token=*** ?"
    frame = raised["stacktrace"]["frames"][-1]
    assert frame["function"] == "fault"
    assert frame["in_app"]
    assert "raise LookupError" in frame["context_line"]
    assert frame["pre_context"][-1].strip() == "except ValueError as error:"
    assert event["transaction"] == "GET /items/{id}"
    assert event["request"] == {"method": "GET", "url": "/items/7"}
    assert event["tags"] == {"request_id": "request-7", "service": "shop"}
    assert len(event["contexts"]["trace"]["trace_id"]) == 32
    assert (event["release"], event["environment"]) == ("1.2.3", "test")
    assert "secret" not in json.dumps(event).replace("abc123secret \\\\ud800", "")


async def test_equal_exceptions_are_reported_once() -> None:
    with envelope_server() as server:
        counts = await send(["/items/1"] * 5 + ["/other"] * 3 + ["/handled"], server)
    assert sorted(event["exception"]["values"][-1]["type"] for event in server.events) == ["KeyError", "LookupError"]
    assert counts["scalekit_tracing_reported_errors"] == 2
    assert counts["scalekit_tracing_suppressed_errors"] == 6


async def test_a_repeated_exception_tells_how_many_were_suppressed() -> None:
    with envelope_server() as server:
        app = create_app(tables(server, repeat_interval="50ms"), app=APP)
        async with running(app) as state, asyncio.timeout(60):
            while len(server.events) < 2:
                with pytest.raises(LookupError):
                    await request(app, "/items/1", state=state)
                await asyncio.sleep(0.01)
    assert "extra" not in server.events[0]
    assert server.events[1]["extra"]["suppressed"] >= 1


async def test_the_exceptions_of_a_group_are_reported() -> None:
    with envelope_server() as server:
        await send(["/group"], server)
    (event,) = server.events
    second, first, raised = event["exception"]["values"]
    assert [each["type"] for each in (raised, first, second)] == ["ExceptionGroup", "ValueError", "KeyError"]
    assert raised["mechanism"] == {
        "type": "scalekit",
        "handled": False,
        "exception_id": 0,
        "is_exception_group": True,
    }
    assert first["mechanism"] == {"type": "chained", "handled": False, "exception_id": 1, "parent_id": 0}
    assert first["value"] == "first: password=***"


async def test_secrets_are_masked_before_messages_are_cut() -> None:
    with envelope_server() as server:
        await send(["/cut"], server)
    assert "s3cr" not in server.events[0]["exception"]["values"][-1]["value"]
    assert len(server.events[0]["exception"]["values"][-1]["value"]) == MAX_MESSAGE


async def test_a_refused_report_does_not_lose_the_others() -> None:
    with envelope_server() as server:
        server.statuses = [413]
        counts = await send(["/items/1", "/other"], server, interval="10m")
    assert len(server.events) == 2
    assert counts["scalekit_tracing_reported_errors"] == counts["scalekit_tracing_lost_errors"] == 1


async def test_a_busy_error_server_gets_each_report_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporter, "FIRST_DELAY", 0.01)
    with envelope_server() as server:
        server.statuses = [200, 429, 503, 200, 429, 200]
        counts = await send(["/items/1", "/other", "/cut"], server, interval="10m")
    kinds = [event["exception"]["values"][-1]["type"] for event in server.events]
    assert kinds == ["LookupError", *["KeyError"] * 3, *["ValueError"] * 2]
    assert len({event["event_id"] for event in server.events}) == 3
    assert counts["scalekit_tracing_reported_errors"] == 3


async def test_a_silent_error_server_does_not_take_the_time_of_the_collector() -> None:
    with socket.create_server((HOST, 0)) as silent, span_receiver() as receiver, envelope_server() as server:
        server.port = silent.getsockname()[1]
        config = tables(server)
        config["server"] = {"stop_timeout": "2s"}
        config["plugins"]["tracing"] |= {"endpoint": receiver.url, "export_interval": "10m", "sampling": {"ratio": 1.0}}
        app = create_app(config, app=APP)
        async with running(app) as state:
            with pytest.raises(KeyError):
                await request(app, "/other", state=state)
        assert [span["name"] for span in receiver.spans()] == ["GET /other"]


async def test_the_rate_is_bounded() -> None:
    with envelope_server() as server:
        counts = await send(["/items/1", "/other"], server, max_per_second=0.001)
    assert len(server.events) == 1
    assert counts["scalekit_tracing_suppressed_errors"] == 1


@pytest.mark.parametrize(
    "dsn",
    [
        "https://host/7",
        "ftp://key@host/7",
        "https://key@host",
        "https://key@/7",
        "nonsense",
        "https://key%0d%0aX:y@host/7",
        "https://k%C3%A9y@host/7",
        "https://key@host/7?x=1",
        "https://key@host/é/7",
        "https://key@host/%zz 7",
        f"https://{'k' * 1000}@host/7",
    ],
)
def test_a_bad_dsn_is_refused_without_its_key(dsn: str) -> None:
    with pytest.raises(ConfigError) as error:
        create_app({"plugins": {"tracing": {"errors": {"dsn": dsn}}}}, app=APP)
    assert "expected a DSN with public key, host and project" in str(error.value)
    assert "key@" not in str(error.value)


def test_the_weight_of_an_error_is_that_of_its_texts() -> None:
    source = ErrorSource("GET /", "GET", "/" * 5000, "", "", "")
    assert error_event(ValueError("x" * 10_000), source, 0).weight >= 15_000
