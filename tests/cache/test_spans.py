"""Waiting for a leader, refreshes, and why a response is not stored, as spans."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from scalekit import create_app
from scalekit.host import Host
from scalekit.testing import request, running
from scalekit_cache.cache_status import NotStored
from scalekit_cache.not_stored import EXPLANATIONS
from tests.cache.harness import CacheHarness, Origin, Reply, until
from tests.recorded_spans import recorded_spans
from tests.tracing.span_receiver import SpanReceiver, span_receiver

pytestmark = pytest.mark.anyio


def test_every_reason_has_an_explanation() -> None:
    assert set(EXPLANATIONS) == set(NotStored)


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
    assert spans.root.events is not None
    ((name, _, attributes),) = spans.root.events
    assert (name, attributes) == ("cache: not stored", {"scalekit.cache.reason": EXPLANATIONS[NotStored.NO_STORE]})


calls: list[str] = []


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
    routes = [Route("/stale", stale), Route("/failing", stale)]
    app = create_app({"plugins": {"tracing": tracing, "cache": {}}}, app=Starlette(routes=routes))
    async with running(app) as state:
        yield app, state


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
