from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from scalekit import Filter
from scalekit.host import ChainLink, build_chain
from scalekit.http.filter_chain import FilterChain
from scalekit.http.filter_times import (
    AFTER_REPLY,
    SAMPLE_INTERVAL,
    WAIT,
    Durations,
    FilterTimes,
    durations_as_json,
    durations_from_json,
)
from scalekit.http.route_template import RouteTemplates
from tests.host.asgi import Conversation, behind, http_scope
from tests.host.http.recorder import Note, PendingDecision, Recorder, page

pytestmark = pytest.mark.anyio


class Passes:
    """Middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


class TakesOver(Filter):
    """Serves the rest of each request itself."""

    def on_request(self, exchange: Any) -> Any:
        async def take_over(app: ASGIApp) -> None:
            await app(exchange.scope, exchange.receive, exchange.send)

        return take_over


async def send_request(chain: FilterChain) -> Conversation:
    client = Conversation()
    client.chunk(b"")
    await client.run(chain, http_scope())
    return client


async def wait_until(holds: Any) -> None:
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.001)


@asynccontextmanager
async def measuring(chain: FilterChain) -> AsyncGenerator[FilterTimes, None]:
    times = FilterTimes(lambda: chain)
    times.measure(60)
    try:
        yield times
    finally:
        times.ends_at = 0.0
        times._sample()


def calls_of(times: FilterTimes, owner: Filter) -> dict[str, int]:
    return {name: each.count for (found, name), each in times.durations.items() if found == id(owner)}


async def test_a_request_is_measured_and_the_chain_is_as_before() -> None:
    notes: list[Note] = []
    recorder = Recorder("a", notes)
    chain = behind(page, recorder)
    plain = chain.requests
    async with measuring(chain) as times:
        assert chain.requests is not plain
        await send_request(chain)
        assert chain.requests is plain
        await send_request(chain)  # the next one before the next sample is not measured
        assert calls_of(times, recorder) == dict.fromkeys(
            ("on_request", "on_application", "on_response_start", "on_complete"), 1
        )
        await wait_until(lambda: chain.requests is not plain)
        await send_request(chain)
        assert calls_of(times, recorder)["on_complete"] == 2
    assert chain.requests is plain
    assert len(notes) == 3 * 4


async def test_a_measurement_ends_by_itself_and_only_one_runs() -> None:
    chain = behind(page, Recorder("a", []))
    plain = chain.requests
    times = FilterTimes(lambda: chain)
    times.measure(0.05)
    with pytest.raises(ValueError, match="a measurement is under way; wait 1 s"):
        times.measure(1)
    await wait_until(lambda: not times.seconds_left)
    await wait_until(lambda: chain.requests is plain)


async def test_a_measurement_after_one_that_was_not_stopped_keeps_the_plain_chain() -> None:
    recorder = Recorder("a", [])
    chain = behind(page, recorder)
    plain = chain.requests
    times = FilterTimes(lambda: chain)
    times.measure(60)
    times.ends_at = 0.0  # as when its event loop has ended
    times.measure(60)
    await send_request(chain)
    assert calls_of(times, recorder)["on_complete"] == 1
    assert chain.requests is plain
    times.ends_at = 0.0
    times._sample()


async def test_a_pending_decision_is_its_wait_and_the_time_after_it() -> None:
    pending = PendingDecision()
    recorder = Recorder("a", [], lambda exchange: pending(exchange))
    chain = behind(page, recorder)
    async with measuring(chain) as times:
        task = asyncio.create_task(send_request(chain))
        await wait_until(lambda: calls_of(times, recorder))
        pending.complete()
        assert (await task).status == 200
        assert calls_of(times, recorder) == {
            **dict.fromkeys(("on_request", "on_application", "on_response_start", "on_complete"), 1),
            WAIT: 1,
            AFTER_REPLY: 1,
        }


async def test_a_failing_filter_is_measured_and_its_error_kept() -> None:
    def fails(exchange: Any) -> Any:
        raise RuntimeError("a fault")

    recorder = Recorder("a", [], fails)
    chain = behind(page, recorder)
    async with measuring(chain) as times:
        with pytest.raises(RuntimeError, match="a fault"):
            await send_request(chain)
        assert calls_of(times, recorder)["on_request"] == 1


async def test_filters_behind_middleware_and_inside_of_a_takeover_are_measured() -> None:
    outer, inner, innermost = Recorder("outer", []), TakesOver(), Recorder("inner", [])
    links = [
        ChainLink("LOG", "a", outer),
        ChainLink("LOG", "b", Middleware(Passes)),
        ChainLink("CACHE", "c", inner),
        ChainLink("RESOURCES", "d", innermost),
    ]
    chain = build_chain(links, page, RouteTemplates())
    async with measuring(chain) as times:
        await send_request(chain)
        assert calls_of(times, outer)["on_complete"] == 1
        assert calls_of(times, inner) == {"on_request": 1}
        async with asyncio.timeout(30):
            while "on_complete" not in calls_of(times, innermost):  # the inner chain exists after a request
                await send_request(chain)
                await asyncio.sleep(SAMPLE_INTERVAL)


@given(st.lists(st.floats(1e-7, 100.0), min_size=1, max_size=50), st.lists(st.floats(1e-7, 100.0), max_size=50))
def test_percentiles_of_merged_durations_are_close(first: list[float], second: list[float]) -> None:
    one, other = Durations(), Durations()
    for seconds in first:
        one.add(seconds)
    for seconds in second:
        other.add(seconds)
    ((name, merged),) = durations_from_json(durations_as_json({"on_request": one}))
    assert (name, merged) == ("on_request", one)
    merged.merge(other)
    everything = sorted(first + second)
    exact = everything[-(-99 * len(everything) // 100) - 1]
    found = merged.percentile(0.99)
    assert found is not None
    assert exact * 0.9 <= found <= exact * 1.1
    assert merged.mean == pytest.approx(sum(everything) / len(everything))
    assert merged.count == len(everything)


def test_no_calls_have_neither_mean_nor_percentile() -> None:
    assert Durations().mean is None
    assert Durations().percentile(0.99) is None
