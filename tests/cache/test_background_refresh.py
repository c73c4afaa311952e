"""Stale responses are refreshed in the background, and replace errors (RFC 5861)."""

from __future__ import annotations

import asyncio

import pytest

from scalekit_cache.policies import CachePolicy
from tests.cache.harness import CacheHarness, Origin, Reply, until

pytestmark = pytest.mark.anyio
CC = "Cache-Control"
STALE = "max-age=2, stale-while-revalidate=60"


async def test_a_stale_response_is_sent_at_once_while_one_request_refreshes_it() -> None:
    harness = CacheHarness(origin := Origin(Reply([(CC, STALE)])))
    await harness.fetch()
    harness.pass_time(3)
    origin.gate = asyncio.Event()
    responses = [await harness.fetch() for _ in range(20)]
    assert {response.body for response in responses} == {b"1"}
    assert responses[0].header("cache-status") == "scalekit; hit; ttl=-1"
    await until(lambda: origin.calls == 2)
    origin.gate.set()
    await harness.settle()
    assert (await harness.fetch()).body == b"2"
    assert origin.calls == 2


async def test_a_background_refresh_ignores_the_timeout_of_the_client() -> None:
    harness = CacheHarness(origin := Origin(Reply([(CC, STALE)])))
    hurried = [("X-Request-Timeout-Ms", "0")]
    await harness.fetch(headers=hurried)
    harness.pass_time(3)
    await harness.fetch(headers=hurried)
    await harness.settle()
    assert [origin.header("x-request-timeout-ms", call) for call in (0, 1)] == ["0", None]


async def test_after_stale_while_revalidate_a_request_waits_for_the_new_response() -> None:
    harness = CacheHarness(Origin(Reply([(CC, STALE)])))
    await harness.fetch()
    harness.pass_time(63)
    assert (await harness.fetch()).body == b"2"


@pytest.mark.parametrize("failure", [Reply(status=503), Reply(status=500), Reply(error=ValueError("broken"))])
@pytest.mark.parametrize(
    ("control", "stands_in"),
    [
        ("max-age=2, stale-if-error=60", True),
        ("s-maxage=2, stale-if-error=60", True),
        ("max-age=2", False),
        ("max-age=2, stale-if-error=1", False),
        ("max-age=2, stale-if-error=60, must-revalidate", False),
        ("max-age=2, stale-if-error=60, proxy-revalidate", False),
        ("max-age=2, stale-if-error=60, no-cache", False),
        ("s-maxage=2", False),
    ],
)
async def test_a_stale_response_replaces_an_error_within_stale_if_error(
    failure: Reply, control: str, stands_in: bool
) -> None:
    harness = CacheHarness(origin := Origin(Reply([(CC, control), ("ETag", '"a"')]), failure))
    first = await harness.fetch()
    harness.pass_time(5)
    try:
        response = await harness.fetch()
    except ValueError:
        assert failure.error is not None
        assert not stands_in
    else:
        assert (response.body == first.body) == stands_in
        assert response.status == (200 if stands_in else failure.status)
    assert origin.calls == 2


async def test_a_stale_response_replaces_one_that_exceeds_the_coalesce_timeout() -> None:
    harness = CacheHarness(origin := Origin(Reply([(CC, "max-age=2, stale-if-error=60")])), coalesce_timeout=0.01)
    await harness.fetch()
    harness.pass_time(3)
    origin.gate = asyncio.Event()
    assert (await harness.fetch()).body == b"1"
    origin.gate.set()
    await harness.settle()
    assert (await harness.fetch()).body == b"2"


async def test_a_response_with_the_ttl_of_a_policy_is_refreshed_before_it_expires() -> None:
    policy = CachePolicy(ttl=100.0, early_refresh=0.5)
    harness = CacheHarness(origin := Origin(Reply()), [("/**", policy)])
    await harness.fetch()
    harness.pass_time(49)
    await harness.fetch()
    assert origin.calls == 1
    harness.pass_time(50.9999)  # the moment is random: it is later in one of a million runs
    assert (await harness.fetch()).body == b"1"
    await harness.settle()
    assert origin.calls == 2
    assert (await harness.fetch()).body == b"2"


async def test_early_refreshes_are_spread_over_time() -> None:
    harness = CacheHarness(origin := Origin(Reply()), [("/**", CachePolicy(ttl=100.0, early_refresh=0.5))])
    for number in range(100):
        await harness.fetch(f"/{number}")
    harness.pass_time(75)
    for number in range(100):
        await harness.fetch(f"/{number}")
        await harness.settle()
    assert 120 < origin.calls < 180


async def test_a_failed_refresh_is_counted_and_the_next_request_retries_it() -> None:
    harness = CacheHarness(origin := Origin(Reply([(CC, STALE)]), Reply(error=ValueError("x")), Reply([(CC, STALE)])))
    await harness.fetch()
    harness.pass_time(3)
    for _ in range(2):
        assert (await harness.fetch()).body == b"1"
        await harness.settle()
    assert (await harness.fetch()).body == b"3"
    assert harness.metrics.refresh_failed.value == harness.metrics.refresh_done.value == 1
    assert origin.calls == 3


async def test_closing_the_cache_cancels_background_refreshes() -> None:
    harness = CacheHarness(origin := Origin(Reply([(CC, STALE)])))
    await harness.fetch()
    harness.pass_time(3)
    origin.gate = asyncio.Event()
    before = asyncio.all_tasks()
    await harness.fetch()
    assert asyncio.all_tasks() != before
    await harness.cache.close()
    assert asyncio.all_tasks() == before


async def test_a_head_request_refreshes_the_response_to_get() -> None:
    harness = CacheHarness(origin := Origin(Reply([(CC, STALE)])))
    await harness.fetch()
    harness.pass_time(3)
    assert (await harness.fetch(method="HEAD")).status == 200
    await harness.settle()
    assert [scope["method"] for scope in origin.requests] == ["GET", "GET"]
    assert (await harness.fetch()).body == b"2"


async def test_no_background_refresh_starts_after_the_process_has_begun_to_drain() -> None:
    harness = CacheHarness(origin := Origin(Reply([(CC, STALE)])))
    await harness.fetch()
    harness.pass_time(3)
    harness.cache.drain()
    assert (await harness.fetch()).body == b"1"
    await harness.settle()
    assert origin.calls == 1
