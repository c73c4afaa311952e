"""Consumers reconnect after every failure of RabbitMQ, and publish fails within its timeout."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

import aiormq
import pytest

from scalekit.contracts import QUEUE, Consumers, Message, PublishFailed, Queue
from scalekit.health.monitor import Status
from scalekit.host import Host
from scalekit_queue.amqp.consumer import AmqpConsumer
from scalekit_queue.amqp.publisher import AmqpPublisher
from scalekit_queue.service import QueueService
from tests.queue.harness import LIMIT, serving, wait_until
from tests.servers import RabbitMQ

pytestmark = [pytest.mark.anyio, pytest.mark.needs("rabbitmq")]
Table = dict[str, Any]


class ConsumingApplication:
    """A running application whose consumer records numbers."""

    def __init__(self, host: Host, seen: list[int]) -> None:
        self.host = host
        self.seen = seen
        self.queue: Queue = host.context.get(QUEUE)
        self._next = 0

    async def publishes_and_consumes(self) -> None:
        """Publish a number and wait until it is consumed."""
        self._next += 1
        await self.queue.publish("data.created", self._next, timeout=LIMIT)
        await wait_until(lambda: self._next in self.seen)

    async def health(self) -> str:
        await self.host.monitor.check_once()
        result = self.host.monitor.results["queue"]
        return "" if result.status is Status.HEALTHY else result.last_error

    async def wait_health(self, condition: Callable[[str], bool]) -> None:
        async with asyncio.timeout(LIMIT):
            while not condition(await self.health()):
                await asyncio.sleep(0.05)


@asynccontextmanager
async def running_application(table: Table) -> AsyncGenerator[ConsumingApplication, None]:
    consumers = Consumers()
    seen: list[int] = []

    @consumers.on("data.created")
    async def take(message: Message[int]) -> None:
        seen.append(message.body)

    async with serving(table, consumers) as host:
        application = ConsumingApplication(host, seen)
        await application.publishes_and_consumes()
        await application.wait_health(lambda error: not error)
        yield application


def consumer_of(host: Host) -> AmqpConsumer:
    """Return the AMQP consumer, to break it from inside."""
    running = next(value for value in host.context._resources.values() if isinstance(value, QueueService))
    transport: Any = running._transport
    consumer: AmqpConsumer = transport._consumer
    return consumer


def publisher_of(host: Host) -> AmqpPublisher:
    """Return the AMQP publisher, to inspect it."""
    running = next(value for value in host.context._resources.values() if isinstance(value, QueueService))
    transport: Any = running._transport
    publisher: AmqpPublisher = transport._publisher
    return publisher


async def test_a_deleted_queue_is_declared_again(rabbitmq_table: Table) -> None:
    async with running_application(rabbitmq_table) as application:
        async with aiormq.Connection(rabbitmq_table["url"]) as connection:
            channel = await connection.channel()
            await channel.queue_delete(f"{rabbitmq_table['prefix']}data.created")
        await application.publishes_and_consumes()
        await application.wait_health(lambda error: not error)


async def test_connections_closed_by_the_broker_are_opened_again(
    rabbitmq_table: Table, shared_rabbitmq: RabbitMQ
) -> None:
    async with running_application(rabbitmq_table) as application:
        await asyncio.to_thread(shared_rabbitmq.ctl, "close_all_connections", "for the test")
        await application.publishes_and_consumes()
        await application.wait_health(lambda error: not error)


async def test_a_channel_closed_by_the_broker_is_opened_again(rabbitmq_table: Table) -> None:
    async with running_application(rabbitmq_table) as application:
        channel = consumer_of(application.host).subscriptions[0].channel
        assert channel is not None
        await channel.raw.basic_ack(999_999, wait=False)  # an unknown delivery tag: the broker closes the channel
        await wait_until(lambda: channel.closed)
        await application.publishes_and_consumes()


async def test_a_consumer_missing_at_the_broker_is_detected(rabbitmq_table: Table) -> None:
    async with running_application(rabbitmq_table) as application:
        subscription = consumer_of(application.host).subscriptions[0]
        assert subscription.channel is not None
        await subscription.channel.raw.basic_cancel(subscription.consumer_tag)  # without the consumer's knowledge
        await application.publishes_and_consumes()


async def test_a_channel_without_deliveries_while_messages_are_ready_is_detected(rabbitmq_table: Table) -> None:
    async with running_application(rabbitmq_table) as application:
        subscription = consumer_of(application.host).subscriptions[0]
        channel = subscription.channel
        assert channel is not None
        channel.raw._on_deliver_frame = _lose_frames(channel.raw)  # deliveries stop
        lost = asyncio.create_task(application.queue.publish_many("data.created", range(1000, 1200)))
        await lost
        await wait_until(lambda: set(range(1000, 1200)) <= set(application.seen))
        assert subscription.channel is not channel


def _lose_frames(raw: Any) -> Any:
    async def lose(frame: Any) -> None:
        await raw._get_frame()
        await raw._get_frame()

    return lose


async def test_a_hanging_broker_is_detected_by_its_missing_heartbeats(rabbitmq_table: Table, broker: RabbitMQ) -> None:
    async with running_application({**rabbitmq_table, "url": broker.url, "heartbeat": "1s"}) as application:
        broker.pause()
        try:
            began = monotonic()
            with pytest.raises(PublishFailed) as failed:
                await application.queue.publish("data.created", 77, timeout="300ms")
            assert failed.value.maybe_sent
            assert failed.value.status_code == 503
            assert monotonic() - began < LIMIT
            await application.wait_health(bool)
        finally:
            broker.resume()
        await application.publishes_and_consumes()
        await application.wait_health(lambda error: not error)


async def test_the_transport_reconnects_to_a_restarted_broker_and_publish_reports_whether_it_was_sent(
    rabbitmq_table: Table, broker: RabbitMQ, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_application({**rabbitmq_table, "url": broker.url}) as application:
        await asyncio.to_thread(broker.flush)
        await asyncio.to_thread(broker.kill)
        await application.wait_health(lambda error: "publisher" in error)
        with pytest.raises(PublishFailed) as failed:
            await application.queue.publish("data.created", 78, timeout="300ms")
        assert not failed.value.maybe_sent
        waiting = asyncio.create_task(application.queue.publish("data.created", 79, timeout=LIMIT))
        await asyncio.to_thread(broker.start)
        await waiting
        await wait_until(lambda: 79 in application.seen)
        assert 78 not in application.seen
        await application.wait_health(lambda error: not error)
    assert "Traceback" not in caplog.text, "an outage is logged in one line"


async def test_a_broker_short_of_memory_blocks_the_publisher_and_not_the_consumer(
    rabbitmq_table: Table, broker: RabbitMQ
) -> None:
    async with running_application({**rabbitmq_table, "url": broker.url}) as application:
        await asyncio.to_thread(broker.ctl, "set_vm_memory_high_watermark", "0.00001")
        try:
            async with asyncio.timeout(LIMIT):
                while True:  # the broker blocks a connection at its next publish
                    try:
                        await application.queue.publish("data.created", 80, timeout="300ms")
                    except PublishFailed:
                        break
            await application.wait_health(lambda error: "blocked" in error)
        finally:
            await asyncio.to_thread(broker.ctl, "set_vm_memory_high_watermark", "0.4")
        await application.publishes_and_consumes()
        await application.wait_health(lambda error: not error)


async def test_a_handler_survives_a_reconnection_and_its_message_is_not_acknowledged_on_another_channel(
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
        await wait_until(lambda: begun)
        subscription = consumer_of(host).subscriptions[0]
        first = subscription.channel
        await asyncio.to_thread(shared_rabbitmq.ctl, "close_all_connections", "for the test")
        await wait_until(lambda: subscription.channel is not first and subscription.unacked)
        second = subscription.channel
        go.set()
        await wait_until(lambda: len(ended) == 2)
        await host.context.get(QUEUE).publish("data.created", 2, timeout=LIMIT)
        await wait_until(lambda: 2 in ended)
        assert subscription.channel is second
        assert second is not None
        assert not second.closed
    assert ended == [1, 1, 2]


@pytest.mark.usefixtures("no_start_wait")
async def test_waiting_messages_are_limited_by_max_waiting(rabbitmq_table: Table) -> None:
    async with serving({**rabbitmq_table, "url": "amqp://guest:guest@127.0.0.1:9/", "max_waiting": 3}) as host:
        queue = host.context.get(QUEUE)
        waiting = [asyncio.create_task(queue.publish("data.created", number, timeout="2s")) for number in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(PublishFailed, match="3 messages already wait"):
            await queue.publish("data.created", 4)
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(each, PublishFailed) and not each.maybe_sent for each in results)


@pytest.mark.usefixtures("no_start_wait")
async def test_messages_of_publishers_that_timed_out_no_longer_count_and_hold_no_body(rabbitmq_table: Table) -> None:
    table = {**rabbitmq_table, "url": "amqp://guest:guest@127.0.0.1:9/", "max_waiting": 3}
    async with serving(table) as host:
        queue = host.context.get(QUEUE)
        for give_up in (timed_out, cancelled):
            await asyncio.gather(*(give_up(queue, number) for number in range(3)))
            assert not publisher_of(host)._waiting


async def timed_out(queue: Queue, number: int) -> None:
    with pytest.raises(PublishFailed, match="not confirmed within"):
        await queue.publish("data.created", number, timeout="50ms")


async def cancelled(queue: Queue, number: int) -> None:
    publisher = asyncio.create_task(queue.publish("data.created", number, timeout=LIMIT))
    await asyncio.sleep(0)
    publisher.cancel()
    with pytest.raises(asyncio.CancelledError):
        await publisher


async def test_the_first_publish_after_an_outage_succeeds_after_many_timeouts(
    rabbitmq_table: Table, broker: RabbitMQ
) -> None:
    async with running_application({**rabbitmq_table, "url": broker.url}) as application:
        broker.pause()
        try:
            calls = [application.queue.publish("other", number, timeout="500ms") for number in range(2600)]
            failures = await asyncio.gather(*calls, return_exceptions=True)
        finally:
            broker.resume()
        assert all(isinstance(each, PublishFailed) for each in failures)
        await application.publishes_and_consumes()


async def test_an_outage_at_the_start_and_the_reconnection_are_each_logged_once(
    broker: RabbitMQ, caplog: pytest.LogCaptureFixture
) -> None:
    lost, restored = "publisher: no connection to RabbitMQ", "publisher: reconnected to RabbitMQ"
    await asyncio.to_thread(broker.kill)
    async with serving({"url": broker.url}):
        await wait_until(lambda: lost in caplog.text)
        await asyncio.to_thread(broker.start)  # takes seconds and many attempts
        await wait_until(lambda: restored in caplog.text)
    assert (caplog.text.count(lost), caplog.text.count(restored)) == (1, 1)
    assert "creating transport" not in caplog.text
