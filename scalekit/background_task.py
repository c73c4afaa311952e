"""A task that runs beside a block."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def background_task(work: Coroutine[Any, Any, object], name: str) -> AsyncGenerator[None, None]:
    """Run *work* inside the block, in a task named ``scalekit: <name>``; leaving the block cancels it and waits.

    The task keeps its exception, if any: *work* handles its own errors.
    """
    task = asyncio.create_task(work, name=f"scalekit: {name}")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
