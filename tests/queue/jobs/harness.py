"""Run an application with the tables of a test, and wait for the status of its messages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from scalekit.contracts import Consumers, JobState, JobStatus, Queue
from scalekit.host import Host
from tests.queue.conftest import Tables
from tests.queue.harness import LIMIT, serving


def serve(tables: Tables, consumers: Consumers | None = None, **more: Any) -> AbstractAsyncContextManager[Host]:
    queue = tables["queue"]
    if "check_interval" in queue:  # a check before RabbitMQ counts the consumer reconnects, which repeats messages
        queue = {**queue, "check_interval": "5s"}
    others = {name: table for name, table in tables.items() if name != "queue"}
    return serving({**queue, **more}, consumers, metrics={}, **others)


async def wait_status(queue: Queue, identifier: str, condition: Callable[[JobStatus], object]) -> JobStatus:
    async with asyncio.timeout(LIMIT):
        while (status := await queue.status(identifier)) is None or not condition(status):
            await asyncio.sleep(0.02)
    return status


async def wait_state(queue: Queue, identifier: str, state: JobState) -> JobStatus:
    return await wait_status(queue, identifier, lambda status: status.state is state)
