"""Filters that wait for Redis have spans of it, and so has each command of the application."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from scalekit import create_app
from scalekit.contracts import CACHE
from scalekit.telemetry import TELEMETRY
from scalekit.testing import request, running
from tests.cache.harness import until
from tests.servers import Redis
from tests.tracing.span_receiver import SpanReceiver, attributes, span_receiver

pytestmark = [pytest.mark.anyio, pytest.mark.needs("redis")]
INTERNAL, SERVER, CLIENT = 1, 2, 3


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    with Redis() as server:
        yield server


async def item(request: Request) -> Response:
    await CACHE(request).set("price", 7, ttl=60)
    return PlainTextResponse("", headers={"cache-control": "max-age=600"})


async def exported(redis: Redis, receiver: SpanReceiver, path: str) -> list[dict[str, Any]]:
    """Return the spans of one request to a new process, whose local cache is empty."""
    sampling = {"ratio": 1.0, "slow_quantile": 0.0, "max_traces_per_second": 1000.0}
    policy = {"name": "all", "limit": "100/m", "key": "ip"}
    plugins = {
        "tracing": {"endpoint": receiver.url, "export_interval": "10ms", "sampling": sampling},
        "ratelimit": {"url": redis.url, "policies": [policy]},
        "cache": {"url": redis.url},
        "metrics": {},
    }
    app = create_app({"plugins": plugins}, app=Starlette(routes=[Route("/items/{id}", item)]))
    async with running(app) as state:
        families = app.context.get(TELEMETRY).snapshot
        await until(lambda: families().families["scalekit_cache_in_sync"].data == {(): 1})
        assert (await request(app, path, state=state)).status == 200
    return receiver.spans()


async def test_a_limit_and_the_cache_wait_together(redis: Redis) -> None:
    with span_receiver() as receiver:
        spans = await exported(redis, receiver, "/items/7")
    by_name = {span["name"]: span for span in spans}
    root, limit, lookup = by_name["GET /items/{id}"], by_name["ratelimit wait"], by_name["cache wait"]
    for wait in (limit, lookup):
        assert (wait["kind"], wait["parentSpanId"]) == (INTERNAL, root["spanId"])
        assert int(root["startTimeUnixNano"]) <= int(wait["startTimeUnixNano"]) < int(wait["endTimeUnixNano"])
        assert int(wait["endTimeUnixNano"]) <= int(root["endTimeUnixNano"])
    assert int(lookup["startTimeUnixNano"]) <= int(limit["endTimeUnixNano"]), "in one round trip"
    assert attributes(root)["http.response.header.cache-status"] == ["scalekit; fwd=uri-miss; fwd-status=200; stored"]
    commands = [span for span in spans if span["kind"] == CLIENT]
    assert {attributes(span)["db.system.name"] for span in commands} == {"redis"}
    assert {span["traceId"] for span in spans} == {root["traceId"]}


async def test_a_hit_in_redis_is_a_wait_and_nothing_else(redis: Redis) -> None:
    with span_receiver() as receiver:
        await exported(redis, receiver, "/items/8")
    with span_receiver() as receiver:
        spans = await exported(redis, receiver, "/items/8")
    assert sorted(span["name"] for span in spans if span["kind"] == INTERNAL) == ["cache wait", "ratelimit wait"]
    (root,) = [span for span in spans if span["kind"] == SERVER]
    assert root["name"] == "GET /items/{id}", "its route is stored with the response"
    (status,) = attributes(root)["http.response.header.cache-status"]
    assert status.startswith("scalekit; hit")
    assert len(spans) == 3
