"""Metrics of published, relayed and consumed messages."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from scalekit.contracts import DATABASE, QUEUE, Consumers, Message
from scalekit.testing import request
from tests.queue.harness import serving, wait_dead_letters, wait_until

pytestmark = pytest.mark.anyio
Table = dict[str, Any]


async def test_messages_are_counted_by_outcome_and_reason(table: Table, tmp_path: Path) -> None:
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
        await wait_dead_letters(table, "data.created", 2)
        await wait_until(lambda: 4 in seen)

        async def page() -> str:
            return (await request(host, "/metrics", state=dict(host.state))).body.decode()

        async with asyncio.timeout(60):
            while number(text := await page(), "consumed_total", 'outcome="done"') < 3:
                await asyncio.sleep(0.02)
    assert number(text, "published_total", "") == number(text, "confirmed_total", "") == 4
    assert number(text, "outbox_relayed_total", "") == 1
    assert number(text, "consumed_total", 'outcome="retried"') == 1
    assert number(text, "consumed_total", 'outcome="dead_lettered"') == 2
    assert number(text, "retries_total", 'reason="error"') == 1
    assert number(text, "dead_lettered_total", 'reason="undecodable"') == 1
    assert number(text, "dead_lettered_total", 'reason="error"') == 1
    assert number(text, "in_flight", "") == 0
    assert number(text, "handler_duration_seconds_count", "") == number(text, "message_age_seconds_count", "") == 6
    assert number(text, "outbox_lag_seconds", "") == 0


def number(text: str, metric: str, label: str) -> float:
    """Return the sum of the samples of *metric* that have *label*, or -1 without samples."""
    lines = [line for line in text.splitlines() if re.match(rf"scalekit_queue_{metric}[ {{]", line) and label in line]
    return sum(float(line.rpartition(" ")[2]) for line in lines) if lines else -1
