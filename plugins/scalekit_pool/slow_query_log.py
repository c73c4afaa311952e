"""Tell of slow statements and of connections that are held for too long: who, where and what, never the values."""

from __future__ import annotations

import logging
import sys
from contextvars import ContextVar
from types import CodeType
from typing import Any, Protocol

from scalekit import TRACE_CONTEXT
from scalekit_pool.metrics import StatementMetrics

logger = logging.getLogger("scalekit.pool")

DEEPEST = 30
LONGEST_TEXT = 2000

Place = tuple[CodeType, int]


class Origin(Protocol):
    """What is being served here and now."""

    @property
    def route(self) -> str:
        """The template of its route."""
        ...

    @property
    def request_id(self) -> str:
        """Its id."""
        ...


ORIGIN: ContextVar[Origin | None] = ContextVar("scalekit.pool.origin", default=None)


class Watch:
    """Knows what is slow, and what is held for too long; times are in seconds."""

    def __init__(self, slow: float, leak_warn: float) -> None:
        self.slow = slow
        self.leak_warn = leak_warn

    def tell_slow(self, metrics: StatementMetrics, pool: str, sql: str, seconds: float, rows: int) -> None:
        """Log a statement that took longer than is slow."""
        metrics.slow.inc()
        extra = {"pool": pool, "statement": sql[:LONGEST_TEXT], "duration_ms": round(seconds * 1000, 3), "rows": rows}
        text = "a statement took %.3fs and gave %d rows: %s"
        logger.warning(text, seconds, rows, sql[:LONGEST_TEXT], extra=_with_request(extra, ORIGIN.get()))

    def tell_held(self, metrics: StatementMetrics, pool: str, origin: Origin | None, places: list[Place]) -> None:
        """Log a connection that is still held, and the *places* that took it."""
        metrics.leaks.inc()
        route = origin.route if origin else ""
        stack = [f"{code.co_filename}:{line} in {code.co_name}" for code, line in places]
        extra = _with_request({"pool": pool, "route": route, "taken_at": stack}, origin)
        text = "a connection of %s is held for more than %gs%s; it was taken by %s"
        where = f", by {route}" if route else ""
        logger.warning(text, pool, self.leak_warn, where, " < ".join(stack) or "nobody known", extra=extra)


def places_above(depth: int) -> list[Place]:
    """Return where the caller's caller stands, innermost first, without this plugin and the event loop."""
    places: list[Place] = []
    frame = sys._getframe(depth)
    here = __name__.partition(".")[0]
    while frame is not None and len(places) < DEEPEST:
        module = frame.f_globals.get("__name__", "")
        if not module.startswith((here, "asyncio", "uvloop", "contextlib")):
            places.append((frame.f_code, frame.f_lineno))
        frame = frame.f_back  # type: ignore[assignment]
    return places


def _with_request(extra: dict[str, Any], origin: Origin | None) -> dict[str, Any]:
    """Return *extra* with the id of the request, where no log line shows it by itself."""
    return extra if origin is None or TRACE_CONTEXT.get() is not None else {**extra, "request_id": origin.request_id}
