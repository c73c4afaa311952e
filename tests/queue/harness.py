"""Run an application with the consumers of a test, and inspect its queue."""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any

from scalekit import create_app
from scalekit.contracts import Consumers, Message
from scalekit.host import Host
from scalekit.testing import running
from scalekit.testing.conformance import bare_application
from scalekit_queue.admin import open_admin
from scalekit_queue.config import QueueConfig
from scalekit_queue.transport import QueueAdmin

LIMIT = 60.0
_modules = itertools.count(1)

AnyMessage = Message[Any]


def consumers_target(consumers: Consumers) -> str:
    """Return *consumers* as ``module:name``, for the configuration."""
    module = ModuleType(f"test_consumers_{next(_modules)}")
    module.consumers = consumers  # type: ignore[attr-defined]  # a module made here
    sys.modules[module.__name__] = module
    return f"{module.__name__}:consumers"


def with_pool(table: dict[str, Any], plugins: dict[str, Any]) -> dict[str, Any]:
    """Return *plugins*, for a queue in PostgreSQL with the pool, which opens its database."""
    return {"pool": {"url": "sqlite:///:memory:"}, **plugins} if "postgresql" in table.get("url", "") else plugins


@asynccontextmanager
async def serving(
    table: dict[str, Any], consumers: Consumers | None = None, **plugins: dict[str, Any]
) -> AsyncGenerator[Host, None]:
    """Run an application with the queue of *table* and the tables of other *plugins*."""
    queue = {**table, "consumers": consumers_target(consumers)} if consumers is not None else table
    host = create_app({"plugins": {**with_pool(table, plugins), "queue": queue}}, app=bare_application)
    async with running(host):
        yield host


@asynccontextmanager
async def open_queue_admin(table: dict[str, Any]) -> AsyncGenerator[QueueAdmin, None]:
    """Connect to the queue as the commands do."""
    host = create_app({"plugins": {**with_pool(table, {}), "queue": table}}, app=bare_application)
    async with open_admin(host.context.config(QueueConfig), host.context) as admin:
        yield admin


async def wait_until(condition: Callable[[], object]) -> None:
    """Wait until *condition* is true."""
    async with asyncio.timeout(LIMIT):
        while not condition():
            await asyncio.sleep(0.01)


async def wait_dead_letters(table: dict[str, Any], name: str, count: int) -> list[Any]:
    """Wait for *count* dead letters and return them."""
    async with open_queue_admin(table) as queue, asyncio.timeout(LIMIT):
        while len(letters := await queue.peek(name, True, 100)) < count:
            await asyncio.sleep(0.05)
    return letters
