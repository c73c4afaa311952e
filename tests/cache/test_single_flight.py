"""Concurrent requests for a missing response call the application once (single flight)."""

from __future__ import annotations

import asyncio

import pytest
from starlette.types import Receive, Scope, Send

from scalekit.testing import ReceivedResponse
from scalekit_cache import cached
from scalekit_cache.policies import CachePolicy
from scalekit_caching.memory_store import MemoryStore
from tests.cache.harness import CacheHarness, Origin, Reader, Reply, Stream, start_requests, until

pytestmark = pytest.mark.anyio
CC = "Cache-Control"
FRESH = Reply([(CC, "max-age=60")])


async def test_concurrent_requests_for_a_missing_response_call_the_application_once() -> None:
    harness = CacheHarness(origin := Origin(FRESH))
    tasks = await start_requests(harness, origin, 20)
    assert origin.calls == 1
    origin.gate.set()  # type: ignore[union-attr]
    responses = await asyncio.gather(*tasks)
    assert {response.body for response in responses} == {b"1"}
    assert [response.header("cache-status") for response in responses[1:]] == ["scalekit; fwd=uri-miss; collapsed"] * 19
    assert origin.calls == 1


async def test_requests_with_other_keys_do_not_wait_for_each_other() -> None:
    harness = CacheHarness(origin := Origin(FRESH))
    origin.gate = asyncio.Event()
    tasks = [asyncio.create_task(harness.fetch(f"/{number}")) for number in range(5)]
    await until(lambda: origin.calls == 5)
    origin.gate.set()
    await asyncio.gather(*tasks)


async def test_when_the_leader_is_cancelled_a_follower_becomes_the_leader() -> None:
    harness = CacheHarness(origin := Origin(FRESH))
    tasks = await start_requests(harness, origin, 10)
    tasks[0].cancel()
    await until(lambda: origin.calls == 2)
    for _ in range(10):
        await asyncio.sleep(0)
    assert origin.calls == 2
    origin.gate.set()  # type: ignore[union-attr]
    responses = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(responses[0], asyncio.CancelledError)
    assert {response.body for response in responses[1:] if isinstance(response, ReceivedResponse)} == {b"2"}
    assert origin.calls == 2
    assert (await harness.fetch()).body == b"2"


async def test_when_the_leader_and_the_next_one_are_cancelled_another_follower_becomes_the_leader() -> None:
    harness = CacheHarness(origin := Origin(FRESH))
    tasks = await start_requests(harness, origin, 6)
    for task in tasks[:3]:
        task.cancel()
    await until(lambda: origin.calls == 2)
    origin.gate.set()  # type: ignore[union-attr]
    responses = await asyncio.gather(*tasks, return_exceptions=True)
    assert [getattr(response, "body", None) for response in responses] == [None, None, None, b"2", b"2", b"2"]
    assert harness.cache._flights == {}


async def test_when_all_requests_are_cancelled_no_flight_remains() -> None:
    harness = CacheHarness(origin := Origin(FRESH))
    tasks = await start_requests(harness, origin, 6)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert harness.cache._flights == {}
    origin.gate = None
    assert (await harness.fetch()).status == 200


async def test_when_the_leader_fails_a_follower_becomes_the_leader() -> None:
    harness = CacheHarness(origin := Origin(Reply(error=OSError("unavailable")), FRESH))
    tasks = await start_requests(harness, origin, 10)
    origin.gate.set()  # type: ignore[union-attr]
    responses = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(responses[0], OSError)
    assert {response.body for response in responses[1:] if isinstance(response, ReceivedResponse)} == {b"2"}
    assert (origin.calls, harness.cache._flights) == (2, {})


async def test_after_a_private_response_waiting_and_later_requests_call_the_application_themselves() -> None:
    harness = CacheHarness(origin := Origin(Reply([(CC, "private")])))
    tasks = await start_requests(harness, origin, 10)
    assert origin.calls == 1
    origin.gate.set()  # type: ignore[union-attr]
    responses = await asyncio.gather(*tasks)
    assert len({response.body for response in responses}) == 10
    origin.gate = asyncio.Event()
    tasks = [asyncio.create_task(harness.fetch()) for _ in range(5)]
    await until(lambda: origin.calls == 15)
    origin.gate.set()
    await asyncio.gather(*tasks)


async def test_after_the_coalesce_timeout_a_request_calls_the_application_itself() -> None:
    harness = CacheHarness(origin := Origin(FRESH), coalesce_timeout=0.01)
    tasks = await start_requests(harness, origin, 3)
    await until(lambda: origin.calls == 3)
    origin.gate.set()  # type: ignore[union-attr]
    assert len({response.body for response in await asyncio.gather(*tasks)}) == 3


async def test_followers_of_another_variant_get_their_own_response() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        requests.append(scope)
        await gate.wait()
        foo = next(value for name, value in scope["headers"] if name == b"foo")
        headers = [(b"cache-control", b"max-age=60"), (b"vary", b"foo")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": foo})

    requests: list[Scope] = []
    gate = asyncio.Event()
    harness = CacheHarness(app)
    tasks = [asyncio.create_task(harness.fetch(headers=[("Foo", foo)])) for foo in "121212"]
    await until(lambda: requests)
    gate.set()
    assert [response.body for response in await asyncio.gather(*tasks)] == [b"1", b"2"] * 3


async def test_concurrent_requests_share_one_call_for_each_variant() -> None:
    headers = [("Cache-Control", "max-age=1"), ("Vary", "Foo"), ("ETag", '"1"')]
    harness = CacheHarness(origin := Origin(Reply(headers)))
    for foos in ("1" + 50 * "2", 25 * "12"):  # the second time the variants are stored and stale
        origin.gate = asyncio.Event()
        calls = origin.calls
        tasks = [asyncio.create_task(harness.fetch(headers=[("Foo", foo)])) for foo in foos]
        await asyncio.sleep(0.05)
        origin.gate.set()
        bodies = [response.body for response in await asyncio.gather(*tasks)]
        assert origin.calls - calls == 2
        assert len(set(bodies)) == 2
        assert {origin.header("Foo", call) for call in range(calls, calls + 2)} == {"1", "2"}
        harness.pass_time(10)


async def test_a_vary_that_differs_with_each_response_delays_no_request_twice() -> None:
    replies = [Reply([("Cache-Control", "max-age=60"), ("Vary", name)]) for name in ("Foo", "Foo, Bar", "Foo, Baz")]
    harness = CacheHarness(origin := Origin(*replies))
    origin.gate = asyncio.Event()
    fields = [[("Foo", str(min(number, 1))), ("Bar", str(number)), ("Baz", str(number))] for number in range(6)]
    tasks = [asyncio.create_task(harness.fetch(headers=headers)) for headers in fields]
    await until(lambda: origin.calls)
    for _ in range(20):
        await asyncio.sleep(0)
    origin.gate.set()
    assert len({response.body for response in await asyncio.gather(*tasks)}) == 6


async def test_an_unsafe_request_invalidates_responses_in_flight() -> None:
    harness = CacheHarness(origin := Origin(FRESH))
    tasks = await start_requests(harness, origin, 4)
    gate, origin.gate = origin.gate, None
    await harness.fetch(method="POST")
    after = await harness.fetch()
    assert [(await task).body for task in tasks[1:]] == [after.body] * 3 == [b"3"] * 3
    gate.set()  # type: ignore[union-attr]
    assert (await tasks[0]).body == b"1"
    assert (await harness.fetch()).body == b"3"
    assert origin.calls == 3


async def test_an_unsafe_request_invalidates_a_response_whose_body_is_being_sent() -> None:
    stream = Stream()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "GET":
            await stream(scope, receive, send)
        else:
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b""})

    harness = CacheHarness(app)
    first = Reader(harness)
    stream.parts.put_nowait((b"one", True))
    await until(lambda: first.response.body == b"one")
    await harness.fetch(method="POST")
    stream.parts.put_nowait((b"two", False))
    await first.task
    stream.parts.put_nowait((b"new", False))
    assert (await harness.fetch()).body == b"new"
    assert (await harness.fetch()).body == b"new"
    assert stream.calls == 2


DECLARED = (("/", CachePolicy(ttl=60, tags=(b"tag:items",))),)


@pytest.mark.parametrize("purged", [{"tag": "items"}, {"path": "/"}, {"path": "/**"}])
async def test_a_request_after_a_purge_does_not_follow_an_earlier_flight(purged: dict[str, str]) -> None:
    harness = CacheHarness(origin := Origin(), DECLARED)
    before = await start_requests(harness, origin, 3)
    await harness.values.purge(**purged)
    after = [asyncio.create_task(harness.fetch()) for _ in range(3)]
    for _ in range(10):
        await asyncio.sleep(0)
    origin.gate.set()  # type: ignore[union-attr]
    assert [response.body for response in await asyncio.gather(*before)] == [b"1"] * 3
    assert [response.body for response in await asyncio.gather(*after)] == [b"2"] * 3
    assert ((await harness.fetch()).body, origin.calls) == (b"2", 2)


async def test_a_purge_of_another_tag_does_not_end_a_flight() -> None:
    harness = CacheHarness(origin := Origin(), DECLARED, store=MemoryStore(2**20))
    tasks = await start_requests(harness, origin, 2)
    await harness.values.purge(tag="users")
    tasks.append(asyncio.create_task(harness.fetch()))
    for _ in range(10):
        await asyncio.sleep(0)
    origin.gate.set()  # type: ignore[union-attr]
    assert [response.body for response in await asyncio.gather(*tasks)] == [b"1"] * 3


async def test_a_request_after_a_purge_does_not_follow_a_response_whose_body_is_being_sent() -> None:
    @cached(ttl="1m", tags=["items"])
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["endpoint"] = app
        await stream(scope, receive, send)

    stream = Stream(())
    harness = CacheHarness(app)
    first, second = Reader(harness), Reader(harness)
    stream.parts.put_nowait((b"old", True))
    await until(lambda: first.response.body == second.response.body == b"old")
    await harness.values.purge(tag="items")
    third = Reader(harness)
    await until(lambda: stream.calls == 2)
    for part in (b"er", b"new"):
        stream.parts.put_nowait((part, False))
    await asyncio.gather(first.task, second.task, third.task)
    assert [reader.response.body for reader in (first, second, third)] == [b"older", b"older", b"new"]
    assert (await harness.fetch()).body == b"new"


async def test_a_stale_response_is_not_replaced_by_one_whose_call_began_before_a_purge() -> None:
    stale = Reply([(CC, "max-age=1, stale-if-error=60")])
    harness = CacheHarness(origin := Origin(stale), (("/", CachePolicy(tags=(b"tag:items",))),))
    await harness.fetch()
    harness.pass_time(2)
    origin.gate = asyncio.Event()
    before = asyncio.create_task(harness.fetch())
    await until(lambda: origin.calls == 2)
    await harness.values.purge(tag="items")
    gate, origin.gate = origin.gate, None
    assert (await harness.fetch()).body == b"3"
    harness.pass_time(2)
    after = asyncio.create_task(harness.fetch())
    for _ in range(10):
        await asyncio.sleep(0)
    gate.set()
    await before
    assert (await after).body == b"4"
