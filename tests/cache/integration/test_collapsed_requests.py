"""A request follows only a flight whose response it may reuse, or that started after the request arrived."""

from __future__ import annotations

import asyncio

import pytest
from starlette.types import Message, Receive, Scope, Send

from scalekit.testing import ReceivedResponse
from scalekit_cache.policies import CachePolicy
from tests.cache.harness import CacheHarness, Origin, Pairs, Reply

pytestmark = pytest.mark.anyio

CC = "Cache-Control"
TAG = ("ETag", '"1"')
STRICT = ["no-cache", "max-age=0, must-revalidate", "s-maxage=0", "public, max-age=0, proxy-revalidate", "max-age=0"]


class Slow(Origin):
    """An application that waits, so that other requests can arrive."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def later(message: Message) -> None:
            if message["type"] == "http.response.start":
                await asyncio.sleep(0.1)
            await send(message)

        await super().__call__(scope, receive, later)


async def run_pending_tasks() -> None:
    for _ in range(200):
        await asyncio.sleep(0)
    await asyncio.sleep(0.05)
    for _ in range(200):
        await asyncio.sleep(0)


async def fetch_late(harness: CacheHarness, origin: Origin, number: int, headers: Pairs = ()) -> list[ReceivedResponse]:
    """Return the responses to one request, and to *number* requests with *headers* that arrive after its call."""
    gate = origin.gate = asyncio.Event()
    first = asyncio.create_task(harness.fetch())
    while not origin.calls:
        await asyncio.sleep(0.001)
    others = [asyncio.create_task(harness.fetch(headers=headers)) for _ in range(number)]
    await run_pending_tasks()
    gate.set()
    return list(await asyncio.gather(first, *others))


@pytest.mark.parametrize("control", STRICT)
async def test_a_no_cache_response_is_not_shared_with_requests_that_arrived_after_the_call(control: str) -> None:
    harness = CacheHarness(origin := Slow(Reply([(CC, control), TAG])))
    origin.validates = False
    first, *others = await fetch_late(harness, origin, 10)
    assert first.body == b"1"
    assert {response.body for response in others} == {b"2"}, "they share one call that began after all of them arrived"
    assert origin.calls == 2


async def test_requests_that_arrived_before_the_call_share_one_revalidation() -> None:
    harness = CacheHarness(origin := Slow(Reply([(CC, "no-cache"), TAG])))
    responses = await fetch_late(harness, origin, 10)
    assert {response.body for response in responses} == {b"1"}
    assert origin.calls == 2
    assert origin.header("If-None-Match") == '"1"'


@pytest.mark.parametrize("control", ["max-age=60", "max-age=0, stale-while-revalidate=60"])
async def test_a_reusable_response_is_shared_with_later_requests(control: str) -> None:
    harness = CacheHarness(origin := Slow(Reply([(CC, control)])))
    assert {response.body for response in await fetch_late(harness, origin, 10)} == {b"1"}


@pytest.mark.parametrize("policy", [CachePolicy(), CachePolicy(ttl=60.0)])
@pytest.mark.parametrize("control", [None, *STRICT])
async def test_a_request_with_no_cache_never_follows_a_call_that_began_before_it(
    control: str | None, policy: CachePolicy
) -> None:
    headers = [(CC, control), TAG] if control else [(CC, "max-age=60")]
    harness = CacheHarness(origin := Slow(Reply(headers)), [("/**", policy)])
    origin.validates = False
    first, *others = await fetch_late(harness, origin, 5, [(CC, "no-cache")])
    assert first.body == b"1"
    assert {response.body for response in others} == {b"2"}


async def test_a_request_with_no_cache_follows_a_call_that_began_after_it_arrived() -> None:
    harness = CacheHarness(origin := Slow(Reply([(CC, "max-age=60")])))
    gate = origin.gate = asyncio.Event()
    tasks = [asyncio.create_task(harness.fetch(headers=[(CC, "no-cache")])) for _ in range(5)]
    while not origin.calls:
        await asyncio.sleep(0.001)
    await run_pending_tasks()
    calls = origin.calls
    gate.set()
    await asyncio.gather(*tasks)
    assert calls == 1
    assert origin.calls <= 2, "with a shared store all arrive before the call"


@pytest.mark.parametrize("directive", ["max-age=5", "min-fresh=55"])
async def test_a_request_for_a_fresher_response_calls_the_application_itself(directive: str) -> None:
    harness = CacheHarness(origin := Slow(Reply([(CC, "max-age=60"), ("Age", "10")])))
    first, other = await fetch_late(harness, origin, 1, [(CC, directive)])
    assert (first.body, other.body) == (b"1", b"2")
