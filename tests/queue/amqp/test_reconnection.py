"""A consumer of RabbitMQ never dies silently, and a publish never hangs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

import aiormq
import pytest

from scalekit.contracts import QUEUE, Queue
from scalekit.contracts.consumers import Consumers, Message, PublishFailed
from scalekit.health.monitor import Status
from scalekit.host import Host
from scalekit_queue.amqp.consumer import AmqpConsumer
from scalekit_queue.amqp.publisher import AmqpPublisher
from scalekit_queue.service import QueueService
from tests.queue.harness import LIMIT, serving, until
from tests.servers import RabbitMQ

pytestmark = [pytest.mark.anyio, pytest.mark.needs("rabbitmq")]
Table = dict[str, Any]


@pytest.fixture(scope="module")
def server() -> Iterator[RabbitMQ]:
    """Return a broker that may be ill-treated."""
    with RabbitMQ() as server:
        yield server


class Taking:
    """An application that consumes numbers."""

    def __init__(self, host: Host, seen: list[int]) -> None:
        self.host = host
        self.seen = seen
        self.queue: Queue = host.context.get(QUEUE)
        self._next = 0

    async def goes_on(self) -> None:
        """Publish a number, and wait until it is consumed."""
        self._next += 1
        await self.queue.publish("data.created", self._next, timeout=LIMIT)
        await until(lambda: self._next in self.seen)

    async def health(self) -> str:
        await self.host.monitor.check_once()
        result = self.host.monitor.results["queue"]
        return "" if result.status is Status.HEALTHY else result.last_error

    async def until_health(self, condition: Callable[[str], bool]) -> None:
        async with asyncio.timeout(LIMIT):
            while not condition(await self.health()):
                await asyncio.sleep(0.05)


@asynccontextmanager
async def taking(table: Table) -> AsyncGenerator[Taking, None]:
    consumers = Consumers()
    seen: list[int] = []

    @consumers.on("data.created")
    async def take(message: Message[int]) -> None:
        seen.append(message.body)

    async with serving(table, consumers) as host:
        application = Taking(host, seen)
        await application.goes_on()
        await application.until_health(lambda error: not error)
        yield application


def consuming_of(host: Host) -> AmqpConsumer:
    """Return what consumes, to break it from inside."""
    running = next(value for value in host.context._resources.values() if isinstance(value, QueueService))
    transport: Any = running._transport
    consuming: AmqpConsumer = transport._consuming
    return consuming


def publishing_of(host: Host) -> AmqpPublisher:
    """Return what publishes, to look inside."""
    running = next(value for value in host.context._resources.values() if isinstance(value, QueueService))
    transport: Any = running._transport
    publishing: AmqpPublisher = transport._publishing
    return publishing


async def test_a_queue_that_is_deleted_is_made_again(rabbitmq_table: Table) -> None:
    async with taking(rabbitmq_table) as application:
        async with aiormq.Connection(rabbitmq_table["url"]) as connection:
            channel = await connection.channel()
            await channel.queue_delete(f"{rabbitmq_table['prefix']}data.created")
        await application.goes_on()
        await application.until_health(lambda error: not error)


async def test_connections_that_the_broker_closes_are_made_again(
    rabbitmq_table: Table, shared_rabbitmq: RabbitMQ
) -> None:
    async with taking(rabbitmq_table) as application:
        await asyncio.to_thread(shared_rabbitmq.ctl, "close_all_connections", "for the test")
        await application.goes_on()
        await application.until_health(lambda error: not error)


async def test_a_channel_that_the_broker_closes_is_made_again(rabbitmq_table: Table) -> None:
    async with taking(rabbitmq_table) as application:
        channel = consuming_of(application.host).subscriptions[0].channel
        assert channel is not None
        await channel.raw.basic_ack(999_999, wait=False)  # a tag that it never gave: the broker closes the channel
        await until(lambda: channel.closed)
        await application.goes_on()


async def test_a_consumer_that_the_broker_no_longer_has_is_noticed(rabbitmq_table: Table) -> None:
    async with taking(rabbitmq_table) as application:
        subscription = consuming_of(application.host).subscriptions[0]
        assert subscription.channel is not None
        await subscription.channel.raw.basic_cancel(subscription.tag)  # behind its back
        await application.goes_on()


async def test_a_channel_that_delivers_nothing_while_there_is_something_is_noticed(rabbitmq_table: Table) -> None:
    async with taking(rabbitmq_table) as application:
        subscription = consuming_of(application.host).subscriptions[0]
        channel = subscription.channel
        assert channel is not None
        channel.raw._on_deliver_frame = _lose_frames(channel.raw)  # as if the stream of deliveries had dried up
        lost = asyncio.create_task(application.queue.publish_many("data.created", range(1000, 1200)))
        await lost
        await until(lambda: set(range(1000, 1200)) <= set(application.seen))
        assert subscription.channel is not channel


def _lose_frames(raw: Any) -> Any:
    async def lose(frame: Any) -> None:
        await raw._get_frame()
        await raw._get_frame()

    return lose


async def test_a_broker_that_hangs_is_noticed_by_its_missing_heartbeats(
    rabbitmq_table: Table, server: RabbitMQ
) -> None:
    async with taking({**rabbitmq_table, "url": server.url, "heartbeat": 1}) as application:
        server.pause()
        try:
            began = monotonic()
            with pytest.raises(PublishFailed) as failed:
                await application.queue.publish("data.created", 77, timeout="300ms")
            assert failed.value.maybe_sent
            assert failed.value.status_code == 503
            assert monotonic() - began < LIMIT
            await application.until_health(bool)
        finally:
            server.resume()
        await application.goes_on()
        await application.until_health(lambda error: not error)


async def test_a_broker_that_is_killed_and_comes_back_is_found_again_and_publishing_says_what_is_known(
    rabbitmq_table: Table, server: RabbitMQ, caplog: pytest.LogCaptureFixture
) -> None:
    async with taking({**rabbitmq_table, "url": server.url}) as application:
        await asyncio.to_thread(server.flush)
        await asyncio.to_thread(server.kill)
        await application.until_health(bool)
        with pytest.raises(PublishFailed) as failed:
            await application.queue.publish("data.created", 78, timeout="300ms")
        assert not failed.value.maybe_sent
        waiting = asyncio.create_task(application.queue.publish("data.created", 79, timeout=LIMIT))
        await asyncio.to_thread(server.start)
        await waiting
        await until(lambda: 79 in application.seen)
        assert 78 not in application.seen
        await application.until_health(lambda error: not error)
    assert "Traceback" not in caplog.text, "an outage is told in a line"


async def test_a_broker_short_of_memory_blocks_who_publishes_and_not_who_acknowledges(
    rabbitmq_table: Table, server: RabbitMQ
) -> None:
    async with taking({**rabbitmq_table, "url": server.url}) as application:
        await asyncio.to_thread(server.ctl, "set_vm_memory_high_watermark", "0.00001")
        async with asyncio.timeout(LIMIT):
            while True:  # the broker blocks a connection when it next publishes
                try:
                    await application.queue.publish("data.created", 80, timeout="300ms")
                except PublishFailed:
                    break
        await application.until_health(lambda error: "blocked" in error)
        await asyncio.to_thread(server.ctl, "set_vm_memory_high_watermark", "0.4")
        await application.goes_on()
        await application.until_health(lambda error: not error)


async def test_what_is_in_work_survives_a_reconnect_and_is_not_acknowledged_on_another_channel(
    rabbitmq_table: Table, shared_rabbitmq: RabbitMQ
) -> None:
    consumers = Consumers()
    begun: list[int] = []
    ended: list[int] = []
    go = asyncio.Event()

    @consumers.on("data.created", concurrency=1, prefetch=1)
    async def take(message: Message[int]) -> None:
        begun.append(message.body)
        if len(begun) == 1:
            await go.wait()
        ended.append(message.body)

    async with serving(rabbitmq_table, consumers) as host:
        await host.context.get(QUEUE).publish("data.created", 1)
        await until(lambda: begun)
        subscription = consuming_of(host).subscriptions[0]
        first = subscription.channel
        await asyncio.to_thread(shared_rabbitmq.ctl, "close_all_connections", "for the test")
        await until(lambda: subscription.channel is not first and subscription.held)
        second = subscription.channel
        go.set()
        await until(lambda: len(ended) == 2)
        await host.context.get(QUEUE).publish("data.created", 2, timeout=LIMIT)
        await until(lambda: 2 in ended)
        assert subscription.channel is second
        assert second is not None
        assert not second.closed
    assert ended == [1, 1, 2]


@pytest.mark.usefixtures("impatient")
async def test_what_waits_is_bounded(rabbitmq_table: Table) -> None:
    async with serving({**rabbitmq_table, "url": "amqp://guest:guest@127.0.0.1:9/", "max_waiting": 3}) as host:
        queue = host.context.get(QUEUE)
        waiting = [asyncio.create_task(queue.publish("data.created", number, timeout="2s")) for number in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(PublishFailed, match="too many messages wait"):
            await queue.publish("data.created", 4)
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(each, PublishFailed) and not each.maybe_sent for each in results)


@pytest.mark.usefixtures("impatient")
async def test_messages_whose_publisher_has_given_up_count_no_longer_and_hold_no_body(rabbitmq_table: Table) -> None:
    table = {**rabbitmq_table, "url": "amqp://guest:guest@127.0.0.1:9/", "max_waiting": 3}
    async with serving(table) as host:
        queue = host.context.get(QUEUE)
        for give_up in (timed_out, cancelled):
            await asyncio.gather(*(give_up(queue, number) for number in range(3)))
            assert not publishing_of(host)._waiting


async def timed_out(queue: Queue, number: int) -> None:
    with pytest.raises(PublishFailed, match="not confirmed within"):
        await queue.publish("data.created", number, timeout="50ms")


async def cancelled(queue: Queue, number: int) -> None:
    publishing = asyncio.create_task(queue.publish("data.created", number, timeout=LIMIT))
    await asyncio.sleep(0)
    publishing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await publishing


async def test_the_first_publish_after_an_outage_succeeds_however_many_were_given_up(
    rabbitmq_table: Table, server: RabbitMQ
) -> None:
    async with taking({**rabbitmq_table, "url": server.url}) as application:
        server.pause()
        try:
            given_up = [application.queue.publish("other", number, timeout="500ms") for number in range(2600)]
            failures = await asyncio.gather(*given_up, return_exceptions=True)
        finally:
            server.resume()
        assert all(isinstance(each, PublishFailed) for each in failures)
        await application.goes_on()


async def test_a_broker_that_is_away_at_the_start_is_told_once_and_so_is_its_return(
    server: RabbitMQ, caplog: pytest.LogCaptureFixture
) -> None:
    away, back = "publishing: no connection to the broker", "publishing: the broker can be reached again"
    await asyncio.to_thread(server.kill)
    async with serving({"url": server.url}):
        await until(lambda: away in caplog.text)
        await asyncio.to_thread(server.start)  # which takes seconds, and as many attempts
        await until(lambda: back in caplog.text)
    assert (caplog.text.count(away), caplog.text.count(back)) == (1, 1)
    assert "creating transport" not in caplog.text
