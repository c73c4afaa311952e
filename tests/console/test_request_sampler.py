from __future__ import annotations

from collections.abc import Iterable

import pytest
from starlette.types import Receive, Scope, Send

from scalekit import Exchange
from scalekit.http.filter_chain import FilterChain
from scalekit.http.route_template import RouteTemplates
from scalekit.testing import request
from scalekit_console.request_sampler import BURST, MAX_ENDED, SHARE, RequestSampler

pytestmark = pytest.mark.anyio


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["path"] == "/fault":
        raise RuntimeError("a fault")
    await send({"type": "http.response.start", "status": int(scope["path"][1:]), "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def ask(sampler: RequestSampler, path: str) -> None:
    await request(FilterChain([sampler], application, RouteTemplates()), path)


def end(sampler: RequestSampler, route: str, count: int = 1, status: int = 200) -> None:
    exchange = Exchange.__new__(Exchange)
    exchange.scope, exchange._route = {"method": "GET"}, route
    exchange.status, exchange.seconds = status, 0.01
    for _ in range(count):
        sampler.on_request(exchange)
        sampler.on_complete(exchange, None)


def counts(sampler: RequestSampler) -> dict[str, float]:
    return {route: sum(buckets.values()) for _, route, _, buckets in sampler.routes.describe()}


def errors(sampler: RequestSampler) -> dict[str, int]:
    return {route: failed for _, route, failed, _ in sampler.routes.describe() if failed}


async def test_requests_and_failures_are_counted() -> None:
    sampler = RequestSampler()
    for path in ("/200", "/404", "/500", "/503"):
        await ask(sampler, path)
    with pytest.raises(RuntimeError):
        await ask(sampler, "/fault")
    ended = sampler.take()
    assert (sum(ended.buckets.values()), ended.errors, sampler.in_flight) == (5, 3, 0)
    ended = sampler.take()
    assert (ended.buckets, ended.errors) == ({}, 0)


def test_requests_that_have_not_ended_are_in_flight() -> None:
    sampler = RequestSampler()
    exchange = Exchange.__new__(Exchange)
    for _ in range(3):
        sampler.on_request(exchange)
    end(sampler, "/")
    assert sampler.in_flight == 3
    sampler.take()
    assert sampler.in_flight == 3


def test_few_requests_are_all_counted_by_route() -> None:
    sampler = RequestSampler()
    for _ in range(20):
        end(sampler, "/a", SHARE - 1)
        end(sampler, "/b")
        sampler.tick()
    end(sampler, "/c", BURST)
    sampler.tick()
    assert counts(sampler) == {"/a": 20 * (SHARE - 1), "/b": 20, "/c": BURST}
    assert all(isinstance(count, int) for _, _, _, buckets in sampler.routes.describe() for count in buckets.values())


def one_after_the_other(sampler: RequestSampler, routes: Iterable[str], count: int) -> None:
    for _ in range(count):
        for route in routes:
            end(sampler, route)


def test_of_many_requests_a_sample_stands_for_all() -> None:
    sampler = RequestSampler()
    for _ in range(100):
        one_after_the_other(sampler, ("/a", "/b", "/b", "/b"), SHARE)
        sampler.tick()
    assert counts(sampler) == pytest.approx({"/a": 100 * SHARE, "/b": 300 * SHARE}, rel=0.01)
    assert sum(sampler.take().buckets.values()) == 400 * SHARE


def test_routes_are_not_looked_up_beyond_the_sample() -> None:
    sampler = RequestSampler()
    end(sampler, "/", BURST)
    exchange = Exchange.__new__(Exchange)  # without a route: to ask for it would fail
    exchange.status, exchange.seconds = 200, 0.01
    sampler.on_complete(exchange, None)
    sampler.tick()
    assert counts(sampler) == {"/": pytest.approx(BURST + 1)}


def test_failed_requests_are_counted_however_many_there_are() -> None:
    sampler = RequestSampler()
    end(sampler, "/", 10 * BURST)
    end(sampler, "/rare", 3, 503)
    sampler.tick()
    assert errors(sampler) == {"/rare": 3}
    assert counts(sampler) == pytest.approx({"/": 10 * BURST, "/rare": 3})
    assert sampler.take().errors == 3


def test_after_a_look_at_the_routes_all_requests_are_counted() -> None:
    sampler = RequestSampler()
    sampler.describe_routes()
    one_after_the_other(sampler, ("/a", "/b"), 10 * BURST)
    assert {route: sum(buckets.values()) for _, route, _, buckets in sampler.describe_routes()} == {
        "/a": 10 * BURST,
        "/b": 10 * BURST,
    }


def test_memory_is_bounded_while_nothing_takes_samples() -> None:
    sampler = RequestSampler()
    for status in (200, 500):
        end(sampler, "/", MAX_ENDED + 10, status)
    sampler.tick()
    assert sum(sampler.take().buckets.values()) == MAX_ENDED
    assert errors(sampler) == {"/": MAX_ENDED}
