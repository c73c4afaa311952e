"""Let reads wait until a replica has replayed the client's last write."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextvars import Context
from time import perf_counter

from scalekit.telemetry import span
from scalekit_replica.metrics import RoutingMetrics
from scalekit_replica.replica import Replica

logger = logging.getLogger("scalekit.replica")

POLL_INTERVAL = 0.004
"""Seconds between two polls of a replica, however many reads wait for it."""


class ReplayWaiter:
    """Reads that wait for one of *replicas*, up to *replay_timeout* seconds; a poll takes up to *poll_timeout*."""

    def __init__(
        self, replicas: Sequence[Replica], replay_timeout: float, poll_timeout: float, metrics: RoutingMetrics
    ) -> None:
        self._replicas = replicas
        self._replay_timeout = replay_timeout
        self._poll_timeout = poll_timeout
        self._metrics = metrics
        self._waiting: dict[asyncio.Future[Replica | None], int] = {}
        self._polls: dict[Replica, asyncio.Task[None]] = {}

    async def wait_for(self, position: int) -> Replica | None:
        """Return the first replica that has replayed the LSN *position*, or None after the timeout."""
        if not self._replay_timeout:
            return None
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[Replica | None] = loop.create_future()
        self._waiting[waiter] = position
        began = perf_counter()
        timer = loop.call_later(self._replay_timeout, _time_out, waiter)
        self._start_polling()
        try:
            with span("replica wait"):
                return await waiter
        finally:
            timer.cancel()
            del self._waiting[waiter]
            self._metrics.waits.observe(perf_counter() - began)

    async def stop(self) -> None:
        """Stop polling."""
        tasks = list(self._polls.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _start_polling(self) -> None:
        for replica in self._replicas:
            if replica not in self._polls and replica.is_ready():
                # The polls are for all reads: they belong to no request, neither its trace nor its query budget.
                self._polls[replica] = asyncio.create_task(self._poll(replica), context=Context())

    async def _poll(self, replica: Replica) -> None:
        """Poll *replica* while reads wait; the lag monitor handles its failures."""
        try:
            while self._waiting and replica.is_ready():
                async with asyncio.timeout(self._poll_timeout):
                    await replica.refresh_position()
                self._wake(replica)
                await asyncio.sleep(POLL_INTERVAL)
        except Exception as error:
            logger.debug("polling replica %s failed: %r", replica.name, error)
        finally:
            del self._polls[replica]

    def _wake(self, replica: Replica) -> None:
        for waiter, position in self._waiting.items():
            if not waiter.done() and replica.has_replayed(position):
                waiter.set_result(replica)


def _time_out(waiter: asyncio.Future[Replica | None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
