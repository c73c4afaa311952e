"""The publisher's queues at RabbitMQ."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from scalekit.contracts import QUEUE, Consumers, Message
from tests.queue.harness import serving, wait_until

pytestmark = [pytest.mark.anyio, pytest.mark.needs("rabbitmq")]

DELAY = 0.5
UNUSED_MS = 1500
MESSAGES = 24
"""Published over twice the time after which the broker deletes a delay queue that is not declared again."""


async def test_a_delay_queue_in_use_is_declared_again_before_it_expires_whatever_the_clock_shows(
    rabbitmq_table: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scalekit_queue.amqp.topology.UNUSED_QUEUE_TTL_MS", UNUSED_MS)
    monkeypatch.setattr("scalekit_queue.amqp.publisher.DECLARATION_TTL", 0.1)
    monkeypatch.setattr("scalekit_queue.amqp.publisher.time", lambda: 0.0, raising=False)
    consumers = Consumers()
    seen: set[int] = set()

    @consumers.on("data.created")
    async def take(message: Message[int]) -> None:
        seen.add(message.body)

    # Quorum queues expire a few seconds late.
    async with serving({**rabbitmq_table, "queue_type": "classic"}, consumers) as host:
        for number in range(MESSAGES):
            await host.context.get(QUEUE).publish("data.created", number, delay=DELAY)
            await asyncio.sleep(2 * (DELAY + UNUSED_MS / 1000) / MESSAGES)
        await wait_until(lambda: len(seen) == MESSAGES)
    assert seen == set(range(MESSAGES))
