"""One replica: whether it may be read from, what it has, and who reads from it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from math import inf
from time import monotonic, perf_counter
from types import TracebackType
from typing import Any

from scalekit import Unavailable
from scalekit.contracts import Database
from scalekit_replica.metrics import ReplicaMetrics
from scalekit_replica.wal_position import standing_of

logger = logging.getLogger("scalekit.replica")

Operation = Callable[..., Awaitable[Any]]
Undo = Callable[[Any], Awaitable[None]]

LONGEST_ABSENCE = 10.0
"""Seconds that a replica which fails again and again is left alone, at most."""
SMOOTHING = 0.1
"""What the latest reading counts for in the mean of how long they take."""


class Outrun(Exception):
    """The replica may be another one than the one that was known to have what is read."""


class Replica:
    """The replica *name*; *watch* is a second way to *database*, in which no read is waited for.

    *absence* is how many seconds it is left alone after the first failure. *trouble* is why it may not be read from.
    It *is_ahead* when it has had more than the primary: it follows another one.
    """

    def __init__(
        self,
        name: str,
        database: Database,
        watch: Database,
        metrics: ReplicaMetrics,
        absence: float,
        weight: float = 1.0,
    ) -> None:
        self.name = name
        self.database = database
        self.watch = watch
        self.weight = weight
        self.trouble = "it has not been asked yet"
        self.back_at = 0.0
        self.position = 0
        self.timeline = 0
        self.is_ahead = False
        self._run = -1
        self._latency = 0.001
        self._failures = 0
        self._told = False
        self._absence = absence
        self._metrics = metrics
        self._readings: set[Reading] = set()
        metrics.up.set(0)

    @property
    def score(self) -> float:
        """How long a read is likely to take, beside others."""
        return (len(self._readings) + 1) * self._latency

    def is_ready(self) -> bool:
        """Tell whether it may be read from now."""
        if self.trouble:
            return False
        if self.database.trouble:
            self.give_up(self.database.trouble)
            return False
        return True

    def has(self, position: int) -> bool:
        """Tell whether it is known to have everything up to *position*.

        What it had is forgotten with each new connection: a server that was killed and runs again may have less.
        """
        return position <= self.position and self._run == self.database.opened

    async def ask(self) -> None:
        """Ask it where it is; raises Unavailable when it is no replica."""
        run = self.database.opened
        standing = await standing_of(self.watch)
        if not standing.is_replica:
            raise Unavailable(f"{self.name} is a primary, not a replica")
        self.position = max(standing.position, self.position) if run == self._run else standing.position
        self.timeline = standing.timeline
        self.is_ahead = self.is_ahead and run == self._run
        self._run = run

    async def read(
        self, operation: Operation, arguments: tuple[Any, ...], position: int = 0, undo: Undo | None = None
    ) -> Any:
        """Return what *operation* reads here, where everything up to *position* is.

        Raises Unavailable when it fails or is given up meanwhile, and Outrun when it may have been restarted; then
        *undo* is given what *operation* returned.
        """
        run = self.database.opened
        if position and not self.has(position):
            raise Outrun
        with Reading(self._readings, self.name):
            began = perf_counter()
            result = await operation(self.database, *arguments)
        self.observe(perf_counter() - began)
        if position and run != self.database.opened:
            if undo is not None:
                await undo(result)
            raise Outrun
        self._metrics.reads.inc()
        return result

    def compare(self, position: int) -> None:
        """Note whether it had more than the primary, which is at *position* later; a rebuilt one connects anew."""
        self.is_ahead = self.is_ahead or (self.position > position > 0 and self._run == self.database.opened)

    def observe(self, seconds: float) -> None:
        """Note how long it took to answer."""
        self._latency += (seconds - self._latency) * SMOOTHING

    def measure(self, behind: float, behind_bytes: int) -> None:
        """Show how far it is behind."""
        self._metrics.lag_seconds.set(behind)
        self._metrics.lag_bytes.set(behind_bytes)

    def admit(self) -> None:
        """Let it be read from; it is well when it is admitted twice in a row."""
        if not self.trouble:
            self._failures = 0
            return
        if self._told:
            logger.info("replica %s is read from again", self.name)
        self._told = False
        self.trouble = ""
        self._metrics.up.set(1)

    def leave_out(self, why: str) -> None:
        """Read nothing from it any more, until it is admitted."""
        if not self._told:
            logger.warning("replica %s is not read from: %s", self.name, why)
        self._told = True
        self.trouble = why
        self._metrics.up.set(0)

    def fail(self, why: str) -> None:
        """Leave it out and alone for a while, longer each time that it fails again."""
        if self.trouble and self.back_at > monotonic():
            return
        if not self.trouble:
            self._metrics.ejections.inc()
        self.leave_out(why)
        self.back_at = monotonic() + min(LONGEST_ABSENCE, self._absence * 2**self._failures)
        self._failures = min(self._failures + 1, 10)
        self.measure(inf, 0)

    def give_up(self, why: str) -> None:
        """Let it fail, and take from it the reads that it has not answered."""
        self.fail(why)
        for reading in list(self._readings):
            reading.abandon()
            self._metrics.abandoned.inc()


class Reading:
    """A read that is under way in the current task, and can be taken from it as a time-out takes it."""

    __slots__ = ("_abandoned", "_among", "_cancelling", "_name", "_task")

    def __init__(self, among: set[Reading], name: str) -> None:
        self._among = among
        self._name = name
        self._abandoned = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("reads run in a task")
        self._task = task
        self._cancelling = task.cancelling()
        self._among.add(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._among.discard(self)
        if self._abandoned and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise Unavailable(f"replica {self._name} did not answer") from error

    def abandon(self) -> None:
        """Let the read end with Unavailable."""
        if not self._abandoned:
            self._abandoned = True
            self._task.cancel()
