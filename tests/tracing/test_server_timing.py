"""``Server-Timing``: the trace for those who may know it, and durations for operators."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from scalekit import create_app
from scalekit.contracts import DATABASE
from scalekit.telemetry import Attributes, SpanKind, SpanType, record_span, span
from scalekit.testing import ReceivedResponse, request, running
from scalekit_tracing.server_timing import MAX_METRICS
from tests.tracing.span_receiver import span_receiver
from tests.tracing.test_filters import settings

pytestmark = pytest.mark.anyio

OPERATOR = {"authorization": "Bearer operator-token"}
TRACE = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-0[0-3]")


def failing() -> Attributes:
    raise ValueError


SYSTEM = SpanType(SpanKind.CLIENT, lambda system: system, lambda system: {"db.system.name": system})
CALL = SpanType(SpanKind.CLIENT, lambda: "GET", lambda: {"http.request.method": "GET"})
MESSAGE = SpanType(SpanKind.PRODUCER, lambda: "publish", lambda: {"messaging.system": "rabbitmq"})
FAILING = SpanType(SpanKind.CLIENT, lambda: "failing", failing)


async def statements(request: Request) -> Response:
    for _ in range(2):
        await DATABASE(request).fetch_all("SELECT 1")
    with span("own"):
        return PlainTextResponse("", headers={"server-timing": "app;dur=1", "cache-control": "max-age=60"})


async def servers(request: Request) -> Response:
    for began in (1.0, 2.0):
        record_span(SYSTEM, began, ("redis",))
    record_span(SYSTEM, 0.0, ('odd, "name"',))
    record_span(CALL, 0.0, ())
    record_span(MESSAGE, 0.0, ())
    return PlainTextResponse("")


async def many(request: Request) -> Response:
    for number in range(2 * MAX_METRICS):
        record_span(SYSTEM, 0.0, (f"db{number}",))
    return PlainTextResponse("")


async def broken(request: Request) -> Response:
    record_span(FAILING, 0.0, ())
    return PlainTextResponse("")


HANDLERS = [statements, servers, many, broken]
APP = Starlette(routes=[Route(f"/{each.__name__}", each) for each in HANDLERS])


async def responses(path: str, mode: str | None, headers: dict[str, str], **plugins: Any) -> list[ReceivedResponse]:
    """Return the responses to two equal requests."""
    tracing: dict[str, Any] = {"endpoint": "http://127.0.0.1:1", "sampling": {"ratio": 0.0, "errors": False}}
    if mode is not None:
        tracing["server_timing"] = mode
    tables: dict[str, Any] = {
        "server": {"operator_token": "operator-token", "operator_networks": []},
        "plugins": {"tracing": tracing, **plugins},
    }
    app = create_app(tables, app=APP)
    async with running(app) as state:
        return [await request(app, path, headers=headers, state=state) for _ in range(2)]


async def metrics(path: str, mode: str | None, headers: dict[str, str], **plugins: Any) -> dict[str, str]:
    """Return the metrics of a response by name, with their only parameter."""
    response = (await responses(path, mode, headers, **plugins))[0]
    values = [value for name, value in response.headers if name == b"server-timing"]
    listed = [metric.split(";") for value in values for metric in value.decode().split(", ")]
    assert len({name for name, _ in listed}) == len(listed)
    return dict(listed)


@pytest.mark.parametrize("headers", [{}, OPERATOR], ids=["client", "operator"])
async def test_nobody_sees_anything_by_default(headers: dict[str, str]) -> None:
    assert await metrics("/servers", None, headers) == {}


async def test_an_operator_sees_the_time_by_server(tmp_path: Path) -> None:
    pool = {"url": f"sqlite:///{tmp_path}/test.db"}
    for mode in ("operators", "trace"):
        found = await metrics("/statements", mode, OPERATOR, pool=pool)
        assert list(found) == ["app", "trace", "total", "sqlite"]
        assert found["app"] == "dur=1", "of the application"
        total, statements = (float(found[name].removeprefix("dur=")) for name in ("total", "sqlite"))
        assert 0 < statements < total


async def test_durations_of_one_server_are_added() -> None:
    found = await metrics("/servers", "operators", OPERATOR)
    assert list(found) == ["trace", "total", "redis", "odd-name-", "http", "rabbitmq"]
    sums = {name: float(value.removeprefix("dur=")) for name, value in found.items() if name != "trace"}
    assert sums["redis"] == pytest.approx(2 * sums["http"] - 3000, abs=1000)


async def test_other_clients_see_the_trace_at_most() -> None:
    assert await metrics("/servers", "operators", {}) == {}
    found = await metrics("/servers", "trace", {})
    assert list(found) == ["trace"]
    assert TRACE.fullmatch(found["trace"].removeprefix("desc="))


async def test_the_trace_is_that_of_the_exported_span() -> None:
    with span_receiver() as receiver:
        configured = settings(receiver)
        configured["plugins"]["tracing"]["server_timing"] = "trace"
        app = create_app(configured, app=APP)
        async with running(app) as state:
            sent = (await request(app, "/servers", state=state)).header("server-timing")
        (root,) = (each for each in receiver.spans() if each["kind"] == 2)
    assert sent == f"trace;desc=00-{root['traceId']}-{root['spanId']}-03"


async def test_a_stored_response_has_the_trace_of_its_own_request() -> None:
    first, stored = await responses("/statements", "trace", {}, cache={}, pool={"url": "sqlite:///:memory:"})
    assert "hit" in (stored.header("cache-status") or "")
    traces = [TRACE.findall(str(each.headers)) for each in (first, stored)]
    assert [len(each) for each in traces] == [1, 1]
    assert traces[0] != traces[1]


async def test_an_error_has_the_header_too() -> None:
    assert list(await metrics("/missing", "operators", OPERATOR)) == ["trace", "total"]


async def test_an_attribute_that_fails_does_not_end_the_request() -> None:
    assert list(await metrics("/broken", "operators", OPERATOR)) == ["trace", "total"]


async def test_the_number_of_metrics_is_bounded() -> None:
    assert len(await metrics("/many", "operators", OPERATOR)) == MAX_METRICS + 2
