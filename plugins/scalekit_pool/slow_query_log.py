"""Log statements that take longer than ``slow_query_threshold``, without their values."""

from __future__ import annotations

import logging

from scalekit_pool.filters import CURRENT_REQUEST, with_request_id

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
