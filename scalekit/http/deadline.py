"""Until when what is being served here is of use to whoever waits for it."""

from __future__ import annotations

from contextvars import ContextVar
from time import time

DEADLINE: ContextVar[float | None] = ContextVar("scalekit.http.deadline", default=None)
"""In seconds since the epoch, None where nobody waits. A message or a call on behalf of a request carries it along."""
TIMEOUT_HEADER = "x-request-timeout-ms"
"""The header that says how many milliseconds a caller still waits."""

TIMEOUT_HEADER_BYTES = TIMEOUT_HEADER.encode()
_LONGEST_DIGITS = 9


def deadline_from(timeout: bytes | None) -> float | None:
    """Return until when a caller waits whose header says *timeout* and has just come; None when it is no number."""
    if timeout is None or not timeout.isdigit() or len(timeout) > _LONGEST_DIGITS:
        return None
    return time() + int(timeout) / 1e3
