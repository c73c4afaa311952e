"""A single limit and combined limits lead to equal decisions."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalekit import Exchange, LocalResponse, Rate
from scalekit.http.filter_chain import FilterChain
from scalekit.http.route_template import RouteTemplates
from scalekit.memo import MAX_KEYS
from scalekit.telemetry import NullTelemetry
from scalekit.testing.conformance import bare_application
from scalekit_ratelimit.keys import address_key
from scalekit_ratelimit.limit_checks import CombinedCheck, SingleLimit
from scalekit_ratelimit.limits import make_limit
from scalekit_ratelimit.memory_limiter import MemoryLimiter
from scalekit_ratelimit.metrics import RateLimitMetrics
from scalekit_ratelimit.policies import RateLimitPolicy

STEPS = st.lists(st.integers(0, 3_000_000), min_size=1, max_size=60)
CHAIN = FilterChain([], bare_application, RouteTemplates())
METRICS = RateLimitMetrics(NullTelemetry())


def an_exchange() -> Exchange:
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "client": ("127.0.0.1", 1)}
    return CHAIN.exchange(scope, None, None)  # type: ignore[arg-type]  # never receives or sends


@given(quota=st.integers(2, 7), cost=st.integers(1, 2), steps=STEPS)
def test_a_single_limit_returns_the_same_response_as_a_combined_check(quota: int, cost: int, steps: list[int]) -> None:
    now = 1
    memory_of_single, memory_of_combined = (MemoryLimiter(10, lambda: now * 1000) for _ in range(2))
    limit = make_limit("x", Rate(f"{quota}/10s"))
    single, combined = (
        SingleLimit(limit, cost, address_key),
        CombinedCheck([RateLimitPolicy("x", (limit,), cost=cost)], False),
    )
    for pause in steps:
        now += pause
        one, other = an_exchange(), an_exchange()
        refused = single.apply_decision(one, single.hit_memory(memory_of_single, "127.0.0.1"), METRICS)
        hits = combined.prepare(other.scope)
        assert hits is not None
        refused_too = combined.apply_decision(other, combined.hit_memory(memory_of_combined, hits), METRICS)
        assert one.added_headers == other.added_headers
        assert bool(one.added_headers) != bool(refused)
        assert content(refused) == content(refused_too)


def content(response: LocalResponse | None) -> object:
    return response and (response.status, dict(response.headers), response.body)


def test_the_429_names_the_policy() -> None:
    response = SingleLimit(make_limit("x", Rate("5/s")), 1, address_key).apply_decision(an_exchange(), -1, METRICS)
    assert response is not None
    assert (response.status, json.loads(response.body)["violated-policies"]) == (429, ["x"])
    assert dict(response.headers)[b"ratelimit-policy"] == b'"x";q=5;w=1'


@pytest.mark.parametrize("step", [1, -1_000_000])
def test_memoized_headers_and_responses_are_bounded(step: int) -> None:
    single = SingleLimit(make_limit("x", Rate("1000000/s")), 1, address_key)
    for number in range(1, 3 * MAX_KEYS):
        single.apply_decision(an_exchange(), number * step, METRICS)
        assert len(single._headers) + len(single._responses) <= MAX_KEYS
