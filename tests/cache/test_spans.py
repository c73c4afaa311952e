"""Waiting for a leader, refreshes, and why a response is not stored, as spans."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from scalekit import Redactor, create_app
from scalekit.host import Host
from scalekit.telemetry.trace_tree import MAX_VALUE
from scalekit.testing import request, running
from scalekit_cache.cache_status import NotStored
from scalekit_cache.not_stored_reasons import EXPLANATIONS
from tests.cache.harness import CacheHarness, Origin, Reply, until
from tests.recorded_spans import recorded_spans
from tests.tracing.span_receiver import SpanReceiver, attributes, span_receiver

pytestmark = pytest.mark.anyio


def test_every_reason_has_an_explanation_that_is_shown_whole() -> None:
    assert set(EXPLANATIONS) == set(NotStored)
    for text in EXPLANATIONS.values():
        assert Redactor().redact(text) == text, "it is taken for a secret"
        assert len(text) < MAX_VALUE


async def test_a_follower_is_linked_to_its_leader() -> None:
    harness = CacheHarness(origin := Origin(Reply([("Cache-Control", "max-age=60")])))
    origin.gate = asyncio.Event()

    async def fetch() -> Any:
        with recorded_spans() as spans:
            await harness.fetch()
        return spans

    leader = asyncio.create_task(fetch())
    await until(lambda: origin.calls == 1)
    follower = asyncio.create_task(fetch())
    for _ in range(5):
        await asyncio.sleep(0)
    origin.gate.set()
    led, followed = await leader, await follower
    assert led.names() == []
    wait = followed["cache single flight"]
    assert wait.attributes == {"scalekit.cache.outcome": "started"}
    (link,) = wait.links
    assert (link.trace_id, link.span_id) == (led.root.trace.context.trace_id, led.root.span_id)


async def test_the_reason_for_which_a_response_is_not_stored_is_an_event() -> None:
    harness = CacheHarness(Origin(Reply([("Cache-Control", "no-store")])))
    with recorded_spans() as spans:
        await harness.fetch()
    (event,) = spans.root_events()
    assert event == ("cache: not stored", {"scalekit.cache.reason": EXPLANATIONS[NotStored.NO_STORE]})


calls: list[str] = []


async def fresh(request: Request) -> Response:
    return PlainTextResponse("", headers={"cache-control": "max-age=600"})


async def validated(request: Request) -> Response:
    return PlainTextResponse("", headers={"cache-control": "max-age=0", "etag": '"1"'})


async def unstored(request: Request) -> Response:
    return PlainTextResponse("", headers={"cache-control": "no-store"})


async def stale(request: Request) -> Response:
    calls.append(request.url.path)
    if request.url.path == "/failing" and len(calls) > 1:
        raise ValueError("refresh")
    return PlainTextResponse("", headers={"cache-control": "max-age=0, stale-while-revalidate=600, stale-if-error=600"})


@asynccontextmanager
async def traced(receiver: SpanReceiver, **sampling: Any) -> AsyncGenerator[tuple[Host, Any], None]:
    calls.clear()
    options = {"slow_quantile": 0.0, "max_traces_per_second": 1000.0, **sampling}
    tracing = {"endpoint": receiver.url, "export_interval": "10ms", "sampling": options}
    handlers = {"stale": stale, "failing": stale, "fresh": fresh, "unstored": unstored, "validated": validated}
    routes = [Route(f"/{path}", handler) for path, handler in handlers.items()]
    app = create_app({"plugins": {"tracing": tracing, "cache": {}}}, app=Starlette(routes=routes))
    async with running(app) as state:
        yield app, state


@pytest.mark.parametrize(
    ("path", "headers", "verdicts", "reasons"),
    [
        ("/fresh", {}, ["fwd=uri-miss; stored", "hit"], []),
        ("/fresh", {"cache-control": "no-store"}, 2 * ["fwd=bypass; detail=request-no-store"], []),
        ("/fresh", {"cookie": "a=b"}, 2 * ["fwd=uri-miss; detail=cookie"], 2 * [NotStored.COOKIE]),
        ("/unstored", {}, 2 * ["fwd=uri-miss; detail=no-store"], 2 * [NotStored.NO_STORE]),
        ("/stale", {}, ["fwd=uri-miss; stored", "hit"], []),
        ("/validated", {}, ["fwd=uri-miss; stored", "fwd=stale; stored"], []),
    ],
)
async def test_the_span_of_a_request_has_the_verdict_of_the_cache(
    path: str, headers: dict[str, str], verdicts: list[str], reasons: list[NotStored]
) -> None:
    with span_receiver() as receiver:
        async with traced(receiver, ratio=1.0) as (app, state):
            for _ in range(2):
                await request(app, path, headers=headers, state=state)
        spans = [span for span in receiver.spans() if span["name"].startswith("GET")]
    found = [attributes(span)["http.response.header.cache-status"] for span in spans]
    shown = [re.sub(r"; (ttl|fwd-status)=-?\d+", "", status) for (status,) in found]
    assert shown == [f"scalekit; {verdict}" for verdict in verdicts]
    events = [attributes(event) for span in spans for event in span.get("events", ())]
    assert events == [{"scalekit.cache.reason": EXPLANATIONS[reason]} for reason in reasons]


async def test_a_refresh_is_below_the_request_that_caused_it() -> None:
    with span_receiver() as receiver:
        async with traced(receiver, ratio=1.0) as (app, state):
            for _ in range(2):
                await request(app, "/stale", state=state)
            await until(lambda: len(calls) == 2)
        (refresh,) = receiver.named("cache refresh")
        requests = {span["spanId"]: span for span in receiver.named("GET /stale")}
    assert refresh["traceId"] == requests[refresh["parentSpanId"]]["traceId"]


async def test_a_failed_refresh_is_kept_although_its_request_is_not() -> None:
    with span_receiver() as receiver:
        async with traced(receiver, ratio=0.0) as (app, state):
            for _ in range(2):
                assert (await request(app, "/failing", state=state)).status == 200
            await until(lambda: len(calls) == 2)
        assert [span["name"] for span in receiver.spans()] == ["cache refresh"]
