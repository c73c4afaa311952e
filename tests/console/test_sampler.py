from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send

from scalekit import Exchange
from scalekit.http.filter_chain import FilterChain
from scalekit.http.route_template import RouteTemplates
from scalekit.testing import request
from scalekit_console.overview import Point
from scalekit_console.sampler import GROUP, SAMPLES, RequestSampler, Sample, WorkerSampler

pytestmark = pytest.mark.anyio


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["path"] == "/fault":
        raise RuntimeError("a fault")
    await send({"type": "http.response.start", "status": int(scope["path"][1:]), "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def test_requests_and_failures_are_counted() -> None:
    sampler = RequestSampler()
    chain = FilterChain([sampler], application, RouteTemplates())
    for path in ("/200", "/404", "/500", "/503"):
        await request(chain, path)
    assert (sum(sampler.buckets), sampler.errors, sampler.in_flight) == (4, 2, 0)


def durations(seconds: list[float]) -> Point:
    sampler = RequestSampler()
    exchange = Exchange.__new__(Exchange)
    exchange.status = 200
    exchange.scope, exchange._route = {"method": "GET"}, "/"
    for each in seconds:
        exchange.seconds = each
        sampler.on_complete(exchange, None)
    return Point(1, 0, 0, 0.0, 0, 0.0, {bucket: count for bucket, count in enumerate(sampler.buckets) if count})


@given(st.lists(st.floats(1e-5, 1e7), min_size=1, max_size=50))
def test_percentiles_are_exact_within_the_width_of_a_bucket(seconds: list[float]) -> None:
    point = durations(seconds)
    highest = point.percentile(1.0)
    assert highest is not None
    assert max(seconds) / 1.3 - 1e-5 < highest < max(seconds) * 1.3 + 1e-5


def test_a_percentile_without_requests_is_missing() -> None:
    assert durations([]).percentile(0.5) is None
    assert durations([]).error_rate is None


def sample(at: int, buckets: Mapping[int, int] = {20: 1}) -> Sample:
    return Sample(at, 0, 1, 0.5, 100, 0.001, dict(buckets))


def counted(description: Mapping[str, Any]) -> int:
    return sum(sum(group[-1].values()) for group in description["groups"])


def test_groups_have_every_sample_once_while_samples_are_added() -> None:
    sampler = WorkerSampler(RequestSampler())
    for at in range(1000, 1000 + SAMPLES):
        sampler.samples.append(sample(at))
        if at % 7 == 0:
            sampler.describe()
    described = sampler.describe()
    assert counted(described) == SAMPLES
    assert [group[0] for group in described["groups"]] == list(range(1000, 1000 + SAMPLES, GROUP))


def test_groups_and_samples_are_bounded() -> None:
    sampler = WorkerSampler(RequestSampler())
    for at in range(5 * SAMPLES):
        sampler.samples.append(sample(at))
        sampler.describe()
    assert len(sampler.describe()["groups"]) <= SAMPLES // GROUP + 1
    assert counted(sampler.describe()) <= SAMPLES + GROUP
