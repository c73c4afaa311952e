"""Delivery, retry, dead letters and drain of a consumer, on both transports."""

from __future__ import annotations

import asyncio
import json
import sys
from time import monotonic, time
from typing import Any

import pytest
from pydantic import BaseModel

from scalekit.contracts import QUEUE, Consumers, Message
from scalekit_queue.envelope import ATTEMPT, FIRST_FAILED, LAST_FAILED, REASON, STACK
from tests.queue.conftest import EVERY_RELEASE
from tests.queue.harness import LIMIT, AnyMessage, open_queue_admin, serving, wait_dead_letters, wait_until

pytestmark = pytest.mark.anyio
Table = dict[str, Any]


@pytest.fixture(params=EVERY_RELEASE)
def table(request: pytest.FixtureRequest) -> Table:
    """Return the table of a queue, for each transport and each release of RabbitMQ."""
    table: Table = request.getfixturevalue(f"{request.param}_table")
    return table


class Created(BaseModel):
    item: int
    name: str = ""


async def test_a_message_is_delivered_as_published(table: Table) -> None:
    consumers = Consumers()
    seen: list[Message[Created]] = []

    @consumers.on("data.created")
    async def take(message: Message[Created]) -> None:
        seen.append(message)

    async with serving(table, consumers) as host:
        queue = host.context.get(QUEUE)
        before = time()
        first = await queue.publish("data.created", Created(item=1, name="é"), headers={"tenant": "a"})
        second = await queue.publish("data.created", {"item": 2}, key="order-2")
        await wait_until(lambda: len(seen) == 2)
    one, two = sorted(seen, key=lambda message: message.body.item)
    assert (one.id, two.id, second) == (first, "order-2", "order-2")
    assert (one.name, one.attempt, one.body) == ("data.created", 1, Created(item=1, name="é"))
    assert one.headers["tenant"] == "a"
    assert one.context is host.context
    assert before - 1 <= one.published <= time()


async def test_each_of_many_messages_is_delivered_once(table: Table) -> None:
    consumers = Consumers()
    seen: list[int] = []

    @consumers.on("data.created")
    async def take(message: Message[int]) -> None:
        seen.append(message.body)

    async with serving(table, consumers) as host:
        ids = await host.context.get(QUEUE).publish_many("data.created", range(2000), timeout="30s")
        assert len(set(ids)) == 2000
        await wait_until(lambda: len(seen) >= 2000)
    assert sorted(seen) == list(range(2000))


async def test_a_message_published_before_its_consumer_starts_waits_for_it(table: Table) -> None:
    async with serving(table) as host:
        await host.context.get(QUEUE).publish("data.created", {"item": 1})
    consumers = Consumers()
    seen: list[Any] = []

    @consumers.on("data.created")
    async def take(message: AnyMessage) -> None:
        seen.append(message.body)

    async with serving(table, consumers):
        await wait_until(lambda: seen)
    assert seen == [{"item": 1}]


async def test_a_delayed_message_is_not_delivered_before_its_delay(table: Table) -> None:
    consumers = Consumers()
    seen: dict[str, float] = {}

    @consumers.on("data.created")
    async def take(message: Message[str]) -> None:
        seen[message.body] = time()

    async with serving(table, consumers) as host:
        queue = host.context.get(QUEUE)
        before = time()
        await queue.publish("data.created", "later", delay="900ms")
        await queue.publish("data.created", "sooner", delay=0.3)
        await queue.publish("data.created", "now")
        await wait_until(lambda: len(seen) == 3)
    assert list(seen) == ["now", "sooner", "later"]
    assert seen["later"] - before >= 0.9
    assert seen["sooner"] - before >= 0.3


async def test_a_handler_that_always_fails_is_retried_with_each_delay_and_leaves_a_dead_letter(table: Table) -> None:
    consumers = Consumers()
    tries: list[tuple[int, float]] = []

    @consumers.on("data.created", retry=["100ms", "300ms"])
    async def fail(message: AnyMessage) -> None:
        tries.append((message.attempt, time()))
        raise ValueError("out of stock")

    began = time()
    async with serving(table, consumers) as host:
        identifier = await host.context.get(QUEUE).publish("data.created", {"item": 1}, headers={"tenant": "a"})
        (letter,) = await wait_dead_letters(table, "data.created", 1)
    assert [attempt for attempt, _ in tries] == [1, 2, 3]
    assert tries[1][1] - tries[0][1] >= 0.1
    assert tries[2][1] - tries[1][1] >= 0.3
    assert (letter.id, json.loads(letter.body), letter.headers["tenant"]) == (identifier, {"item": 1}, "a")
    assert letter.headers[REASON] == "ValueError: out of stock"
    assert "in fail" in letter.headers[STACK]
    assert letter.headers[ATTEMPT] == "3"
    assert began - 1 < float(letter.headers[FIRST_FAILED]) < float(letter.headers[LAST_FAILED]) - 0.3


async def test_an_error_with_undecodable_names_leaves_a_dead_letter(table: Table) -> None:
    consumers = Consumers()

    @consumers.on("data.created", retry=[])
    async def fail(message: AnyMessage) -> None:
        raise FileNotFoundError(b"caf\xe9\x00".decode("utf-8", "surrogateescape"))

    async with serving(table, consumers) as host:
        await host.context.get(QUEUE).publish("data.created", 1)
        (letter,) = await wait_dead_letters(table, "data.created", 1)
    assert letter.headers[REASON] == "FileNotFoundError: caf?"
    assert "FileNotFoundError: caf?" in letter.headers[STACK]


async def test_a_handler_that_awaits_a_cancelled_task_is_retried_and_leaves_a_dead_letter(table: Table) -> None:
    consumers = Consumers()
    attempts: list[int] = []

    @consumers.on("data.created", retry=["50ms"])
    async def fail(message: AnyMessage) -> None:
        attempts.append(message.attempt)
        task = asyncio.create_task(asyncio.Event().wait())
        task.cancel()
        await task

    async with serving(table, consumers) as host:
        await host.context.get(QUEUE).publish("data.created", 1)
        (letter,) = await wait_dead_letters(table, "data.created", 1)
    assert attempts == [1, 2]
    assert letter.headers[REASON] == "HandlerCancelled: the handler awaited something that was cancelled"


async def test_a_handler_that_calls_exit_does_not_end_the_process(table: Table) -> None:
    consumers = Consumers()

    @consumers.on("data.created", retry=[])
    async def fail(message: AnyMessage) -> None:
        sys.exit("done")

    async with serving(table, consumers) as host:
        await host.context.get(QUEUE).publish("data.created", 1)
        (letter,) = await wait_dead_letters(table, "data.created", 1)
    assert letter.headers[REASON] == "HandlerExited: the handler called sys.exit('done')"


async def test_a_handler_that_succeeds_at_a_retry_leaves_no_dead_letter(table: Table) -> None:
    consumers = Consumers()
    tries: list[int] = []

    @consumers.on("data.created", retry=["50ms"])
    async def recover(message: AnyMessage) -> None:
        tries.append(message.attempt)
        if message.attempt == 1:
            raise ConnectionError

    async with serving(table, consumers) as host:
        await host.context.get(QUEUE).publish("data.created", None)
        await wait_until(lambda: len(tries) == 2)
    async with open_queue_admin(table) as queue:
        depth = await queue.depth("data.created")
    assert (tries, depth.ready, depth.dead) == ([1, 2], 0, 0)


async def test_a_hanging_handler_is_cancelled_at_its_timeout_while_others_continue(table: Table) -> None:
    consumers = Consumers()
    seen: list[str] = []

    @consumers.on("data.created", retry=[], timeout="300ms", concurrency=2)
    async def hang(message: Message[str]) -> None:
        if message.body == "hang":
            await asyncio.Event().wait()
        seen.append(message.body)

    async with serving(table, consumers) as host:
        await host.context.get(QUEUE).publish_many("data.created", ["hang", "hang", "go", "hang", "on"])
        await wait_until(lambda: len(seen) == 2)
        letters = await wait_dead_letters(table, "data.created", 3)
    assert {letter.headers[REASON] for letter in letters} == {"timed out after 0.3s"}


@pytest.mark.parametrize("body", ["not a number", {"item": "x"}, None])
async def test_an_undecodable_message_becomes_a_dead_letter_without_retry(table: Table, body: Any) -> None:
    consumers = Consumers()
    seen: list[Created] = []

    @consumers.on("data.created", retry=["10ms"] * 5)
    async def take(message: Message[Created]) -> None:
        seen.append(message.body)

    async with serving(table, consumers) as host:
        queue = host.context.get(QUEUE)
        await queue.publish("data.created", body)
        await queue.publish("data.created", {"item": 5})
        await wait_until(lambda: seen)
        (letter,) = await wait_dead_letters(table, "data.created", 1)
    assert seen == [Created(item=5)]
    assert letter.headers[ATTEMPT] == "1"
    assert letter.headers[REASON].split(":")[0] in ("the body", "item")


@pytest.mark.slow
async def test_a_message_of_ten_megabytes_is_delivered_and_one_over_max_body_is_rejected(table: Table) -> None:
    consumers = Consumers()
    seen: list[str] = []

    @consumers.on("data.created")
    async def take(message: Message[str]) -> None:
        seen.append(message.body)

    large = "x" * 10_000_000
    async with serving({**table, "max_body": "11MB"}, consumers) as host:
        queue = host.context.get(QUEUE)
        await queue.publish("data.created", large, timeout="30s")
        with pytest.raises(ValueError, match="more than max_body 11MB"):
            await queue.publish("data.created", "x" * 11_000_000)
        await wait_until(lambda: seen)
    assert seen == [large]


async def test_no_more_handlers_than_concurrency_run_at_once(table: Table) -> None:
    consumers = Consumers()
    running = most = done = 0

    @consumers.on("data.created", prefetch=8, concurrency=4)
    async def take(message: AnyMessage) -> None:
        nonlocal running, most, done
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.002)
        running -= 1
        done += 1

    async with serving(table, consumers) as host:
        await host.context.get(QUEUE).publish_many("data.created", range(200))
        await wait_until(lambda: done == 200)
    assert most == 4


async def test_handlers_start_no_faster_than_the_rate(table: Table) -> None:
    consumers = Consumers()
    starts: list[float] = []

    @consumers.on("data.created", rate="20/s")
    async def take(message: AnyMessage) -> None:
        starts.append(monotonic())

    before = monotonic()
    async with serving(table, consumers) as host:
        await host.context.get(QUEUE).publish_many("data.created", range(8))
        await wait_until(lambda: len(starts) == 8)
        assert starts[-1] - before >= 7 * 0.05


async def test_messages_that_wait_for_the_rate_are_requeued_at_shutdown(sqlite_table: Table) -> None:
    consumers = Consumers()
    seen: list[int] = []

    @consumers.on("data.created", rate="1/1h")
    async def take(message: Message[int]) -> None:
        seen.append(message.body)

    for count in (1, 2):
        async with serving(sqlite_table, consumers) as host:
            if count == 1:
                await host.context.get(QUEUE).publish_many("data.created", range(5))
            await wait_until(lambda: len(seen) == count)  # noqa: B023
    assert seen == [0, 1]
    async with open_queue_admin(sqlite_table) as queue:
        assert (await queue.depth("data.created")).ready == 3


async def test_drain_finishes_running_handlers_and_requeues_the_other_messages(table: Table) -> None:
    consumers = Consumers()
    begun: list[int] = []
    ended: list[int] = []
    go = asyncio.Event()

    @consumers.on("data.created", prefetch=10, concurrency=2)
    async def take(message: Message[int]) -> None:
        begun.append(message.body)
        await go.wait()
        ended.append(message.body)

    async with serving(table, consumers) as host:
        await host.context.get(QUEUE).publish_many("data.created", range(10))
        await wait_until(lambda: len(begun) == 2)
        asyncio.get_running_loop().call_later(0.3, go.set)
    assert sorted(ended) == sorted(begun)
    assert len(begun) == 2
    async with serving(table, consumers):
        await wait_until(lambda: len(ended) == 10)
    assert sorted(ended) == list(range(10))


async def test_a_handler_that_exceeds_drain_timeout_is_cancelled_and_its_message_requeued(
    table: Table,
) -> None:
    consumers = Consumers()
    attempts: list[int] = []

    @consumers.on("data.created")
    async def take(message: AnyMessage) -> None:
        attempts.append(message.attempt)
        if len(attempts) == 1:
            await asyncio.Event().wait()

    async with serving({**table, "drain_timeout": "200ms"}, consumers) as host:
        await host.context.get(QUEUE).publish("data.created", 1)
        await wait_until(lambda: attempts)
    async with serving(table, consumers):
        await wait_until(lambda: len(attempts) == 2)
    assert attempts == [1, 1]


async def test_dead_letters_are_listed_replayed_and_purged(table: Table) -> None:
    consumers = Consumers()
    broken = True
    seen: list[tuple[int, int]] = []

    @consumers.on("data.created", retry=[])
    async def take(message: Message[int]) -> None:
        if broken:
            raise RuntimeError
        seen.append((message.body, message.attempt))

    async with serving(table, consumers) as host:
        ids = await host.context.get(QUEUE).publish_many("data.created", range(5))
        letters = await wait_dead_letters(table, "data.created", 5)
        assert {letter.id for letter in letters} == set(ids)
        broken = False
        async with open_queue_admin(table) as queue:
            assert (await queue.depth("data.created")).dead == 5
            assert await queue.replay("data.created", [ids[3], "none"], 1) == 1
            await wait_until(lambda: seen)
            assert seen == [(3, 1)]
            assert await queue.replay("data.created", [], 2) == 2
            await wait_until(lambda: len(seen) == 3)
            assert await queue.purge("data.created", True) == 2
            assert (await queue.depth("data.created")).dead == 0


async def test_ready_messages_are_counted_listed_and_purged(table: Table) -> None:
    async with serving(table) as host:
        await host.context.get(QUEUE).publish_many("data.created", range(5))
    async with open_queue_admin(table) as queue:
        assert [json.loads(each.body) for each in await queue.peek("data.created", False, 3)] == [0, 1, 2]
        async with asyncio.timeout(LIMIT):  # a quorum queue requeues them with a delay
            while (await queue.depth("data.created")).ready != 5:
                await asyncio.sleep(0.01)
        assert await queue.purge("data.created", False) == 5
        assert await queue.peek("data.created", False, 3) == []
        assert (await queue.depth("never.published")).ready == 0


async def test_a_web_process_does_not_consume_with_consume_in_workers(table: Table) -> None:
    consumers = Consumers()

    @consumers.on("data.created")
    async def take(message: AnyMessage) -> None:
        raise AssertionError

    async with serving({**table, "consume_in": "workers"}, consumers) as host:
        await host.context.get(QUEUE).publish("data.created", 1)
    async with open_queue_admin(table) as queue:
        assert (await queue.depth("data.created")).ready == 1
