"""One replica: the LSN that it has replayed, whether it serves reads, and its reads in flight."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from math import inf
from time import monotonic, perf_counter
from types import TracebackType
from typing import TypeVar

from scalekit import Unavailable
from scalekit.contracts import Database, ReplicaState
from scalekit_replica.metrics import ReplicaMetrics
from scalekit_replica.wal_position import replica_status

logger = logging.getLogger("scalekit.replica")

T = TypeVar("T")
Operation = Callable[[Database], Awaitable[T]]
"""A read, which is run on the database of a replica or on the primary."""
Discard = Callable[[T], Awaitable[None]]
"""Releases the result of a read that must not be used."""

MAX_BACKOFF = 10.0
"""Maximum seconds between two checks of a replica that keeps failing."""
SMOOTHING = 0.1
"""Weight of the latest read in the moving average of the latency."""


class ReplicaBehind(Exception):
    """The replica may have restarted, and so may not have replayed the LSN that it had replayed before."""


class Replica:
    """The replica *name*; *monitor* is a second pool of connections to *database*, which no read uses.

    *base_backoff* is the number of seconds without checks after the first failure. *exclusion_reason* says why the
    replica serves no reads, and is empty while it does. The replica *is_ahead* when it has replayed more than the
    primary has written, since it replicates from another server.
    """

    def __init__(
        self,
        name: str,
        database: Database,
        monitor: Database,
        metrics: ReplicaMetrics,
        *,
        base_backoff: float,
        weight: float = 1.0,
    ) -> None:
        self.name = name
        self.database = database
        self.monitor = monitor
        self.weight = weight
        self.exclusion_reason = "not checked yet"
        self.retry_at = 0.0
        self.position = 0
        self.timeline = 0
        self.is_ahead = False
        self._connections_at_check = -1
        self._latency = 0.001
        self._failures = 0
        self._warned = False
        self._base_backoff = base_backoff
        self._metrics = metrics
        self._reads_in_flight: set[ReplicaRead] = set()
        metrics.up.set(0)

    @property
    def score(self) -> float:
        """The expected latency of a read, relative to other replicas."""
        return (len(self._reads_in_flight) + 1) * self._latency

    def state(self) -> ReplicaState:
        """Return the state of the replica."""
        metrics = self._metrics
        lag, lag_bytes, reads = metrics.lag_seconds.value, metrics.lag_bytes.value, metrics.reads.value
        return ReplicaState(self.name, self.exclusion_reason, lag, lag_bytes, reads)

    def is_ready(self) -> bool:
        """Return whether the replica serves reads now."""
        if self.exclusion_reason:
            return False
        if self.database.unreachable_reason:
            self.fail_and_abort_reads(self.database.unreachable_reason)
            return False
        return True

    def has_replayed(self, position: int) -> bool:
        """Return whether the replica is known to have replayed the LSN *position*.

        A new connection invalidates the known LSN: a server that was killed and restarted may have replayed less.
        """
        return position <= self.position and self._connections_at_check == self.database.connections_opened

    async def refresh_position(self) -> None:
        """Query the replayed LSN; raise Unavailable when the server is a primary."""
        connections = self.database.connections_opened
        status = await replica_status(self.monitor)
        if not status.is_replica:
            raise Unavailable(f"{self.name} is a primary, not a replica")
        same_connection = connections == self._connections_at_check
        self.position = max(status.position, self.position) if same_connection else status.position
        self.timeline = status.timeline
        self.is_ahead = self.is_ahead and same_connection
        self._connections_at_check = connections

    async def read(self, operation: Operation[T], position: int = 0, discard: Discard[T] | None = None) -> T:
        """Return the result of *operation* on this replica, which must have replayed the LSN *position*.

        Raise Unavailable when the read fails or is aborted, and ReplicaBehind when the server may have restarted, after
        calling *discard* with the result.
        """
        connections = self.database.connections_opened
        if position and not self.has_replayed(position):
            raise ReplicaBehind
        with ReplicaRead(self._reads_in_flight, self.name):
            began = perf_counter()
            result = await operation(self.database)
        self.record_latency(perf_counter() - began)
        if position and connections != self.database.connections_opened:
            if discard is not None:
                await discard(result)
            raise ReplicaBehind
        self._metrics.reads.inc()
        return result

    def detect_divergence(self, position: int) -> None:
        """Record whether the replica has replayed more than the LSN *position* that the primary has flushed since."""
        self.is_ahead = self.is_ahead or (
            self.position > position > 0 and self._connections_at_check == self.database.connections_opened
        )

    def record_latency(self, seconds: float) -> None:
        """Add the duration of a read or check to the moving average."""
        self._latency += (seconds - self._latency) * SMOOTHING

    def set_lag(self, lag: float, lag_bytes: int) -> None:
        """Set the lag gauges."""
        self._metrics.lag_seconds.set(lag)
        self._metrics.lag_bytes.set(lag_bytes)

    def admit(self) -> None:
        """Let the replica serve reads; two admissions in a row reset the backoff."""
        if not self.exclusion_reason:
            self._failures = 0
            return
        if self._warned:
            logger.info("replica %s serves reads again", self.name)
        self._warned = False
        self.exclusion_reason = ""
        self._metrics.up.set(1)

    def exclude(self, reason: str) -> None:
        """Exclude the replica from reads until it is admitted."""
        if not self._warned:
            logger.warning("replica %s is excluded from reads: %s", self.name, reason)
        self._warned = True
        self.exclusion_reason = reason
        self._metrics.up.set(0)

    def fail(self, reason: str) -> None:
        """Eject the replica, with exponential backoff before the next check."""
        if self.exclusion_reason and self.retry_at > monotonic():
            return
        if not self.exclusion_reason:
            self._metrics.ejections.inc()
        self.exclude(reason)
        self.retry_at = monotonic() + min(MAX_BACKOFF, self._base_backoff * 2**self._failures)
        self._failures = min(self._failures + 1, 10)
        self.set_lag(inf, 0)

    def fail_and_abort_reads(self, reason: str) -> None:
        """Eject the replica, and abort its reads in flight, which are then retried elsewhere."""
        self.fail(reason)
        for read in list(self._reads_in_flight):
            read.abort()
            self._metrics.aborted_reads.inc()


class ReplicaRead:
    """A read in flight in the current task, which can be aborted like a timeout."""

    __slots__ = ("_aborted", "_cancelling", "_in_flight", "_name", "_task")

    def __init__(self, in_flight: set[ReplicaRead], name: str) -> None:
        self._in_flight = in_flight
        self._name = name
        self._aborted = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("reads run in a task")
        self._task = task
        self._cancelling = task.cancelling()
        self._in_flight.add(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._in_flight.discard(self)
        if self._aborted and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise Unavailable(f"replica {self._name} did not respond: the read was aborted") from error

    def abort(self) -> None:
        """Let the read end with Unavailable."""
        if not self._aborted:
            self._aborted = True
            self._task.cancel()
