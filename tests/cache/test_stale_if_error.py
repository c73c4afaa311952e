"""stale-if-error when the new response of the application must not be stored."""

from __future__ import annotations

import asyncio

import pytest
from starlette.types import Message, Receive, Scope, Send

from scalekit.testing import TestResponse
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
async def test_the_application_is_asked_once_for_each_request_and_the_old_response_ends(
    reply: Reply, kind: str
) -> None:
    control = f"max-age=2, {kind}=600" if kind != "validation" else "max-age=2"
    harness = CacheHarness(origin := Origin(Reply([(CC, control), ("ETag", '"1"')]), reply))
    await harness.ask()
    harness.pass_time(3)
    answer = await harness.ask()
    await harness.settle()
    is_given = kind == "stale-while-revalidate"
    assert answer.status == (200 if is_given else reply.status)
    assert answer.body == (b"1" if is_given else reply.body or b"2")
    assert origin.calls == 2
    answer = await harness.ask()
    assert answer.body == (reply.body or b"3")
    assert origin.calls == 3
    assert origin.header("if-none-match") is None, "the old response is gone"
    assert (answer.header("cache-status") or "").startswith("scalekit; fwd=uri-miss; fwd-status=")


async def test_all_who_wait_get_one_each() -> None:
    harness = CacheHarness(origin := Origin(STANDS_IN, Reply([(CC, "no-store")])))
    await harness.ask()
    harness.pass_time(3)
    origin.gate = asyncio.Event()
    tasks = [asyncio.create_task(harness.ask()) for _ in range(5)]
    await asyncio.sleep(0.05)
    origin.gate.set()
    assert len({answer.body for answer in await asyncio.gather(*tasks)}) == 5
    assert origin.calls == 6


async def test_a_304_that_says_private_is_for_who_asked() -> None:
    private = [Reply([(CC, "private"), ("ETag", tag)]) for tag in ('"1"', '"2"')]
    harness = CacheHarness(origin := Origin(STANDS_IN, *private))
    await harness.ask()
    harness.pass_time(3)
    origin.gate = asyncio.Event()
    tasks = [asyncio.create_task(harness.ask()) for _ in range(3)]
    await asyncio.sleep(0.05)
    origin.gate.set()
    assert sorted(answer.body for answer in await asyncio.gather(*tasks)) == [b"1", b"3", b"4"]
    assert (await harness.ask()).body == b"5"


async def test_a_head_gets_no_body() -> None:
    harness = CacheHarness(Origin(STANDS_IN, Reply([(CC, "no-store")])))
    await harness.ask()
    harness.pass_time(3)
    answer = await harness.ask(method="HEAD")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.header("cache-control") == "no-store"


async def test_what_shapes_the_new_response_is_not_given_to_others() -> None:
    harness = CacheHarness(origin := Origin(STANDS_IN, Reply([(CC, "max-age=60"), ("Vary", "X-Color")])))
    await harness.ask()
    harness.pass_time(3)
    origin.gate = asyncio.Event()
    origin.validates = False
    tasks = [asyncio.create_task(harness.ask(headers=[("X-Color", color)])) for color in ("red", "blue", "red")]
    await asyncio.sleep(0.05)
    origin.gate.set()
    red, blue, again = [answer.body for answer in await asyncio.gather(*tasks)]
    assert red == again != blue


class Endless:
    """Answers once with what may be kept, and then with a stream that ends when its client has left."""

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


async def test_a_stream_comes_as_it_is_made_and_ends_with_its_client() -> None:
    async def receive() -> Message:
        await leave.wait()
        return {"type": "http.disconnect"}

    app = Endless()
    harness = CacheHarness(app, coalesce_timeout=0.01, refresh_timeout=0.2)
    await harness.ask()
    harness.pass_time(3)
    leave, answer = asyncio.Event(), TestResponse()
    task = asyncio.ensure_future(harness.chain(harness.scope(), receive, collecting(answer)))
    async with asyncio.timeout(60):
        while answer.body != b"2":
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.3)
    assert not task.done(), "no deadline cuts it"
    leave.set()
    await asyncio.wait_for(app.left.wait(), 60)
    await task


async def test_a_stream_ends_with_the_task_of_its_client() -> None:
    app = Endless()
    harness = CacheHarness(app)
    await harness.ask()
    harness.pass_time(3)
    answer = TestResponse()
    task = asyncio.ensure_future(harness.chain(harness.scope(), never, collecting(answer)))
    async with asyncio.timeout(60):
        while answer.body != b"2":
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    async with asyncio.timeout(60):
        while harness.cache._refreshes:
            await asyncio.sleep(0.01)


async def test_a_stream_that_breaks_is_seen_to_break() -> None:
    harness = CacheHarness(Endless(ValueError("broken")))
    await harness.ask()
    harness.pass_time(3)
    with pytest.raises(ValueError, match="broken"):
        await harness.ask()


async def test_a_response_that_comes_too_late_goes_to_nobody_and_ends_the_old_one() -> None:
    harness = CacheHarness(origin := Origin(STANDS_IN, Reply([(CC, "no-store")])), coalesce_timeout=0.01)
    await harness.ask()
    harness.pass_time(3)
    origin.gate = asyncio.Event()
    assert (await harness.ask()).body == b"1"
    origin.gate.set()
    await harness.settle()
    assert (await harness.ask()).body == b"3"


async def test_what_is_not_stored_because_of_who_asked_ends_nothing() -> None:
    policy = CachePolicy(ttl=2.0, stale_if_error=600.0)
    harness = CacheHarness(origin := Origin(Reply([("ETag", '"1"')])), [("/**", policy)])
    await harness.ask()
    harness.pass_time(3)
    await harness.ask(headers=[("Cookie", "a=b")])
    harness.pass_time(-3)
    assert (await harness.ask()).body == b"1"
    assert origin.calls == 2
