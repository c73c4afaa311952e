"""Until when what is being served here is of use to whoever waits for it."""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar
from time import time

DEADLINE: ContextVar[float | None] = ContextVar("scalekit.deadline", default=None)
"""In seconds since the epoch, None where nobody waits. A message or a call on behalf of a request carries it along."""
TIMEOUT = "x-request-timeout-ms"
"""The header that says how many milliseconds a caller still waits."""

_TIMEOUT = TIMEOUT.encode()
_LONGEST_DIGITS = 9


def deadline_asked(headers: Iterable[tuple[bytes, bytes]]) -> float | None:
    """Return until when the caller waits whose request with *headers* has just come; None where they do not say."""
    for name, value in headers:
        if name == _TIMEOUT:
            return time() + int(value) / 1e3 if value.isdigit() and len(value) <= _LONGEST_DIGITS else None
    return None
