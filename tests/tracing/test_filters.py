"""Server spans: names, attributes, errors, and which of them are exported."""

from __future__ import annotations

import asyncio
import json
from time import perf_counter
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from scalekit import TRACE_CONTEXT, OperatorAccess, create_app
from scalekit.telemetry import SpanKind, SpanType, Telemetry, record_span, span
from scalekit.testing import request, running
from scalekit_tracing.config import SamplingConfig
from scalekit_tracing.filters import TracingFilter
from scalekit_tracing.kept_trace import KeptTrace
from scalekit_tracing.metrics import TracingMetrics
from scalekit_tracing.sampling import Sampler
from scalekit_tracing.tracer import SamplingTracer
from tests.host.asgi import Conversation, behind, http_scope
from tests.tracing.span_receiver import SpanReceiver, attributes, span_receiver

pytestmark = pytest.mark.anyio


async def item(request: Request) -> Response:
    with span("price", sku=7) as price:
        price.event("looked up", where="table")
        with span("inner"):
            await asyncio.sleep(0)
        await asyncio.to_thread(in_thread)
        price.set(total=3)
    return PlainTextResponse("item", headers={"cache-control": "max-age=60"})


def in_thread() -> None:
    with span("thread"):
        pass


async def fault(request: Request) -> Response:
    with span("broken"):
        raise ValueError("wrong: redis://:secret@db/")


async def unavailable(request: Request) -> Response:
    return PlainTextResponse("", 503)


async def late(request: Request) -> Response:
    async def later() -> None:
        with span("late"):
            await asyncio.sleep(0.01)

    request.app.state.task = asyncio.create_task(later())
    return PlainTextResponse("")


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    with span("echo"):
        await websocket.send_text("hello")
    await websocket.close()


async def call(request: Request) -> Response:
    """Return the headers of a call to another service."""
    trace = TRACE_CONTEXT.get()
    return JSONResponse(trace.headers() if trace else {})


APP = Starlette(
    routes=[
        Route("/items/{id:int}", item),
        Route("/fault", fault),
        Route("/unavailable", unavailable),
        Route("/late", late),
        WebSocketRoute("/echo", echo),
    ]
)


def settings(receiver: SpanReceiver, **sampling: Any) -> dict[str, Any]:
    options = {"ratio": 1.0, "slow_quantile": 0.0, "max_traces_per_second": 1000.0, **sampling}
    tracing = {"endpoint": receiver.url, "export_interval": "10ms", "sampling": options}
    return {"server": {"operator_token": "operator-token"}, "plugins": {"tracing": tracing}}


async def exported(
    path: str, headers: dict[str, str] | None = None, *, client: str = "127.0.0.1", **sampling: Any
) -> list[dict[str, Any]]:
    """Return the spans of one request, all of which are exported before the application has stopped."""
    with span_receiver() as receiver:
        app = create_app(settings(receiver, **sampling), app=APP)
        async with running(app) as state:
            try:
                await request(app, path, headers=headers, state=state, client=(client, 50000))
            except ValueError:
                assert path == "/fault"
            await asyncio.sleep(0.05 if path == "/late" else 0)
        return receiver.spans()


def by_name(spans: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    assert len({each["name"] for each in spans}) == len(spans)
    return {each["name"]: each for each in spans}


async def test_nothing_is_sent_without_an_exporter() -> None:
    with span_receiver() as receiver:
        configured = settings(receiver)
        configured["plugins"]["tracing"]["exporter"] = "none"
        app = create_app(configured, app=APP)
        async with running(app) as state:
            assert (await request(app, "/items/7", state=state)).status == 200
        assert receiver.spans() == []


async def test_the_verdict_of_the_cache() -> None:
    with span_receiver() as receiver:
        configured = settings(receiver)
        configured["plugins"]["cache"] = {"url": "memory:"}
        app = create_app(configured, app=APP)
        async with running(app) as state:
            for _ in range(2):
                await request(app, "/items/7", state=state)
        verdicts = [attributes(each).get("http.response.header.cache-status") for each in receiver.spans()]
    miss, hit = (each for each in verdicts if each)
    assert "fwd=" in miss[0]
    assert "hit" in hit[0]


async def test_spans_of_a_request_form_a_tree() -> None:
    spans = by_name(await exported("/items/7"))
    assert set(spans) == {"GET /items/{id}", "price", "inner", "thread"}
    root, price = spans["GET /items/{id}"], spans["price"]
    assert "parentSpanId" not in root
    assert price["parentSpanId"] == root["spanId"]
    assert spans["inner"]["parentSpanId"] == spans["thread"]["parentSpanId"] == price["spanId"]
    assert len({each["traceId"] for each in spans.values()}) == 1
    for child in (price, spans["inner"]):
        assert int(root["startTimeUnixNano"]) <= int(child["startTimeUnixNano"])
        assert int(child["startTimeUnixNano"]) <= int(child["endTimeUnixNano"]) <= int(root["endTimeUnixNano"])
    assert attributes(price) == {"sku": 7, "total": 3}
    assert [event["name"] for event in price["events"]] == ["looked up"]


async def test_attributes_of_a_server_span() -> None:
    """The attributes are those of OpenTelemetry's stable conventions for HTTP servers."""
    root = by_name(await exported("/items/7?token=secret", {"user-agent": "test/1"}))["GET /items/{id}"]
    assert root["kind"] == 2
    assert attributes(root) == {
        "http.request.method": "GET",
        "http.route": "/items/{id}",
        "http.response.status_code": 200,
        "url.path": "/items/7",
        "url.scheme": "http",
        "network.protocol.version": "1.1",
        "server.address": "localhost",
        "server.port": 80,
        "user_agent.original": "test/1",
    }


async def test_exceptions_are_events_without_secrets() -> None:
    spans = by_name(await exported("/fault", ratio=0.0))
    root, broken = spans["GET /fault"], spans["broken"]
    assert root["status"] == broken["status"] == {"code": 2}
    assert attributes(root)["error.type"] == attributes(broken)["error.type"] == "ValueError"
    (event,) = root["events"]
    details = attributes(event)
    assert event["name"] == "exception"
    assert details["exception.type"] == "ValueError"
    assert details["exception.message"] == "wrong: redis://:***@db/"
    assert details["exception.stacktrace"].startswith("Traceback")
    assert "secret" not in str(spans)


async def test_a_server_error_is_kept_and_a_success_is_not() -> None:
    (root,) = await exported("/unavailable", ratio=0.0)
    assert attributes(root)["error.type"] == "503"
    assert await exported("/unavailable", ratio=0.0, errors=False) == []
    assert await exported("/items/7", ratio=0.0) == []


async def test_names_and_attributes_are_made_for_kept_traces_only() -> None:
    made: list[str] = []

    def name_of(name: str) -> str:
        made.append(name)
        return name

    kind = SpanType(SpanKind.INTERNAL, name_of, lambda name: {"made": name_of(name)})

    async def record(request: Request) -> Response:
        record_span(kind, perf_counter(), (request.url.path,))
        return PlainTextResponse("", 500 if request.url.path == "/kept" else 200)

    with span_receiver() as receiver:
        app = create_app(settings(receiver, ratio=0.0), app=Starlette(routes=[Route("/{path}", record)]))
        async with running(app) as state:
            for path in ("/dropped", "/kept"):
                await request(app, path, state=state)
        assert receiver.named("/kept")
    assert set(made) == {"/kept"}


async def test_a_slow_request_is_kept() -> None:
    assert await exported("/items/7", ratio=0.0, slow_threshold="1us")


PUBLIC = "203.0.113.9"
PRIVATE = "10.1.2.3"
SENT = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "tracestate": "vendor=1"}


@pytest.mark.parametrize(
    ("client", "headers", "networks", "continues"),
    [
        (PRIVATE, {}, None, True),
        (PUBLIC, {}, None, False),
        (PUBLIC, {"authorization": "Bearer operator-token"}, None, True),
        (PUBLIC, {}, ["203.0.113.0/24"], True),
        (PRIVATE, {}, [], False),
        (PRIVATE, {"x-forwarded-for": PUBLIC}, None, False),
    ],
    ids=["private", "public", "operator", "configured", "none", "behind an unknown proxy"],
)
async def test_only_clients_of_parent_networks_decide(
    client: str, headers: dict[str, str], networks: list[str] | None, continues: bool
) -> None:
    """Others get a trace of their own, which is linked to their span and sampled by the ratio."""
    sampling = {} if networks is None else {"parent_networks": networks}
    assert bool(await exported("/items/7", {**SENT, **headers}, client=client, ratio=0.0, **sampling)) == continues
    spans = await exported("/items/7", {**SENT, **headers}, client=client, ratio=1.0, **sampling)
    root = by_name(spans)["GET /items/{id}"]
    if continues:
        assert (root["traceId"], root["parentSpanId"], root["traceState"]) == ("a" * 32, "b" * 16, "vendor=1")
        assert "links" not in root
    else:
        assert root["traceId"] != "a" * 32
        assert not {"parentSpanId", "traceState"} & set(root)
        (link,) = root["links"]
        assert (link["traceId"], link["spanId"]) == ("a" * 32, "b" * 16)
    assert {each["traceId"] for each in spans} == {root["traceId"]}


async def test_the_id_of_a_public_client_is_not_passed_on() -> None:
    with span_receiver() as receiver:
        app = create_app(settings(receiver, ratio=0.0), app=Starlette(routes=[Route("/call", call)]))
        async with running(app) as state:
            headers = {**SENT, "x-request-id": "request-7"}
            response = await request(app, "/call", headers=headers, state=state, client=(PUBLIC, 50000))
    passed_on = json.loads(response.body)
    _, trace_id, _, flags = passed_on["traceparent"].split("-")
    assert trace_id != "a" * 32
    assert flags == "02", "not sampled"
    assert passed_on["x-request-id"] == "request-7"
    assert "tracestate" not in passed_on


@pytest.mark.parametrize(("flags", "kept"), [("01", True), ("03", True), ("00", False), ("02", False)])
async def test_the_sampled_flag_of_the_client_decides(flags: str, kept: bool) -> None:
    sent = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-{flags}", "tracestate": "vendor=1"}
    spans = await exported("/items/7", sent, ratio=1.0)
    assert bool(spans) == kept
    if kept:
        root = by_name(spans)["GET /items/{id}"]
        assert (root["traceId"], root["parentSpanId"], root["traceState"]) == ("a" * 32, "b" * 16, "vendor=1")
        assert root["flags"] & 0x300 == 0x300, "its parent is remote"


async def test_a_span_that_ends_after_the_response_is_exported() -> None:
    spans = by_name(await exported("/late"))
    assert spans["late"]["parentSpanId"] == spans["GET /late"]["spanId"]


async def test_an_application_propagates_the_trace_in_calls_of_its_own() -> None:
    with span_receiver() as receiver:
        app = create_app(settings(receiver), app=Starlette(routes=[Route("/call", call)]))
        async with running(app) as state:
            response = await request(app, "/call", state=state)
        (root,) = receiver.spans()
    _, trace_id, _, flags = json.loads(response.body)["traceparent"].split("-")
    assert (trace_id, flags) == (root["traceId"], "03"), "sampled, with a random trace id"


async def test_unknown_methods_do_not_become_names() -> None:
    with span_receiver() as receiver:
        app = create_app(settings(receiver), app=APP)
        async with running(app) as state:
            await request(app, "/items/7", method="BREW", state=state)
        (root,) = receiver.spans()
    assert root["name"].startswith("HTTP")
    assert attributes(root)["http.request.method"] == "_OTHER"
    assert attributes(root)["http.request.method_original"] == "BREW"


async def test_what_a_client_sends_counts_in_the_queue() -> None:
    kept: list[KeptTrace] = []
    sampler = Sampler(SamplingConfig(ratio=1.0))
    tracer = SamplingTracer(sampler, kept.append, TracingMetrics(Telemetry(10)))
    tracing = TracingFilter(tracer, OperatorAccess([], None), client_address=False)
    scope = http_scope("/" + "p" * 10_000, headers=[(b"user-agent", b"a" * 20_000)])
    await Conversation().run(behind(PlainTextResponse(""), tracing), scope)
    (trace,) = kept
    assert trace.weight > 30_000
