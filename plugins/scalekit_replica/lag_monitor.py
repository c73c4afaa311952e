"""Check every replica at an interval, and exclude those that fail or exceed the lag limits from reads."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from math import isinf
from time import monotonic, perf_counter

from scalekit import background_task
from scalekit.contracts import Database
from scalekit_replica.replica import Replica
from scalekit_replica.wal_position import LagEstimator, flush_position

logger = logging.getLogger("scalekit.replica")


@dataclass(frozen=True, slots=True)
class LagLimits:
    """Maximum lag, and interval and timeout of checks; times in seconds."""

    max_lag: float
    max_lag_bytes: int
    interval: float
    timeout: float


class LagMonitor:
    """Checks *replicas* of *primary*."""

    def __init__(self, primary: Database, replicas: Sequence[Replica], limits: LagLimits) -> None:
        self._primary = primary
        self._replicas = replicas
        self._limits = limits
        self._timeline = 0
        self._estimator = LagEstimator(limits.max_lag + 2 * limits.interval + limits.timeout)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """Check all replicas once, then at the interval until left."""
        await self.check_all()
        async with background_task(self._check_repeatedly(), "replica lag monitor"):
            yield

    async def check_all(self) -> None:
        """Query the LSN of the primary, then those of all replicas concurrently, and evaluate their lag."""
        await self._refresh_primary()
        due = [replica for replica in self._replicas if replica.retry_at <= monotonic()]
        responded = await asyncio.gather(*(self._refresh(replica) for replica in due))
        for replica, success in zip(due, responded, strict=True):
            if success:
                self._evaluate(replica)

    async def _check_repeatedly(self) -> None:
        while True:
            await asyncio.sleep(self._limits.interval)
            try:
                await self.check_all()
            except Exception:
                logger.exception("checking the replicas failed; next check in %gs", self._limits.interval)

    async def _refresh_primary(self) -> None:
        """Record the LSN of the primary; while the primary is unreachable, its last known LSN is used."""
        try:
            async with asyncio.timeout(self._limits.timeout):
                started = monotonic()
                position, self._timeline = await flush_position(self._primary)
            self._estimator.record(started, position)
            for replica in self._replicas:
                replica.detect_divergence(position)
        except Exception as error:
            logger.debug("cannot query the LSN of the primary: %r", error)

    async def _refresh(self, replica: Replica) -> bool:
        """Query *replica*; return whether it responds and is a standby."""
        limit = self._limits.timeout
        began = perf_counter()
        try:
            async with asyncio.timeout(limit):
                await replica.refresh_position()
        except TimeoutError:
            replica.fail_and_abort_reads(
                replica.monitor.unreachable_reason or f"no response within check_timeout {limit:g}s"
            )
            return False
        except Exception as error:
            replica.fail_and_abort_reads(replica.monitor.unreachable_reason or str(error))
            return False
        replica.record_latency(perf_counter() - began)
        return True

    def _evaluate(self, replica: Replica) -> None:
        limits = self._limits
        lag = self._estimator.lag(monotonic(), replica.position)
        lag_bytes = max(0, self._estimator.position - replica.position)
        replica.set_lag(lag, lag_bytes)
        if 0 < replica.timeline < self._timeline:
            replica.exclude(
                f"follows timeline {replica.timeline}, but the primary is on {self._timeline}: it replicates from "
                "an old primary; point primary_conninfo to the new one"
            )
        elif replica.is_ahead:
            replica.exclude("ahead of the primary: it replicates from another server; rebuild it from the primary")
        elif lag_bytes > limits.max_lag_bytes:
            replica.exclude(f"{lag_bytes} bytes behind (max_lag_bytes {limits.max_lag_bytes})")
        elif isinf(lag):
            replica.exclude(f"{lag_bytes} bytes behind, for an unknown time")
        elif lag > limits.max_lag:
            replica.exclude(f"up to {lag:.1f} s behind (max_lag {limits.max_lag:g}s)")
        else:
            replica.admit()
