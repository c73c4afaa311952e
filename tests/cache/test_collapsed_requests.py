"""A request follows only a flight whose response it may reuse, or that started after the request arrived."""

from __future__ import annotations

import asyncio

import pytest
from starlette.types import Message, Receive, Scope, Send

from scalekit.testing import TestResponse
from scalekit_cache.policies import CachePolicy
from tests.cache.harness import CacheHarness, Origin, Pairs, Reply

pytestmark = pytest.mark.anyio

CC = "Cache-Control"
TAG = ("ETag", '"1"')
STRICT = ["no-cache", "max-age=0, must-revalidate", "s-maxage=0", "public, max-age=0, proxy-revalidate", "max-age=0"]


class Slow(Origin):
    """Takes its time, so that others can come meanwhile."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def later(message: Message) -> None:
            if message["type"] == "http.response.start":
                await asyncio.sleep(0.1)
            await send(message)

        await super().__call__(scope, receive, later)


async def quiet() -> None:
    for _ in range(200):
        await asyncio.sleep(0)
    await asyncio.sleep(0.05)
    for _ in range(200):
        await asyncio.sleep(0)


async def late(harness: CacheHarness, origin: Origin, number: int, headers: Pairs = ()) -> list[TestResponse]:
    """Return the answers to one request, and to *number* of them with *headers* that come once the first has begun."""
    gate = origin.gate = asyncio.Event()
    first = asyncio.create_task(harness.ask())
    while not origin.calls:
        await asyncio.sleep(0.001)
    others = [asyncio.create_task(harness.ask(headers=headers)) for _ in range(number)]
    await quiet()
    gate.set()
    return list(await asyncio.gather(first, *others))


@pytest.mark.parametrize("control", STRICT)
async def test_what_must_be_validated_before_each_use_is_not_for_who_came_after_it_had_begun(control: str) -> None:
    harness = CacheHarness(origin := Slow(Reply([(CC, control), TAG])))
    origin.validates = False
    first, *others = await late(harness, origin, 10)
    assert first.body == b"1"
    assert {answer.body for answer in others} == {b"2"}, "they share one that was begun after all of them came"
    assert origin.calls == 2


async def test_it_is_validated_for_all_of_them_at_once() -> None:
    harness = CacheHarness(origin := Slow(Reply([(CC, "no-cache"), TAG])))
    answers = await late(harness, origin, 10)
    assert {answer.body for answer in answers} == {b"1"}
    assert origin.calls == 2
    assert origin.header("If-None-Match") == '"1"'


@pytest.mark.parametrize("control", ["max-age=60", "max-age=0, stale-while-revalidate=60"])
async def test_what_may_be_reused_is_shared(control: str) -> None:
    harness = CacheHarness(origin := Slow(Reply([(CC, control)])))
    assert {answer.body for answer in await late(harness, origin, 10)} == {b"1"}


@pytest.mark.parametrize("policy", [CachePolicy(), CachePolicy(ttl=60.0)])
@pytest.mark.parametrize("control", [None, *STRICT])
async def test_a_request_with_no_cache_never_gets_what_was_begun_before_it(
    control: str | None, policy: CachePolicy
) -> None:
    headers = [(CC, control), TAG] if control else [(CC, "max-age=60")]
    harness = CacheHarness(origin := Slow(Reply(headers)), [("/**", policy)])
    origin.validates = False
    first, *others = await late(harness, origin, 5, [(CC, "no-cache")])
    assert first.body == b"1"
    assert {answer.body for answer in others} == {b"2"}


async def test_a_request_with_no_cache_gets_what_was_begun_after_it_came() -> None:
    harness = CacheHarness(origin := Slow(Reply([(CC, "max-age=60")])))
    gate = origin.gate = asyncio.Event()
    tasks = [asyncio.create_task(harness.ask(headers=[(CC, "no-cache")])) for _ in range(5)]
    while not origin.calls:
        await asyncio.sleep(0.001)
    await quiet()
    calls = origin.calls
    gate.set()
    await asyncio.gather(*tasks)
    assert calls == 1
    assert origin.calls <= 2, "a shared store is asked first, and they all come meanwhile"


@pytest.mark.parametrize("directive", ["max-age=5", "min-fresh=55"])
async def test_who_wants_something_fresher_goes_on_alone(directive: str) -> None:
    harness = CacheHarness(origin := Slow(Reply([(CC, "max-age=60"), ("Age", "10")])))
    first, other = await late(harness, origin, 1, [(CC, directive)])
    assert (first.body, other.body) == (b"1", b"2")
