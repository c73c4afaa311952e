"""Pause consumers in all workers: a paused one takes no new messages, and finishes those that it is handling."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from time import monotonic

from scalekit.contracts import Override, OverrideChange, OverrideGroup
from scalekit_queue.consumer import ConsumerRunner
from scalekit_queue.task_group import BackgroundTaskGroup
from scalekit_queue.transport import Transport

logger = logging.getLogger("scalekit.queue")

PAUSES = "queue pause"
"""The group of overrides, by the name of the consumer."""
APPLY_TIMEOUT = 5.0
"""Seconds that the start waits for pauses that began before."""


class ConsumerState(StrEnum):
    """Whether a consumer takes messages."""

    RUNNING = "running"
    PAUSING = "pausing"
    """Handlers are running, or messages are being returned to the queue."""
    PAUSED = "paused"


class ConsumerPauses:
    """Applies the pauses of *group* to *runners*, whose messages *transport* delivers."""

    def __init__(self, group: OverrideGroup, transport: Transport, runners: Sequence[ConsumerRunner]) -> None:
        self.runners = runners
        self._group = group
        self._transport = transport
        self._updates = {runner.consumer.name: asyncio.Lock() for runner in runners}
        self._returned = {runner.consumer.name: False for runner in runners}
        self._tasks = BackgroundTaskGroup()

    @contextmanager
    def applied(self) -> Generator[None, None, None]:
        """Pause and resume consumers inside the block."""
        with self._group.applied_with(self._on_change, _log_end):
            yield

    async def apply(self) -> None:
        """Wait until the present pauses are applied, so that a new worker takes no message of a paused consumer."""
        await self._tasks.wait(APPLY_TIMEOUT)

    async def stop(self) -> None:
        """Cancel changes that are being applied."""
        await self._tasks.cancel()

    async def pause(self, name: str, seconds: float) -> None:
        """Pause the consumer of *name* in all workers; raises TimeoutError when the supervisor does not respond."""
        await self._group.change(OverrideChange(name, Override("paused", monotonic() + seconds)))

    async def resume(self, name: str) -> None:
        """Resume the consumer of *name* in all workers; raises TimeoutError when the supervisor does not respond."""
        await self._group.change(OverrideChange(name, None))

    def state(self, runner: ConsumerRunner) -> ConsumerState:
        """Return the state of *runner* in this process."""
        if not runner.paused:
            return ConsumerState.RUNNING
        finished = self._returned[runner.consumer.name] and not runner.running
        return ConsumerState.PAUSED if finished else ConsumerState.PAUSING

    def remaining(self, name: str) -> float | None:
        """Return the seconds until the pause of *name* ends, or None without one."""
        override = self._group.active.get(name)
        return None if override is None else max(0.0, override.end - monotonic())

    def _on_change(self, paused: Mapping[str, str]) -> None:
        for runner in self.runners:
            name = runner.consumer.name
            if (name in paused) != runner.paused:
                runner.paused = name in paused  # at once; the transport follows
                runner.metrics.paused.set(int(runner.paused))
                self._tasks.start(self._update(runner))

    async def _update(self, runner: ConsumerRunner) -> None:
        """Let the transport do what ``runner.paused`` says by the time that earlier changes are done."""
        name = runner.consumer.name
        async with self._updates[name]:
            if not runner.paused:
                self._returned[name] = False
                await self._transport.resume(name)
                logger.info("consumer %r takes messages", name)
            elif not self._returned[name]:
                logger.warning("consumer %r is paused for %.0fs: it takes no messages", name, self.remaining(name) or 0)
                await self._transport.pause(name)
                await runner.requeue_prefetched()
                self._returned[name] = True


def _log_end(name: str) -> None:
    logger.info("the pause of the consumer %r has ended", name)
