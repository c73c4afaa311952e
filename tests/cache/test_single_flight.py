"""Single flight, stale-while-revalidate and stale-if-error."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from starlette.types import Message, Receive, Scope, Send

from scalekit.testing import TestResponse
from scalekit_cache import cached
from scalekit_cache.policies import CachePolicy
from scalekit_caching.memory_store import MemoryStore
from tests.cache.harness import CacheHarness, Origin, Reply, collecting, empty_body

pytestmark = pytest.mark.anyio

CC = "Cache-Control"
FRESH = Reply([(CC, "max-age=60")])


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0)


async def held(harness: CacheHarness, origin: Origin, number: int) -> list[asyncio.Task[TestResponse]]:
    """Start *number* requests for one thing, of which the application holds those that reach it."""
    origin.gate = asyncio.Event()
    tasks = [asyncio.create_task(harness.ask()) for _ in range(number)]
    await until(lambda: origin.calls)
    for _ in range(10):
        await asyncio.sleep(0)
    return tasks


async def test_twenty_cold_requests_at_once_are_one_call() -> None:
    harness = CacheHarness(origin := Origin(FRESH))
    tasks = await held(harness, origin, 20)
    assert origin.calls == 1
    origin.gate.set()  # type: ignore[union-attr]
    answers = await asyncio.gather(*tasks)
    assert {answer.body for answer in answers} == {b"1"}
    assert [answer.header("cache-status") for answer in answers[1:]] == ["scalekit; fwd=uri-miss; collapsed"] * 19
    assert origin.calls == 1


async def test_requests_with_other_keys_do_not_wait_for_each_other() -> None:
    harness = CacheHarness(origin := Origin(FRESH))
    origin.gate = asyncio.Event()
    tasks = [asyncio.create_task(harness.ask(f"/{number}")) for number in range(5)]
    await until(lambda: origin.calls == 5)
    origin.gate.set()
    await asyncio.gather(*tasks)


async def test_when_the_leader_is_cancelled_one_follower_leads_on() -> None:
    harness = CacheHarness(origin := Origin(FRESH))
    tasks = await held(harness, origin, 10)
    tasks[0].cancel()
    await until(lambda: origin.calls == 2)
    for _ in range(10):
        await asyncio.sleep(0)
    assert origin.calls == 2
    origin.gate.set()  # type: ignore[union-attr]
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert {answer.body for answer in answers[1:] if isinstance(answer, TestResponse)} == {b"2"}
    assert origin.calls == 2
    assert (await harness.ask()).body == b"2"


async def test_when_leader_and_next_leader_are_cancelled_at_once_another_leads_on() -> None:
    harness = CacheHarness(origin := Origin(FRESH))
    tasks = await held(harness, origin, 6)
    for task in tasks[:3]:
        task.cancel()
    await until(lambda: origin.calls == 2)
    origin.gate.set()  # type: ignore[union-attr]
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [getattr(answer, "body", None) for answer in answers] == [None, None, None, b"2", b"2", b"2"]
    assert harness.cache._flights == {}


async def test_all_can_be_cancelled_and_nothing_is_left() -> None:
    harness = CacheHarness(origin := Origin(FRESH))
    tasks = await held(harness, origin, 6)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert harness.cache._flights == {}
    origin.gate = None
    assert (await harness.ask()).status == 200


async def test_when_the_leader_fails_one_follower_leads_on() -> None:
    harness = CacheHarness(origin := Origin(Reply(error=OSError("gone")), FRESH))
    tasks = await held(harness, origin, 10)
    origin.gate.set()  # type: ignore[union-attr]
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(answers[0], OSError)
    assert {answer.body for answer in answers[1:] if isinstance(answer, TestResponse)} == {b"2"}
    assert (origin.calls, harness.cache._flights) == (2, {})


async def test_a_response_that_is_not_for_sharing_lets_all_go_on_at_once_and_nobody_waits_again() -> None:
    harness = CacheHarness(origin := Origin(Reply([(CC, "private")])))
    tasks = await held(harness, origin, 10)
    assert origin.calls == 1
    origin.gate.set()  # type: ignore[union-attr]
    answers = await asyncio.gather(*tasks)
    assert len({answer.body for answer in answers}) == 10
    origin.gate = asyncio.Event()
    tasks = [asyncio.create_task(harness.ask()) for _ in range(5)]
    await until(lambda: origin.calls == 15)
    origin.gate.set()
    await asyncio.gather(*tasks)


async def test_a_request_that_waits_too_long_calls_the_application_itself() -> None:
    harness = CacheHarness(origin := Origin(FRESH), coalesce_timeout=0.01)
    tasks = await held(harness, origin, 3)
    await until(lambda: origin.calls == 3)
    origin.gate.set()  # type: ignore[union-attr]
    assert len({answer.body for answer in await asyncio.gather(*tasks)}) == 3


async def test_followers_of_another_variant_get_their_own() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        asked.append(scope)
        await gate.wait()
        foo = next(value for name, value in scope["headers"] if name == b"foo")
        headers = [(b"cache-control", b"max-age=60"), (b"vary", b"foo")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": foo})

    asked: list[Scope] = []
    gate = asyncio.Event()
    harness = CacheHarness(app)
    tasks = [asyncio.create_task(harness.ask(headers=[("Foo", foo)])) for foo in "121212"]
    await until(lambda: asked)
    gate.set()
    assert [answer.body for answer in await asyncio.gather(*tasks)] == [b"1", b"2"] * 3


class Stream:
    """An application that sends parts when it is told to."""

    def __init__(self, headers: tuple[tuple[bytes, bytes], ...] = ((b"cache-control", b"max-age=60"),)) -> None:
        self.headers = list(headers)
        self.parts: asyncio.Queue[tuple[bytes, bool] | BaseException] = asyncio.Queue()
        self.calls = 0
        self.sent = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.calls += 1
        await send({"type": "http.response.start", "status": 200, "headers": self.headers})
        more = True
        while more:
            part = await self.parts.get()
            if isinstance(part, BaseException):
                raise part
            body, more = part
            await send({"type": "http.response.body", "body": body, "more_body": more})
            self.sent += 1


class Reader:
    """A client that may stop to read."""

    def __init__(self, harness: CacheHarness, **asked: object) -> None:
        self.answer = TestResponse()
        self.reads = asyncio.Event()
        self.reads.set()
        self.leaves = False
        self._collect = collecting(self.answer)
        self.task = asyncio.ensure_future(harness.chain(harness.scope(), empty_body, self.send))

    async def send(self, message: Message) -> None:
        if self.leaves:
            raise OSError("the client left")
        await self.reads.wait()
        await self._collect(message)


async def test_followers_stream_as_the_leader_streams() -> None:
    stream = Stream()
    harness = CacheHarness(stream)
    first, second = Reader(harness), Reader(harness)
    stream.parts.put_nowait((b"one", True))
    await until(lambda: first.answer.body == second.answer.body == b"one")
    third = Reader(harness)
    await until(lambda: third.answer.body == b"one")
    stream.parts.put_nowait((b"two", False))
    await asyncio.gather(first.task, second.task, third.task)
    assert first.answer.body == second.answer.body == third.answer.body == b"onetwo"
    assert (await harness.ask()).body == b"onetwo"
    assert stream.calls == 1


async def test_a_slow_leader_does_not_hold_back_what_has_come() -> None:
    stream = Stream()
    harness = CacheHarness(stream)
    first = Reader(harness)
    first.reads.clear()
    second = Reader(harness)
    first.reads.set()
    stream.parts.put_nowait((b"one", True))
    await until(lambda: first.answer.body == b"one")
    first.reads.clear()
    stream.parts.put_nowait((b"two", False))
    await until(lambda: second.answer.body == b"onetwo")
    assert first.answer.body == b"one"
    first.reads.set()
    await asyncio.gather(first.task, second.task)


async def test_a_leader_whose_client_leaves_serves_its_followers_to_the_end() -> None:
    stream = Stream()
    harness = CacheHarness(stream)
    first, second = Reader(harness), Reader(harness)
    stream.parts.put_nowait((b"one", True))
    await until(lambda: second.answer.body == b"one")
    first.leaves = True
    stream.parts.put_nowait((b"two", True))
    stream.parts.put_nowait((b"three", False))
    await asyncio.gather(first.task, second.task)
    assert second.answer.body == b"onetwothree"


async def test_a_leader_that_is_cancelled_at_the_very_end_leaves_a_whole_response() -> None:
    stream = Stream()
    harness = CacheHarness(stream)
    first, second = Reader(harness), Reader(harness)
    stream.parts.put_nowait((b"one", True))
    await until(lambda: first.answer.body == second.answer.body == b"one")
    first.reads.clear()
    second.reads.clear()
    stream.parts.put_nowait((b"two", False))
    await until(lambda: harness.store.peek_unsynced((b"shop.example", b"/", b"", b"http")) is not None)
    first.task.cancel()
    await asyncio.wait({first.task})
    second.reads.set()
    await second.task
    assert second.answer.body == b"onetwo"


async def test_a_leader_learns_that_its_client_left_once_nobody_follows() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"cache-control", b"max-age=60")]})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        told.append((await receive())["type"])

    async def receive() -> Message:
        await left.wait()
        return {"type": "http.disconnect"}

    told: list[str] = []
    left = asyncio.Event()
    harness = CacheHarness(app)
    leader = asyncio.ensure_future(harness.chain(harness.scope(), receive, collecting(TestResponse())))
    follower = Reader(harness)
    await until(lambda: follower.answer.body == b"one")
    left.set()
    for _ in range(10):
        await asyncio.sleep(0)
    assert told == []
    follower.task.cancel()
    await leader
    assert told == ["http.disconnect"]


async def test_followers_of_a_response_that_breaks_are_cut_and_nothing_is_stored() -> None:
    stream = Stream()
    harness = CacheHarness(stream)
    first, second = Reader(harness), Reader(harness)
    stream.parts.put_nowait((b"one", True))
    await until(lambda: second.answer.body == b"one")
    stream.parts.put_nowait(ValueError("broken"))
    results = await asyncio.gather(first.task, second.task, return_exceptions=True)
    assert [type(each).__name__ for each in results] == ["ValueError", "LeaderFailed"]
    assert harness.cache._flights == {}
    stream.parts.put_nowait((b"whole", False))
    assert (await harness.ask()).body == b"whole"


async def test_a_response_that_turns_out_too_large_is_passed_on_and_not_stored() -> None:
    stream = Stream()
    harness = CacheHarness(stream, max_body=10)
    first, second = Reader(harness), Reader(harness)
    whole = b""
    for number in range(20):
        part = b"%05d" % number
        whole += part
        stream.parts.put_nowait((part, number < 19))
        await until(lambda: first.answer.body == second.answer.body == whole)  # noqa: B023
        flight = next(iter(harness.cache._flights.values()), None)
        assert flight is None or flight._buffered <= 10
    await asyncio.gather(first.task, second.task)
    stream.parts.put_nowait((b"again", False))
    assert (await harness.ask()).body == b"again"
    assert stream.calls == 2


async def test_who_waits_for_a_response_that_turns_out_too_large_gets_it_from_the_beginning() -> None:
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
    assert first.answer.body == second.answer.body == b"12345" * 5 + b"end"
    assert calls == 1


async def test_who_reads_too_slowly_what_is_too_large_is_cut() -> None:
    stream = Stream()
    harness = CacheHarness(stream, max_body=10)
    first, second = Reader(harness), Reader(harness)
    stream.parts.put_nowait((b"12345", True))
    await until(lambda: first.answer.body == second.answer.body == b"12345")
    second.reads.clear()
    for _ in range(5):
        stream.parts.put_nowait((b"12345", True))
    stream.parts.put_nowait((b"end", False))
    await first.task
    assert first.answer.body == b"12345" * 6 + b"end"
    second.reads.set()
    with pytest.raises(Exception, match="shared"):
        await second.task


async def test_what_says_that_it_is_too_large_is_not_waited_for() -> None:
    stream = Stream(((b"cache-control", b"max-age=60"), (b"content-length", b"1000")))
    harness = CacheHarness(stream, max_body=10)
    first, second = Reader(harness), Reader(harness)
    await until(lambda: stream.calls == 2)
    for _ in range(2):
        stream.parts.put_nowait((b"x" * 1000, False))
    await asyncio.gather(first.task, second.task)


async def test_a_response_that_is_shorter_than_it_says_is_not_stored() -> None:
    harness = CacheHarness(origin := Origin(Reply([(CC, "max-age=60"), ("Content-Length", "5")], body=b"1234")))
    await harness.ask()
    await harness.ask()
    assert origin.calls == 2


@pytest.mark.parametrize("kind", ["http.response.pathsend", "http.response.zerocopysend", "http.response.other"])
async def test_what_the_server_sends_by_itself_is_passed_on_and_not_stored(kind: str) -> None:
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


async def test_trailers_and_what_comes_before_the_response_are_passed_on() -> None:
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
        said = (b"cache-status", b"scalekit; fwd=uri-miss; fwd-status=200; detail=trailers")
        assert seen == [messages[0], {**messages[1], "headers": [*messages[1]["headers"], said]}, *messages[2:]]
        assert extensions == [offered] * number


Serve = Callable[[Scope, Receive, Send], Awaitable[None]]
STALE = "max-age=2, stale-while-revalidate=60"


async def test_a_stale_response_is_sent_at_once_while_one_request_refreshes_it() -> None:
    harness = CacheHarness(origin := Origin(Reply([(CC, STALE)])))
    await harness.ask()
    harness.pass_time(3)
    origin.gate = asyncio.Event()
    answers = [await harness.ask() for _ in range(20)]
    assert {answer.body for answer in answers} == {b"1"}
    assert answers[0].header("cache-status") == "scalekit; hit; ttl=-1"
    await until(lambda: origin.calls == 2)
    origin.gate.set()
    await harness.settle()
    assert (await harness.ask()).body == b"2"
    assert origin.calls == 2


async def test_a_refresh_takes_its_time_however_little_of_it_the_client_has() -> None:
    harness = CacheHarness(origin := Origin(Reply([(CC, STALE)])))
    hurried = [("X-Request-Timeout-Ms", "0")]
    await harness.ask(headers=hurried)
    harness.pass_time(3)
    await harness.ask(headers=hurried)
    await harness.settle()
    assert [origin.header("x-request-timeout-ms", call) for call in (0, 1)] == ["0", None]


async def test_after_the_stale_window_a_request_waits() -> None:
    harness = CacheHarness(Origin(Reply([(CC, STALE)])))
    await harness.ask()
    harness.pass_time(63)
    assert (await harness.ask()).body == b"2"


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
async def test_a_stale_response_replaces_a_failure_where_it_may(failure: Reply, control: str, stands_in: bool) -> None:
    harness = CacheHarness(origin := Origin(Reply([(CC, control), ("ETag", '"a"')]), failure))
    first = await harness.ask()
    harness.pass_time(5)
    try:
        answer = await harness.ask()
    except ValueError:
        assert failure.error is not None
        assert not stands_in
    else:
        assert (answer.body == first.body) == stands_in
        assert answer.status == (200 if stands_in else failure.status)
    assert origin.calls == 2


async def test_a_stale_response_replaces_one_that_takes_too_long() -> None:
    harness = CacheHarness(origin := Origin(Reply([(CC, "max-age=2, stale-if-error=60")])), coalesce_timeout=0.01)
    await harness.ask()
    harness.pass_time(3)
    origin.gate = asyncio.Event()
    assert (await harness.ask()).body == b"1"
    origin.gate.set()
    await harness.settle()
    assert (await harness.ask()).body == b"2"


async def test_a_policys_response_is_refreshed_before_it_ends() -> None:
    policy = CachePolicy(ttl=100.0, early_refresh=0.5)
    harness = CacheHarness(origin := Origin(Reply()), [("/**", policy)])
    await harness.ask()
    harness.pass_time(49)
    await harness.ask()
    assert origin.calls == 1
    harness.pass_time(50.9)
    assert (await harness.ask()).body == b"1"
    await harness.settle()
    assert origin.calls == 2
    assert (await harness.ask()).body == b"2"


async def test_early_refreshes_do_not_come_together() -> None:
    harness = CacheHarness(origin := Origin(Reply()), [("/**", CachePolicy(ttl=100.0, early_refresh=0.5))])
    for number in range(100):
        await harness.ask(f"/{number}")
    harness.pass_time(75)
    for number in range(100):
        await harness.ask(f"/{number}")
        await harness.settle()
    assert 120 < origin.calls < 180


async def test_a_refresh_that_fails_is_counted_and_the_next_request_tries_again() -> None:
    harness = CacheHarness(origin := Origin(Reply([(CC, STALE)]), Reply(error=ValueError("x")), Reply([(CC, STALE)])))
    await harness.ask()
    harness.pass_time(3)
    for _ in range(2):
        assert (await harness.ask()).body == b"1"
        await harness.settle()
    assert (await harness.ask()).body == b"3"
    assert harness.metrics.refresh_failed.value == harness.metrics.refresh_done.value == 1
    assert origin.calls == 3


async def test_what_runs_in_the_background_ends_with_the_cache() -> None:
    harness = CacheHarness(origin := Origin(Reply([(CC, STALE)])))
    await harness.ask()
    harness.pass_time(3)
    origin.gate = asyncio.Event()
    before = asyncio.all_tasks()
    await harness.ask()
    assert asyncio.all_tasks() != before
    await harness.cache.close()
    assert asyncio.all_tasks() == before


async def test_a_head_has_the_response_to_get_refreshed() -> None:
    harness = CacheHarness(origin := Origin(Reply([(CC, STALE)])))
    await harness.ask()
    harness.pass_time(3)
    assert (await harness.ask(method="HEAD")).status == 200
    await harness.settle()
    assert [scope["method"] for scope in origin.asked] == ["GET", "GET"]
    assert (await harness.ask()).body == b"2"


async def test_nothing_is_refreshed_in_the_background_once_the_process_drains() -> None:
    harness = CacheHarness(origin := Origin(Reply([(CC, STALE)])))
    await harness.ask()
    harness.pass_time(3)
    harness.cache.drain()
    assert (await harness.ask()).body == b"1"
    await harness.settle()
    assert origin.calls == 1


async def test_a_change_makes_what_is_being_made_at_that_moment_wrong_too() -> None:
    harness = CacheHarness(origin := Origin(FRESH))
    tasks = await held(harness, origin, 4)
    gate, origin.gate = origin.gate, None
    await harness.ask(method="POST")
    after = await harness.ask()
    assert [(await task).body for task in tasks[1:]] == [after.body] * 3 == [b"3"] * 3
    gate.set()  # type: ignore[union-attr]
    assert (await tasks[0]).body == b"1"
    assert (await harness.ask()).body == b"3"
    assert origin.calls == 3


async def test_a_change_in_the_middle_of_a_response_makes_it_wrong_too() -> None:
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
    await until(lambda: first.answer.body == b"one")
    await harness.ask(method="POST")
    stream.parts.put_nowait((b"two", False))
    await first.task
    stream.parts.put_nowait((b"new", False))
    assert (await harness.ask()).body == b"new"
    assert (await harness.ask()).body == b"new"
    assert stream.calls == 2


DECLARED = (("/", CachePolicy(ttl=60, tags=(b"tag:items",))),)


@pytest.mark.parametrize("purged", [{"tag": "items"}, {"path": "/"}, {"path": "/**"}])
async def test_a_request_after_a_purge_does_not_follow_an_earlier_flight(purged: dict[str, str]) -> None:
    harness = CacheHarness(origin := Origin(), DECLARED)
    before = await held(harness, origin, 3)
    await harness.objects.purge(**purged)
    after = [asyncio.create_task(harness.ask()) for _ in range(3)]
    for _ in range(10):
        await asyncio.sleep(0)
    origin.gate.set()  # type: ignore[union-attr]
    assert [answer.body for answer in await asyncio.gather(*before)] == [b"1"] * 3
    assert [answer.body for answer in await asyncio.gather(*after)] == [b"2"] * 3
    assert ((await harness.ask()).body, origin.calls) == (b"2", 2)


async def test_a_purge_of_something_else_lets_all_share() -> None:
    harness = CacheHarness(origin := Origin(), DECLARED, store=MemoryStore(2**20))
    tasks = await held(harness, origin, 2)
    await harness.objects.purge(tag="users")
    tasks.append(asyncio.create_task(harness.ask()))
    for _ in range(10):
        await asyncio.sleep(0)
    origin.gate.set()  # type: ignore[union-attr]
    assert [answer.body for answer in await asyncio.gather(*tasks)] == [b"1"] * 3


async def test_a_purge_of_a_tag_of_the_handler_parts_who_asks_later_in_the_middle_of_a_response() -> None:
    @cached(ttl="1m", tags=["items"])
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["endpoint"] = app
        await stream(scope, receive, send)

    stream = Stream(())
    harness = CacheHarness(app)
    first, second = Reader(harness), Reader(harness)
    stream.parts.put_nowait((b"old", True))
    await until(lambda: first.answer.body == second.answer.body == b"old")
    await harness.objects.purge(tag="items")
    third = Reader(harness)
    await until(lambda: stream.calls == 2)
    for part in (b"er", b"new"):
        stream.parts.put_nowait((part, False))
    await asyncio.gather(first.task, second.task, third.task)
    assert [reader.answer.body for reader in (first, second, third)] == [b"older", b"older", b"new"]
    assert (await harness.ask()).body == b"new"


async def test_a_stale_response_is_not_made_good_by_what_was_begun_before_a_purge() -> None:
    stale = Reply([(CC, "max-age=1, stale-if-error=60")])
    harness = CacheHarness(origin := Origin(stale), (("/", CachePolicy(tags=(b"tag:items",))),))
    await harness.ask()
    harness.pass_time(2)
    origin.gate = asyncio.Event()
    before = asyncio.create_task(harness.ask())
    await until(lambda: origin.calls == 2)
    await harness.objects.purge(tag="items")
    gate, origin.gate = origin.gate, None
    assert (await harness.ask()).body == b"3"
    harness.pass_time(2)
    after = asyncio.create_task(harness.ask())
    for _ in range(10):
        await asyncio.sleep(0)
    gate.set()
    await before
    assert (await after).body == b"4"
