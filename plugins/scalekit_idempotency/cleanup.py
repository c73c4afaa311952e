"""Delete expired responses in the background."""

from __future__ import annotations

import asyncio
import logging
import random
from types import TracebackType
from typing import Self

from scalekit import Unavailable
from scalekit_idempotency.metrics import IdempotencyMetrics
from scalekit_idempotency.stores.contract import IdempotencyStore

logger = logging.getLogger("scalekit.idempotency")

INTERVAL = 60.0
"""Seconds between two clean-ups, which workers do not begin at the same time."""


class CleanUp:
    """Cleans up *store* periodically inside its block."""

    def __init__(self, store: IdempotencyStore, metrics: IdempotencyMetrics) -> None:
        self._store = store
        self._metrics = metrics
        self._last_error = ""

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def check(self) -> None:
        """Raise an error when the store is unavailable, or the last clean-up failed."""
        await self._store.check()
        if self._last_error:
            raise Unavailable(f"expired responses cannot be deleted: {self._last_error}")

    async def clean_up(self) -> None:
        """Clean up once; log an error."""
        try:
            self._metrics.set_keys(await self._store.clean_up())
        except Exception as error:
            self._metrics.count_error()
            self._last_error = str(error) or type(error).__name__
            logger.warning("expired responses could not be deleted, will retry in %gs: %s", INTERVAL, self._last_error)
        else:
            self._last_error = ""

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(random.uniform(0.5, 1.5) * INTERVAL)
            await self.clean_up()
