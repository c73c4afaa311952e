"""An application with consumers of a test, and what looks into its queue."""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any

from scalekit import create_app
from scalekit.contracts.consumers import Consumers, Message
from scalekit.host import Host
from scalekit.testing import running
from scalekit.testing.conformance import bare_application
from scalekit_queue.commands import open_admin
from scalekit_queue.config import QueueConfig
from scalekit_queue.envelope import QueueAdmin

LIMIT = 60.0
_modules = itertools.count(1)

Anything = Message[Any]


def target_of(consumers: Consumers) -> str:
    """Return how the file names *consumers*."""
    module = ModuleType(f"consumers_of_a_test_{next(_modules)}")
    module.consumers = consumers  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module
    return f"{module.__name__}:consumers"


@asynccontextmanager
async def serving(
    table: dict[str, Any], consumers: Consumers | None = None, **plugins: dict[str, Any]
) -> AsyncGenerator[Host, None]:
    """Run an application with the queue that *table* describes, and other *plugins*."""
    whole = {**table, "consumers": target_of(consumers)} if consumers is not None else table
    host = create_app({"plugins": {**plugins, "queue": whole}}, app=bare_application)
    async with running(host):
        yield host


@asynccontextmanager
async def inside(table: dict[str, Any], *names: str) -> AsyncGenerator[QueueAdmin, None]:
    """Be connected to the queue as the commands are."""
    async with open_admin(QueueConfig.model_validate(table, strict=False)) as found:
        yield found


async def until(condition: Callable[[], object], what: str = "") -> None:
    """Wait for *condition*."""
    async with asyncio.timeout(LIMIT):
        while not condition():
            await asyncio.sleep(0.01)


async def dead_letters(table: dict[str, Any], name: str, count: int) -> list[Any]:
    """Wait for *count* dead letters, and return them."""
    async with inside(table) as queue, asyncio.timeout(LIMIT):
        while len(found := await queue.peek(name, True, 100)) < count:
            await asyncio.sleep(0.05)
    return found
