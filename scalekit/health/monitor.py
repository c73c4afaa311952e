"""Run every check periodically in the background, so that requests for health pages only read memory."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum

from scalekit.health.check import Check

STALE_INTERVALS = 3
"""Intervals without a result after which a check counts as failed: its probe hangs and cannot be cancelled."""


class Status(StrEnum):
    """The status of a check, or of the instance."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"
    UNKNOWN = "unknown"


HISTORY = 180
"""Latencies of a check that are kept: those of 15 minutes with the default interval."""
CHANGES = 20
"""Changes of the status of a check that are kept."""


@dataclass(frozen=True, slots=True)
class StatusChange:
    """A change of the status of a check, *at* in seconds since the epoch."""

    at: float
    status: Status
    error: str


@dataclass(slots=True)
class Result:
    """The latest result of one check; *latency* is in seconds, *at* in seconds of the event loop's clock.

    *latencies* are those of the last results, None where the check failed; *changes* are the last ones of its status.
    """

    check: Check
    status: Status = Status.UNKNOWN
    latency: float = 0.0
    at: float = 0.0
    last_error: str = ""
    latencies: deque[float | None] = field(default_factory=lambda: deque(maxlen=HISTORY))
    changes: deque[StatusChange] = field(default_factory=lambda: deque(maxlen=CHANGES))

    def record(self, status: Status, error: str) -> None:
        """Add the present result to the history, with its *status* and *error*."""
        self.latencies.append(None if error else self.latency)
        if status is not self.status:
            self.changes.append(StatusChange(time.time(), status, error))


class Monitor:
    """The health checks of one application and their latest results."""

    def __init__(self, checks: Mapping[str, Check], interval: float, redact: Callable[[str], str]) -> None:
        self.results = {name: Result(check) for name, check in checks.items()}
        self.interval = interval
        self._redact = redact

    @asynccontextmanager
    async def run(self) -> AsyncGenerator[None, None]:
        """Run every check in a task of its own until exit."""
        now = asyncio.get_running_loop().time()
        for result in self.results.values():
            result.status, result.at = Status.UNKNOWN, now
        tasks = [asyncio.create_task(self._watch(result)) for result in self.results.values()]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks, timeout=1.0)

    async def check_once(self, names: Iterable[str] | None = None) -> None:
        """Run the checks *names*, or all, once and concurrently."""
        chosen = self.results if names is None else names
        await asyncio.gather(*(self._check(self.results[name]) for name in chosen))

    def status(self, name: str) -> Status:
        """Return the status of the check *name* now, unhealthy when its latest result is too old."""
        result = self.results[name]
        age = asyncio.get_running_loop().time() - result.at
        if result.status is not Status.UNHEALTHY and age > STALE_INTERVALS * (self.interval + result.check.timeout):
            result.last_error = f"no result for {age:.0f}s: the probe hangs"
            result.status = Status.UNHEALTHY
        return result.status

    def failing(self, *, critical: bool) -> list[str]:
        """Return the names of the checks, *critical* or other, that are not healthy now."""
        return [
            name
            for name, result in self.results.items()
            if result.check.critical is critical and self.status(name) is not Status.HEALTHY
        ]

    def overall(self) -> Status:
        """Return UNHEALTHY when a critical check fails, DEGRADED when another one fails, else HEALTHY."""
        if self.failing(critical=True):
            return Status.UNHEALTHY
        return Status.DEGRADED if self.failing(critical=False) else Status.HEALTHY

    async def _watch(self, result: Result) -> None:
        while True:
            await self._check(result)
            await asyncio.sleep(self.interval)

    async def _check(self, result: Result) -> None:
        began = time.perf_counter()  # the time of the loop has a resolution of a millisecond
        error = await _error_of(result.check)
        result.at = asyncio.get_running_loop().time()
        result.latency = time.perf_counter() - began
        status = Status.UNHEALTHY if error else Status.HEALTHY
        if error:
            error = result.last_error = self._redact(error)
        result.record(status, error)
        result.status = status


async def _error_of(check: Check) -> str:
    deadline = asyncio.timeout(check.timeout)
    try:
        async with deadline:
            await check.probe()
    except TimeoutError as error:
        return f"no result within {check.timeout:g}s" if deadline.expired() else _describe(error)
    except Exception as error:
        return _describe(error)
    return ""


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:500]
