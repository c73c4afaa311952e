"""Log statements that take longer than ``slow_query_threshold``, without their values."""

from __future__ import annotations

import logging
from typing import Any

from scalekit import TRACE_CONTEXT
from scalekit_pool.filters import CURRENT_REQUEST, RequestInfo

logger = logging.getLogger("scalekit.pool")

MAX_LOGGED_CHARACTERS = 2000
"""Characters of a statement that are logged."""


def log_slow_query(pool: str, sql: str, seconds: float, rows: int) -> None:
    """Log that *sql*, run on *pool*, took *seconds* and returned *rows*, with the id of the current request.

    The record has the fields ``pool``, ``statement``, ``duration_ms``, ``rows`` and ``request_id``. Values of
    parameters are never logged, since they may be personal data or secrets.
    """
    statement = sql[:MAX_LOGGED_CHARACTERS]
    extra = {"pool": pool, "statement": statement, "duration_ms": round(seconds * 1000, 3), "rows": rows}
    text = "slow query: %.3f s, %d rows: %s"
    logger.warning(text, seconds, rows, statement, extra=with_request_id(extra, CURRENT_REQUEST.get()))


def with_request_id(extra: dict[str, Any], request: RequestInfo | None) -> dict[str, Any]:
    """Return *extra* with the id of *request*, unless the log formatter adds the id by itself."""
    return extra if request is None or TRACE_CONTEXT.get() is not None else {**extra, "request_id": request.request_id}
