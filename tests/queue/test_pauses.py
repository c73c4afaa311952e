"""A paused consumer takes no new messages, finishes those in flight, and loses none."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from scalekit.contracts import QUEUE
from scalekit.contracts.consumers import Consumers
from scalekit_queue.pauses import ConsumerPauses, ConsumerState
from scalekit_queue.service import SERVICE
from tests.queue.conftest import EVERY_RELEASE
from tests.queue.harness import AnyMessage, open_queue_admin, serving, wait_until

pytestmark = pytest.mark.anyio


@pytest.fixture(params=EVERY_RELEASE)
def table(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return the table of a queue, for each transport and each release of RabbitMQ."""
    table: dict[str, Any] = request.getfixturevalue(f"{request.param}_table")
    return table


class GatedConsumer:
    """Counts messages; handlers wait until the gate is open."""

    def __init__(self, concurrency: int = 2) -> None:
        self.consumers = Consumers()
        self.gate = asyncio.Event()
        self.started: list[int] = []
        self.finished: Counter[int] = Counter()

        @self.consumers.on("work", prefetch=10, concurrency=concurrency)
        async def work(message: AnyMessage) -> None:
            self.started.append(message.body)
            await self.gate.wait()
            self.finished[message.body] += 1


def state(pauses: ConsumerPauses) -> ConsumerState:
    return pauses.state(pauses.runners[0])


async def test_a_paused_consumer_finishes_what_it_handles_and_takes_nothing_until_it_is_resumed(
    table: dict[str, Any],
) -> None:
    consumer = GatedConsumer()
    async with serving(table, consumer.consumers) as host:
        queue, pauses = host.context.get(QUEUE), host.context.get(SERVICE).pauses
        await queue.publish_many("work", range(8))
        await wait_until(lambda: len(consumer.started) == 2)
        await pauses.pause("work", 3600)
        assert state(pauses) is ConsumerState.PAUSING
        consumer.gate.set()
        await wait_until(lambda: state(pauses) is ConsumerState.PAUSED)
        await queue.publish_many("work", range(8, 10))
        async with open_queue_admin(table) as admin, asyncio.timeout(60):
            while (await admin.depth("work")).ready < 8:
                await asyncio.sleep(0.02)
        assert sum(consumer.finished.values()) == 2
        await asyncio.sleep(0.5)  # several polls and checks of the monitor
        assert len(consumer.started) == 2
        assert host.context.get(SERVICE).last_error == ""
        await pauses.resume("work")
        await wait_until(lambda: len(consumer.finished) == 10)
        assert set(consumer.finished.values()) == {1}
        assert state(pauses) is ConsumerState.RUNNING


async def test_a_pause_ends_by_itself_and_the_log_says_both(
    table: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "scalekit.queue")
    consumer = GatedConsumer()
    consumer.gate.set()
    async with serving(table, consumer.consumers) as host:
        pauses = host.context.get(SERVICE).pauses
        await pauses.pause("work", 1.0)
        await host.context.get(QUEUE).publish("work", 1)
        await wait_until(lambda: consumer.finished)
        assert pauses.remaining("work") is None
    lines = [record.getMessage() for record in caplog.records]
    assert any(line.startswith("consumer 'work' is paused for") for line in lines)
    assert "the pause of the consumer 'work' has ended" in lines
    assert "consumer 'work' takes messages" in lines


async def test_many_changes_in_a_row_end_in_the_last_state_and_lose_nothing(table: dict[str, Any]) -> None:
    consumer = GatedConsumer(concurrency=4)
    consumer.gate.set()
    async with serving(table, consumer.consumers) as host:
        queue, pauses = host.context.get(QUEUE), host.context.get(SERVICE).pauses
        for number in range(6):
            await queue.publish_many("work", range(number * 20, number * 20 + 20))
            await pauses.pause("work", 3600)
            await asyncio.sleep(0)
            await pauses.resume("work")
        await pauses.pause("work", 3600)
        await wait_until(lambda: state(pauses) is ConsumerState.PAUSED)
        await pauses.resume("work")
        await wait_until(lambda: len(consumer.finished) == 120)


async def test_a_service_that_stops_while_paused_keeps_its_messages(table: dict[str, Any]) -> None:
    consumer = GatedConsumer()
    consumer.gate.set()
    async with serving(table, consumer.consumers) as host:
        pauses = host.context.get(SERVICE).pauses
        await pauses.pause("work", 3600)
        await wait_until(lambda: state(pauses) is ConsumerState.PAUSED)
        await host.context.get(QUEUE).publish("work", 1)
    assert not consumer.finished
    async with serving(table, consumer.consumers):
        await wait_until(lambda: consumer.finished[1])
