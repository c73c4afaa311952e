"""What is counted, and the message that ends its consumers."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from scalekit.contracts import DATABASE, QUEUE
from scalekit.contracts.consumers import Consumers, Message
from scalekit.testing import request
from scalekit_queue.envelope import REASON, Envelope
from scalekit_queue.sqlite.store import DELIVERIES, MessageStore
from tests.queue.harness import dead_letters, serving, until

pytestmark = pytest.mark.anyio
Table = dict[str, Any]


async def test_what_becomes_of_messages_is_counted(table: Table, tmp_path: Path) -> None:
    consumers = Consumers()
    seen: list[int] = []

    @consumers.on("data.created", retry=["10ms"])
    async def take(message: Message[int]) -> None:
        seen.append(message.body)
        if message.body == 3:
            raise ValueError

    plugins: dict[str, Any] = {"pool": {"url": f"sqlite:///{tmp_path}/shop.db"}, "metrics": {}}
    async with serving(table, consumers, **plugins) as host:
        queue = host.context.get(QUEUE)
        await queue.publish_many("data.created", [1, 2, 3])
        await queue.publish("data.created", "no number")
        await queue.publish_after(host.context.get(DATABASE), "data.created", 4)
        await dead_letters(table, "data.created", 2)
        await until(lambda: 4 in seen)

        async def page() -> str:
            return (await request(host, "/metrics", state=dict(host.state))).body.decode()

        async with asyncio.timeout(60):
            while number(text := await page(), "consumed_total", 'outcome="done"') < 3:
                await asyncio.sleep(0.02)
    assert number(text, "published_total", "") == number(text, "confirmed_total", "") == 4
    assert number(text, "outbox_relayed_total", "") == 1
    assert number(text, "consumed_total", 'outcome="retried"') == 1
    assert number(text, "consumed_total", 'outcome="dead"') == 2
    assert number(text, "retries_total", 'why="error"') == 1
    assert number(text, "dead_total", 'why="undecodable"') == 1
    assert number(text, "dead_total", 'why="error"') == 1
    assert number(text, "in_process", "") == 0
    assert number(text, "seconds_count", "") == number(text, "age_seconds_count", "") == 6
    assert number(text, "outbox_lag_seconds", "") == 0


def number(text: str, metric: str, label: str) -> float:
    """Return the value of the one line of *metric* that has *label*."""
    lines = [line for line in text.splitlines() if re.match(rf"scalekit_queue_{metric}[ {{]", line) and label in line]
    return sum(float(line.rpartition(" ")[2]) for line in lines) if lines else -1


def test_a_message_that_ends_its_consumers_becomes_a_dead_letter(tmp_path: Path) -> None:
    store = MessageStore(str(tmp_path / "queue.db"), "normal")
    store.open()
    store.insert([Envelope("data.created", "poison", b"1", 0.0), Envelope("data.created", "good", b"2", 0.0, delay=60)])
    for _ in range(DELIVERIES):
        ((_, envelope),) = store.take("data.created", "one", 10, lease=-1.0)  # its consumer dies at once
        assert envelope.id == "poison"
    assert store.take("data.created", "one", 10, lease=-1.0) == []
    (letter,) = store.peek("data.created", True, 10)
    assert letter.headers[REASON] == "delivered 20 times without an outcome"
    store.close()
