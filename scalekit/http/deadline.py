"""The deadline of the current request, after which its caller no longer waits for the response."""

from __future__ import annotations

from contextvars import ContextVar
from time import time

DEADLINE: ContextVar[float | None] = ContextVar("scalekit.http.deadline", default=None)
"""In seconds since the epoch, or None without a deadline. Outgoing calls and messages of a request propagate it."""
TIMEOUT_HEADER = "x-request-timeout-ms"
"""The header that says how many milliseconds a caller still waits."""

TIMEOUT_HEADER_BYTES = TIMEOUT_HEADER.encode()
_LONGEST_DIGITS = 9


def deadline_from(timeout: bytes | None) -> float | None:
    """Return until when a caller waits whose header says *timeout* and has just come; None when it is no number."""
    if timeout is None or not timeout.isdigit() or len(timeout) > _LONGEST_DIGITS:
        return None
    return time() + int(timeout) / 1e3
