"""The jobs in the queue's file."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

import pytest

from scalekit.contracts import QUEUE, Consumers, JobState
from tests.queue.harness import AnyMessage, serving

pytestmark = pytest.mark.anyio


async def test_a_status_is_read_while_another_process_writes(sqlite_table: dict[str, Any]) -> None:
    consumers = Consumers()

    @consumers.on("resize", result_ttl="1h")
    async def resize(message: AnyMessage) -> None:
        """Handle nothing: the consumer is off."""

    async with serving({**sqlite_table, "consume_in": "workers"}, consumers) as host:
        queue = host.context.get(QUEUE)
        identifier = await queue.publish("resize", "a")
        with closing(sqlite3.connect(sqlite_table["url"].removeprefix("sqlite:///"), isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            status = await queue.status(identifier)
            other.execute("ROLLBACK")
    assert status is not None
    assert status.state is JobState.QUEUED
