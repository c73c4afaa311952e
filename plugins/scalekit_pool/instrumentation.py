"""Record the outcome of each statement: metrics, slow-query and leak logs, and the error that the application sees."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from time import perf_counter

from scalekit import ReadOnlyError, Unavailable
from scalekit.contracts import CONSISTENCY
from scalekit.telemetry import error_type, record_span
from scalekit_pool.connections.driver import Failure
from scalekit_pool.filters import CURRENT_REQUEST, RequestInfo, with_request_id
from scalekit_pool.fingerprint import shown_statement
from scalekit_pool.leak_detection import CallSite, log_leak
from scalekit_pool.metrics import StatementMetrics
from scalekit_pool.query_budget import QueryBudget
from scalekit_pool.spans import MAX_RECORDED, STATEMENT_SPAN
from scalekit_pool.statement_classifier import Statement
from scalekit_pool.statement_table import StatementTable

logger = logging.getLogger("scalekit.pool")


class SchemaChanged(Unavailable):
    """A transaction used a type or table that was changed after its connection was opened; it was rolled back."""


class StatementInstrumentation:
    """Records the statements of the database *name*, which is the label ``pool`` of metrics and log records.

    *dialect* is ``sqlite``, ``postgresql`` or ``mysql``, *system* its name in spans. Both thresholds are in seconds.
    *statements* counts by fingerprint.
    """

    def __init__(
        self,
        name: str,
        dialect: str,
        system: str,
        metrics: StatementMetrics,
        budget: QueryBudget,
        *,
        slow_query_threshold: float,
        leak_detection_threshold: float,
        statements: StatementTable | None = None,
    ) -> None:
        self.name = name
        self.system = system
        self._dialect = dialect
        self.metrics = metrics
        self.count_statement = budget.count
        """Counts a statement, by its fingerprint, before it runs; raises QueryBudgetExceeded where that is due."""
        self._statements = statements
        self.slow_query_threshold = slow_query_threshold
        self.leak_detection_threshold = leak_detection_threshold

    def record(self, statement: Statement, began: float, result: object) -> None:
        """Record *statement*, which succeeded; *began* is in seconds of :func:`time.perf_counter`."""
        rows = self.record_chunk(statement, began, result)
        self.record_span(statement.sql, began, rows)

    def record_chunk(self, statement: Statement, began: float, result: object) -> int:
        """Record a part of the result of *statement*, without a span, and return its number of rows."""
        metrics = self.metrics
        seconds = perf_counter() - began
        metrics.duration.observe(seconds)
        rows = len(result) if type(result) is list else int(hasattr(result, "keys"))
        if rows:
            metrics.rows.inc(rows)
        if self._statements is not None:
            self._statements.record(statement, seconds, rows)
        if seconds > self.slow_query_threshold:
            metrics.slow.inc()
            log_slow_query(self.name, shown_statement(statement.sql, self._dialect), seconds, rows)
        return rows

    def record_span(self, sql: str, began: float, rows: int, error: str = "") -> None:
        """Record the span of *sql*, for which the task has waited since *began*."""
        record_span(STATEMENT_SPAN, began, (self.system, self.name, sql[:MAX_RECORDED], rows), error=error)

    def raise_failure(
        self, error: BaseException, failure: Failure, sql: str, target: str, reason: str, *, began: float
    ) -> None:
        """Count *error* of *sql* on *target*; raise the error that the application sees instead, if there is one.

        *reason* says why *target* takes no writes, when *failure* is ``DEMOTED``.
        """
        self.record_span(sql, began, 0, error_type(type(error)))
        if self._statements is not None and sql:
            self._statements.record_failure(sql, perf_counter() - began)
        self.metrics.failed("cancelled" if isinstance(error, asyncio.CancelledError) else failure.name.lower())
        if failure is Failure.DISCONNECTED:
            raise Unavailable(f"connection to {target} lost; the outcome of a write in progress is unknown") from error
        if failure is Failure.DEMOTED:
            raise Unavailable(f"{target} takes no writes: {reason}") from error
        if failure is Failure.SCHEMA_CHANGED:
            raise SchemaChanged(
                f"a type or table of {target} changed during the transaction; run the transaction again"
            ) from error
        if failure is Failure.UNWRITABLE:
            raise Unavailable(f"{target} takes no writes: {error}") from error
        if failure is Failure.LOCKED:
            raise Unavailable(f"timed out waiting for a lock of {target}") from error
        if failure is Failure.READ_ONLY:
            raise ReadOnlyError(
                f"{target} is read-only, and this statement writes: {shown_statement(sql, self._dialect)}"
            ) from error
        if failure is Failure.TIMEOUT:
            raise TimeoutError(f"{target} exceeded statement_timeout: {shown_statement(sql, self._dialect)}") from error

    def record_write(self) -> None:
        """Record for read-your-writes consistency that the client of the current request has written."""
        consistency = CONSISTENCY.get()
        if consistency is not None:
            consistency.wrote = True

    def record_leak(self, request: RequestInfo | None, acquired_at: Sequence[CallSite]) -> None:
        """Count and log a connection that is held longer than the leak detection threshold."""
        self.metrics.leaks.inc()
        log_leak(self.name, self.leak_detection_threshold, request, acquired_at)


def log_slow_query(pool: str, statement: str, seconds: float, rows: int) -> None:
    """Log that *statement*, run on *pool*, took *seconds* and returned *rows*, with the id of the current request.

    The record has the fields ``pool``, ``statement``, ``duration_ms``, ``rows`` and ``request_id``. Values are never
    logged, since they may be personal data or secrets.
    """
    extra: dict[str, object] = {
        "pool": pool,
        "statement": statement,
        "duration_ms": round(seconds * 1000, 3),
        "rows": rows,
    }
    text = "slow query: %.3f s, %d rows: %s"
    logger.warning(text, seconds, rows, statement, extra=with_request_id(extra, CURRENT_REQUEST.get()))
