"""A group of background tasks that are cancelled together and whose failures are logged."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from contextvars import Context
from typing import Any

logger = logging.getLogger("scalekit.queue")


class BackgroundTaskGroup:
    """Background tasks; unlike :class:`asyncio.TaskGroup` a failed task is logged and does not cancel the others."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[object]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, coroutine: Coroutine[Any, Any, object], context: Context | None = None) -> asyncio.Task[object]:
        """Start a task that runs *coroutine*, in *context* or in a copy of the current one."""
        task = asyncio.create_task(coroutine, context=context)
        self._tasks.add(task)
        task.add_done_callback(self._on_done)
        return task

    async def wait(self, timeout: float) -> None:
        """Wait until all tasks have ended, or for *timeout* seconds."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=timeout)

    async def cancel(self, timeout: float = 5.0) -> None:
        """Cancel all tasks and wait until they have ended, or for *timeout* seconds."""
        for task in self._tasks:
            task.cancel()
        await self.wait(timeout)

    def _on_done(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("background task %s of the queue failed", task.get_coro(), exc_info=error)
