"""A response is sent to its client and to followers as it arrives, and stored at its end."""

from __future__ import annotations

import asyncio

import pytest
from starlette.types import Message, Receive, Scope, Send

from scalekit.testing import ReceivedResponse
from tests.cache.harness import CacheHarness, Origin, Reader, Reply, Stream, collecting, empty_body, until

pytestmark = pytest.mark.anyio
CC = "Cache-Control"


async def test_followers_get_each_chunk_when_the_leader_gets_it() -> None:
    stream = Stream()
    harness = CacheHarness(stream)
    first, second = Reader(harness), Reader(harness)
    stream.parts.put_nowait((b"one", True))
    await until(lambda: first.response.body == second.response.body == b"one")
    third = Reader(harness)
    await until(lambda: third.response.body == b"one")
    stream.parts.put_nowait((b"two", False))
    await asyncio.gather(first.task, second.task, third.task)
    assert first.response.body == second.response.body == third.response.body == b"onetwo"
    assert (await harness.fetch()).body == b"onetwo"
    assert stream.calls == 1


async def test_a_slow_client_of_the_leader_does_not_delay_followers() -> None:
    stream = Stream()
    harness = CacheHarness(stream)
    first = Reader(harness)
    first.reads.clear()
    second = Reader(harness)
    first.reads.set()
    stream.parts.put_nowait((b"one", True))
    await until(lambda: first.response.body == b"one")
    first.reads.clear()
    stream.parts.put_nowait((b"two", False))
    await until(lambda: second.response.body == b"onetwo")
    assert first.response.body == b"one"
    first.reads.set()
    await asyncio.gather(first.task, second.task)


async def test_followers_get_the_whole_response_after_the_client_of_the_leader_has_disconnected() -> None:
    stream = Stream()
    harness = CacheHarness(stream)
    first, second = Reader(harness), Reader(harness)
    stream.parts.put_nowait((b"one", True))
    await until(lambda: second.response.body == b"one")
    first.leaves = True
    stream.parts.put_nowait((b"two", True))
    stream.parts.put_nowait((b"three", False))
    await asyncio.gather(first.task, second.task)
    assert second.response.body == b"onetwothree"


async def test_followers_get_the_whole_response_when_the_leader_is_cancelled_at_its_end() -> None:
    stream = Stream()
    harness = CacheHarness(stream)
    first, second = Reader(harness), Reader(harness)
    stream.parts.put_nowait((b"one", True))
    await until(lambda: first.response.body == second.response.body == b"one")
    first.reads.clear()
    second.reads.clear()
    stream.parts.put_nowait((b"two", False))
    await until(lambda: harness.store.peek_unsynced((b"shop.example", b"/", b"", b"http")) is not None)
    first.task.cancel()
    await asyncio.wait({first.task})
    second.reads.set()
    await second.task
    assert second.response.body == b"onetwo"


async def test_the_application_gets_the_disconnect_when_the_last_follower_has_left() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"cache-control", b"max-age=60")]})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        seen.append((await receive())["type"])

    async def receive() -> Message:
        await left.wait()
        return {"type": "http.disconnect"}

    seen: list[str] = []
    left = asyncio.Event()
    harness = CacheHarness(app)
    leader = asyncio.ensure_future(harness.chain(harness.scope(), receive, collecting(ReceivedResponse())))
    follower = Reader(harness)
    await until(lambda: follower.response.body == b"one")
    left.set()
    for _ in range(10):
        await asyncio.sleep(0)
    assert seen == []
    follower.task.cancel()
    await leader
    assert seen == ["http.disconnect"]


async def test_when_a_response_breaks_off_its_followers_fail_and_nothing_is_stored() -> None:
    stream = Stream()
    harness = CacheHarness(stream)
    first, second = Reader(harness), Reader(harness)
    stream.parts.put_nowait((b"one", True))
    await until(lambda: second.response.body == b"one")
    stream.parts.put_nowait(ValueError("broken"))
    results = await asyncio.gather(first.task, second.task, return_exceptions=True)
    assert [type(each).__name__ for each in results] == ["ValueError", "LeaderFailed"]
    assert harness.cache._flights == {}
    stream.parts.put_nowait((b"whole", False))
    assert (await harness.fetch()).body == b"whole"


async def test_a_response_that_exceeds_max_body_is_streamed_and_not_stored() -> None:
    stream = Stream()
    harness = CacheHarness(stream, max_body=10)
    first, second = Reader(harness), Reader(harness)
    whole = b""
    for number in range(20):
        part = b"%05d" % number
        whole += part
        stream.parts.put_nowait((part, number < 19))
        await until(lambda: first.response.body == second.response.body == whole)  # noqa: B023
        flight = next(iter(harness.cache._flights.values()), None)
        assert flight is None or flight._buffered <= 10
    await asyncio.gather(first.task, second.task)
    stream.parts.put_nowait((b"again", False))
    assert (await harness.fetch()).body == b"again"
    assert stream.calls == 2


async def test_a_waiting_request_gets_a_response_that_exceeds_max_body_from_its_beginning() -> None:
    calls = 0
    gate = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal calls
        calls += 1
        await gate.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"cache-control", b"max-age=60")]})
        for _ in range(5):
            await send({"type": "http.response.body", "body": b"12345", "more_body": True})
        await send({"type": "http.response.body", "body": b"end"})

    harness = CacheHarness(app, max_body=10)
    first, second = Reader(harness), Reader(harness)
    await until(lambda: calls)
    gate.set()
    await asyncio.gather(first.task, second.task)
    assert first.response.body == second.response.body == b"12345" * 5 + b"end"
    assert calls == 1


async def test_a_slow_follower_of_a_response_that_exceeds_max_body_fails() -> None:
    stream = Stream()
    harness = CacheHarness(stream, max_body=10)
    first, second = Reader(harness), Reader(harness)
    stream.parts.put_nowait((b"12345", True))
    await until(lambda: first.response.body == second.response.body == b"12345")
    second.reads.clear()
    for _ in range(5):
        stream.parts.put_nowait((b"12345", True))
    stream.parts.put_nowait((b"end", False))
    await first.task
    assert first.response.body == b"12345" * 6 + b"end"
    second.reads.set()
    with pytest.raises(Exception, match="shared"):
        await second.task


async def test_requests_do_not_wait_for_a_response_with_a_content_length_above_max_body() -> None:
    stream = Stream(((b"cache-control", b"max-age=60"), (b"content-length", b"1000")))
    harness = CacheHarness(stream, max_body=10)
    first, second = Reader(harness), Reader(harness)
    await until(lambda: stream.calls == 2)
    for _ in range(2):
        stream.parts.put_nowait((b"x" * 1000, False))
    await asyncio.gather(first.task, second.task)


async def test_a_response_shorter_than_its_content_length_is_not_stored() -> None:
    harness = CacheHarness(origin := Origin(Reply([(CC, "max-age=60"), ("Content-Length", "5")], body=b"1234")))
    await harness.fetch()
    await harness.fetch()
    assert origin.calls == 2


@pytest.mark.parametrize("kind", ["http.response.pathsend", "http.response.zerocopysend", "http.response.other"])
async def test_messages_of_server_extensions_are_forwarded_and_not_stored(kind: str) -> None:
    calls = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal calls
        calls += 1
        headers = [(b"cache-control", b"max-age=60")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": kind, "path": "/x"})

    harness = CacheHarness(app)
    for number in (1, 2):
        seen: list[str] = []

        async def send(message: Message, seen: list[str] = seen) -> None:
            seen.append(message["type"])

        await harness.chain(harness.scope(), empty_body, send)
        assert (seen, calls) == (["http.response.start", kind], number)


async def test_trailers_and_early_hints_are_forwarded() -> None:
    messages: list[Message] = [
        {"type": "http.response.early_hint", "links": [b"</style.css>; rel=preload"]},
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"cache-control", b"max-age=60"), (b"trailer", b"digest")],
            "trailers": True,
        },
        {"type": "http.response.body", "body": b"whole"},
        {"type": "http.response.trailers", "headers": [(b"digest", b"x")], "more_trailers": False},
    ]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        extensions.append(scope["extensions"])
        for message in messages:
            await send(message)

    extensions: list[object] = []
    harness = CacheHarness(app)
    offered: dict[str, object] = {"http.response.trailers": {}, "http.response.early_hint": {}, "other": {}}
    for number in (1, 2):
        seen: list[Message] = []

        async def send(message: Message, seen: list[Message] = seen) -> None:
            seen.append(message)

        await harness.chain(harness.scope(extensions=offered), empty_body, send)
        field = (b"cache-status", b"scalekit; fwd=uri-miss; fwd-status=200; detail=trailers")
        assert seen == [messages[0], {**messages[1], "headers": [*messages[1]["headers"], field]}, *messages[2:]]
        assert extensions == [offered] * number
