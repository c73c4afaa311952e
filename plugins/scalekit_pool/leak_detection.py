"""Log connections that are held longer than ``leak_detection_threshold`` or than the pool, with the code at fault."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from types import CodeType

from scalekit_pool.filters import RequestInfo, with_request_id

logger = logging.getLogger("scalekit.pool")

MAX_DEPTH = 30
"""Stack frames that are recorded of the code that acquires a connection."""

CallSite = tuple[CodeType, int]
"""The code object and the line number of one stack frame."""


def log_leak(pool: str, threshold: float, request: RequestInfo | None, acquired_at: Sequence[CallSite]) -> None:
    """Log that a connection of *pool* is held longer than *threshold* seconds, acquired at *acquired_at*.

    The record has the fields ``pool``, ``route``, ``acquired_at`` and ``request_id``.
    """
    route = request.route if request else ""
    stack = _described(acquired_at)
    extra = with_request_id({"pool": pool, "route": route, "acquired_at": stack}, request)
    text = "connection leak? a connection of %s is held longer than %gs%s; acquired at %s"
    where = f" by {route}" if route else ""
    logger.warning(text, pool, threshold, where, " < ".join(stack) or "an unknown place", extra=extra)


def log_unreleased(target: str, seconds: float, acquired_at: Sequence[CallSite]) -> None:
    """Log that a connection to *target*, acquired at *acquired_at*, is closed in use, *seconds* after the stop.

    The record has the fields ``target`` and ``acquired_at``.
    """
    stack = _described(acquired_at)
    logger.warning(
        "closing a connection to %s that is in use %gs after the stop, which rolls back; acquired at %s",
        target,
        seconds,
        " < ".join(stack) or "an unknown place",
        extra={"target": target, "acquired_at": stack},
    )


def _described(acquired_at: Sequence[CallSite]) -> list[str]:
    return [f"{code.co_filename}:{line} in {code.co_name}" for code, line in acquired_at]


def call_sites(depth: int) -> list[CallSite]:
    """Return the stack from *depth* frames up, innermost first, without frames of the pool, event loop and SQLAlchemy.

    Code objects and line numbers cost little to record; they are formatted only when a leak is logged.
    """
    sites: list[CallSite] = []
    frame = sys._getframe(depth)
    here = __name__.partition(".")[0]
    while frame is not None and len(sites) < MAX_DEPTH:
        module = frame.f_globals.get("__name__", "")
        if not module.startswith((here, "asyncio", "uvloop", "contextlib", "sqlalchemy.")):
            sites.append((frame.f_code, frame.f_lineno))
        frame = frame.f_back  # type: ignore[assignment] # outermost: None
    return sites
