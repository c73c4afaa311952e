"""Reads that wait until a replica has what their client has written."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from scalekit_replica.metrics import Metrics
from scalekit_replica.replica import Replica

logger = logging.getLogger("scalekit.replica")

PAUSE = 0.004
"""Seconds between two questions to the same replica, however many wait for it."""


class Waiters:
    """Who waits for one of *replicas*, each for *limit* seconds at most; a question may take *answer_limit*."""

    def __init__(self, replicas: Sequence[Replica], limit: float, answer_limit: float, metrics: Metrics) -> None:
        self._replicas = replicas
        self._limit = limit
        self._answer_limit = answer_limit
        self._metrics = metrics
        self._waiting: dict[asyncio.Future[Replica | None], int] = {}
        self._asking: dict[Replica, asyncio.Task[None]] = {}

    async def reached(self, position: int) -> Replica | None:
        """Return a replica as soon as one has everything up to *position*, or None when none has in time."""
        if not self._limit:
            return None
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[Replica | None] = loop.create_future()
        self._waiting[waiter] = position
        began = loop.time()
        timer = loop.call_later(self._limit, _give_up, waiter)
        self._ask_all()
        try:
            return await waiter
        finally:
            timer.cancel()
            del self._waiting[waiter]
            self._metrics.waits.observe(loop.time() - began)

    async def stop(self) -> None:
        """Ask nobody any more."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _ask_all(self) -> None:
        for replica in self._replicas:
            if replica not in self._asking and replica.is_ready():
                self._asking[replica] = asyncio.create_task(self._ask(replica))

    async def _ask(self, replica: Replica) -> None:
        """Ask *replica* again and again while somebody waits; that it fails is for its next check to tell."""
        try:
            while self._waiting and replica.is_ready():
                async with asyncio.timeout(self._answer_limit):
                    await replica.ask()
                self._wake(replica)
                await asyncio.sleep(PAUSE)
        except Exception as error:
            logger.debug("replica %s was not heard: %r", replica.name, error)
        finally:
            del self._asking[replica]

    def _wake(self, replica: Replica) -> None:
        for waiter, position in self._waiting.items():
            if not waiter.done() and replica.has(position):
                waiter.set_result(replica)


def _give_up(waiter: asyncio.Future[Replica | None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
