"""Look at every replica again and again, and let those be read from that are well and near enough."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from math import isinf
from time import monotonic, perf_counter

from scalekit.contracts import Database
from scalekit_replica.replica import Replica
from scalekit_replica.wal_position import Progress, flushed_by

logger = logging.getLogger("scalekit.replica")


@dataclass(frozen=True, slots=True)
class Limits:
    """How far behind a replica may be, how often it is looked at, how long a look may take; times in seconds."""

    lag: float
    lag_bytes: int
    interval: float
    timeout: float


class Checks:
    """The looks at *replicas* of *primary*."""

    def __init__(self, primary: Database, replicas: Sequence[Replica], limits: Limits) -> None:
        self._primary = primary
        self._replicas = replicas
        self._limits = limits
        self._timeline = 0
        self._progress = Progress(limits.lag + 2 * limits.interval + limits.timeout)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """Look once, and then again and again until left."""
        await self.look()
        task = asyncio.create_task(self._look_on(), name="scalekit: replicas")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def look(self) -> None:
        """Ask the primary where it is, then all replicas at the same time, and judge them by that."""
        await self._ask_primary()
        due = [replica for replica in self._replicas if replica.back_at <= monotonic()]
        answered = await asyncio.gather(*(self._ask(replica) for replica in due))
        for replica, well in zip(due, answered, strict=True):
            if well:
                self._judge(replica)

    async def _look_on(self) -> None:
        while True:
            await asyncio.sleep(self._limits.interval)
            try:
                await self.look()
            except Exception:
                logger.exception("a look at the replicas failed; the next one is in %gs", self._limits.interval)

    async def _ask_primary(self) -> None:
        """Note where the primary is; while it cannot be asked, what it last said holds."""
        try:
            async with asyncio.timeout(self._limits.timeout):
                asked = monotonic()
                position, self._timeline = await flushed_by(self._primary)
            self._progress.note(asked, position)
            for replica in self._replicas:
                replica.compare(position)
        except Exception as error:
            logger.debug("the primary does not tell its position: %r", error)

    async def _ask(self, replica: Replica) -> bool:
        """Tell whether *replica* answers as one."""
        limit = self._limits.timeout
        began = perf_counter()
        try:
            async with asyncio.timeout(limit):
                await replica.ask()
        except TimeoutError:
            replica.give_up(replica.watch.trouble or f"no answer within {limit:g}s")
            return False
        except Exception as error:
            replica.give_up(replica.watch.trouble or str(error))
            return False
        replica.observe(perf_counter() - began)
        return True

    def _judge(self, replica: Replica) -> None:
        limits = self._limits
        behind = self._progress.behind(monotonic(), replica.position)
        behind_bytes = max(0, self._progress.position - replica.position)
        replica.measure(behind, behind_bytes)
        if 0 < replica.timeline < self._timeline:
            replica.leave_out(
                f"it follows timeline {replica.timeline}, and the primary is on {self._timeline}: it follows an old "
                "primary; point primary_conninfo to the new one"
            )
        elif replica.is_ahead:
            replica.leave_out("it has more than the primary: it follows another one; rebuild it from the primary")
        elif behind_bytes > limits.lag_bytes:
            replica.leave_out(f"it is {behind_bytes} bytes behind; max_lag_bytes is {limits.lag_bytes}")
        elif isinf(behind):
            replica.leave_out(f"it is {behind_bytes} bytes behind, and not known for how long")
        elif behind > limits.lag:
            replica.leave_out(f"it is up to {behind:.1f}s behind; max_lag is {limits.lag:g}s")
        else:
            replica.admit()
