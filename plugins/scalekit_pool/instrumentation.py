"""What is made of how a statement ended: numbers, log lines, and the errors that applications see."""

from __future__ import annotations

import asyncio
from typing import Any

from scalekit import ReadOnlyError, Unavailable
from scalekit.contracts import CONSISTENCY
from scalekit_pool.driver import Failure
from scalekit_pool.metrics import StatementMetrics
from scalekit_pool.slow_query_log import Origin, Place, Watch


class SchemaChanged(Unavailable):
    """A transaction met a type or a table that was changed since its connection was opened, and is undone."""


class Outcome:
    """Notes what becomes of the statements of one database, called *name* in metrics and log lines."""

    def __init__(self, name: str, metrics: StatementMetrics, watch: Watch) -> None:
        self.name = name
        self.metrics = metrics
        self.watch = watch

    def note(self, sql: str, seconds: float, result: Any) -> None:
        """Note a statement that ended well."""
        metrics = self.metrics
        metrics.seconds.observe(seconds)
        rows = len(result) if type(result) is list else hasattr(result, "keys")
        if rows:
            metrics.rows.inc(rows)
        if seconds > self.watch.slow:
            self.watch.tell_slow(metrics, self.name, sql, seconds, rows)

    def fail(self, error: BaseException, failure: Failure, sql: str, what: str, reason: str) -> None:
        """Count *error*; raises what the application sees in its place, if it is not *error* itself.

        *reason* is why *what* takes no writes, where that is why it failed.
        """
        self.metrics.failed("cancelled" if isinstance(error, asyncio.CancelledError) else failure.name.lower())
        if failure is Failure.LOST:
            raise Unavailable(
                f"the connection to {what} was lost; a change that was under way may be undone or not"
            ) from error
        if failure is Failure.DEMOTED:
            raise Unavailable(f"{what} takes no writes: {reason}") from error
        if failure is Failure.OUTDATED:
            raise SchemaChanged(
                f"a type or a table of {what} was changed under a transaction; begin it again"
            ) from error
        if failure is Failure.UNWRITABLE:
            raise Unavailable(f"{what} takes no writes: {error}") from error
        if failure is Failure.BUSY:
            raise Unavailable(f"{what} is locked by others for too long") from error
        if failure is Failure.READ_ONLY:
            raise ReadOnlyError(f"{what} is there for reading, and a statement writes: {sql}") from error
        if failure is Failure.LATE:
            raise TimeoutError(f"{what} took longer than statement_timeout over: {sql}") from error

    def note_write(self) -> None:
        """Note that the client of what is served now has written, as far as somebody asks."""
        consistency = CONSISTENCY.get()
        if consistency is not None:
            consistency.wrote = True

    def held(self, origin: Origin | None, places: list[Place]) -> None:
        """Tell of a connection that is held for too long."""
        self.watch.tell_held(self.metrics, self.name, origin, places)
