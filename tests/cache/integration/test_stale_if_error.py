"""stale-if-error when the new response of the application must not be stored."""

from __future__ import annotations

import asyncio

import pytest
from starlette.types import Message, Receive, Scope, Send

from scalekit.testing import ReceivedResponse
from scalekit_cache.policies import CachePolicy
from tests.cache.harness import CacheHarness, Origin, Reply, collecting

pytestmark = pytest.mark.anyio

CC = "Cache-Control"
STANDS_IN = Reply([(CC, "max-age=2, stale-if-error=600"), ("ETag", '"1"')])
NOT_KEPT = [
    Reply([(CC, "no-store")]),
    Reply([(CC, "private, max-age=60")]),
    Reply([(CC, "max-age=60"), ("Set-Cookie", "a=b")]),
    Reply([(CC, "max-age=60"), ("Vary", "*")]),
    Reply(),
    Reply(status=404),
    Reply([(CC, "max-age=60"), ("Content-Length", str(2**17))], body=b"x" * 2**17),
    Reply([(CC, "max-age=0")]),
]


@pytest.mark.parametrize("reply", NOT_KEPT, ids=lambda reply: f"{reply.status} {reply.headers[:2]}")
@pytest.mark.parametrize("kind", ["stale-if-error", "stale-while-revalidate", "validation"])
async def test_each_request_calls_the_application_once_and_the_stale_response_is_removed(
    reply: Reply, kind: str
) -> None:
    control = f"max-age=2, {kind}=600" if kind != "validation" else "max-age=2"
    harness = CacheHarness(origin := Origin(Reply([(CC, control), ("ETag", '"1"')]), reply))
    await harness.fetch()
    harness.pass_time(3)
    response = await harness.fetch()
    await harness.settle()
    is_given = kind == "stale-while-revalidate"
    assert response.status == (200 if is_given else reply.status)
    assert response.body == (b"1" if is_given else reply.body or b"2")
    assert origin.calls == 2
    response = await harness.fetch()
    assert response.body == (reply.body or b"3")
    assert origin.calls == 3
    assert origin.header("if-none-match") is None, "the stale response was removed"
    assert (response.header("cache-status") or "").startswith("scalekit; fwd=uri-miss; fwd-status=")


async def test_each_waiting_request_gets_its_own_response() -> None:
    harness = CacheHarness(origin := Origin(STANDS_IN, Reply([(CC, "no-store")])))
    await harness.fetch()
    harness.pass_time(3)
    origin.gate = asyncio.Event()
    tasks = [asyncio.create_task(harness.fetch()) for _ in range(5)]
    await asyncio.sleep(0.05)
    origin.gate.set()
    assert len({response.body for response in await asyncio.gather(*tasks)}) == 5
    assert origin.calls == 6


async def test_a_private_304_is_sent_to_the_leader_only() -> None:
    private = [Reply([(CC, "private"), ("ETag", tag)]) for tag in ('"1"', '"2"')]
    harness = CacheHarness(origin := Origin(STANDS_IN, *private))
    await harness.fetch()
    harness.pass_time(3)
    origin.gate = asyncio.Event()
    tasks = [asyncio.create_task(harness.fetch()) for _ in range(3)]
    await asyncio.sleep(0.05)
    origin.gate.set()
    assert sorted(response.body for response in await asyncio.gather(*tasks)) == [b"1", b"3", b"4"]
    assert (await harness.fetch()).body == b"5"


async def test_a_head_request_gets_no_body() -> None:
    harness = CacheHarness(Origin(STANDS_IN, Reply([(CC, "no-store")])))
    await harness.fetch()
    harness.pass_time(3)
    response = await harness.fetch(method="HEAD")
    assert (response.status, response.body) == (200, b"")
    assert response.header("cache-control") == "no-store"


async def test_a_private_new_response_is_not_sent_to_other_requests() -> None:
    harness = CacheHarness(origin := Origin(STANDS_IN, Reply([(CC, "max-age=60"), ("Vary", "X-Color")])))
    await harness.fetch()
    harness.pass_time(3)
    origin.gate = asyncio.Event()
    origin.validates = False
    tasks = [asyncio.create_task(harness.fetch(headers=[("X-Color", color)])) for color in ("red", "blue", "red")]
    await asyncio.sleep(0.05)
    origin.gate.set()
    red, blue, again = [response.body for response in await asyncio.gather(*tasks)]
    assert red == again != blue


class Endless:
    """Responds once with a storable response, then with a stream that ends when its client disconnects."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.calls = 0
        self.left = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.calls += 1
        headers = STANDS_IN.headers if self.calls == 1 else [(b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"%d" % self.calls, "more_body": self.calls > 1})
        if self.calls > 1:
            if self.error is not None:
                raise self.error
            while (await receive())["type"] != "http.disconnect":
                pass
            self.left.set()


async def never() -> Message:
    await asyncio.Event().wait()
    return {"type": "http.disconnect"}


async def test_a_stream_is_sent_as_it_arrives_and_ends_when_its_client_disconnects() -> None:
    async def receive() -> Message:
        await leave.wait()
        return {"type": "http.disconnect"}

    app = Endless()
    harness = CacheHarness(app, coalesce_timeout=0.01, refresh_timeout=0.2)
    await harness.fetch()
    harness.pass_time(3)
    leave, response = asyncio.Event(), ReceivedResponse()
    task = asyncio.ensure_future(harness.chain(harness.scope(), receive, collecting(response)))
    async with asyncio.timeout(60):
        while response.body != b"2":
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.3)
    assert not task.done(), "it has no timeout"
    leave.set()
    await asyncio.wait_for(app.left.wait(), 60)
    await task


async def test_a_stream_ends_with_the_task_of_its_client() -> None:
    app = Endless()
    harness = CacheHarness(app)
    await harness.fetch()
    harness.pass_time(3)
    response = ReceivedResponse()
    task = asyncio.ensure_future(harness.chain(harness.scope(), never, collecting(response)))
    async with asyncio.timeout(60):
        while response.body != b"2":
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    async with asyncio.timeout(60):
        while harness.cache._refreshes:
            await asyncio.sleep(0.01)


async def test_a_stream_that_breaks_off_fails() -> None:
    harness = CacheHarness(Endless(ValueError("broken")))
    await harness.fetch()
    harness.pass_time(3)
    with pytest.raises(ValueError, match="broken"):
        await harness.fetch()


async def test_a_late_response_is_discarded_and_removes_the_stale_one() -> None:
    harness = CacheHarness(origin := Origin(STANDS_IN, Reply([(CC, "no-store")])), coalesce_timeout=0.01)
    await harness.fetch()
    harness.pass_time(3)
    origin.gate = asyncio.Event()
    assert (await harness.fetch()).body == b"1"
    origin.gate.set()
    await harness.settle()
    assert (await harness.fetch()).body == b"3"


async def test_a_response_that_is_private_to_its_request_does_not_remove_the_stale_one() -> None:
    policy = CachePolicy(ttl=2.0, stale_if_error=600.0)
    harness = CacheHarness(origin := Origin(Reply([("ETag", '"1"')])), [("/**", policy)])
    await harness.fetch()
    harness.pass_time(3)
    await harness.fetch(headers=[("Cookie", "a=b")])
    harness.pass_time(-3)
    assert (await harness.fetch()).body == b"1"
    assert origin.calls == 2
