"""Messages that wait for a locked SQLite file are limited by max_waiting."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from scalekit.contracts import QUEUE, PublishFailed
from tests.queue.harness import LIMIT, serving

pytestmark = pytest.mark.anyio


async def test_messages_of_publishers_that_timed_out_no_longer_count_towards_max_waiting(
    sqlite_table: dict[str, Any],
) -> None:
    async with serving({**sqlite_table, "max_waiting": 3}) as host:
        queue = host.context.get(QUEUE)
        await queue.publish("data.created", 0)
        with closing(sqlite3.connect(sqlite_table["url"].removeprefix("sqlite:///"), timeout=LIMIT)) as other:
            other.execute("BEGIN IMMEDIATE")
            for _ in range(2):
                await asyncio.gather(*(_time_out(queue, number) for number in range(3)))
            cancelled = [asyncio.create_task(queue.publish("data.created", number)) for number in range(3)]
            await asyncio.sleep(0)
            for task in cancelled:
                task.cancel()
            await asyncio.wait(cancelled)
            waiting = asyncio.create_task(queue.publish("data.created", 7, timeout=LIMIT))
            await asyncio.sleep(0)
            assert not waiting.done(), "it waits instead of failing"
            other.rollback()
        await waiting


async def _time_out(queue: Any, number: int) -> None:
    with pytest.raises(PublishFailed, match="not stored within"):
        await queue.publish("data.created", number, timeout="100ms")
