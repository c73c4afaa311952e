"""Tasks that belong together and end together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

logger = logging.getLogger("scalekit.queue")


class BackgroundTaskGroup:
    """Tasks in the background; one that fails is logged."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def begin(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run *coroutine* until it ends or is cancelled."""
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._end)
        return task

    async def wait(self, timeout: float) -> None:
        """Wait until all have ended, or for *timeout*."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=timeout)

    async def cancel(self, timeout: float = 5.0) -> None:
        """Cancel all, and wait until they have ended, or for *timeout*."""
        for task in self._tasks:
            task.cancel()
        await self.wait(timeout)

    def _end(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("the queue failed in %s", task.get_coro(), exc_info=error)
