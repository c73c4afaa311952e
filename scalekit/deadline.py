"""Until when what is being served here is of use to whoever waits for it."""

from __future__ import annotations

from contextvars import ContextVar

DEADLINE: ContextVar[float | None] = ContextVar("scalekit.deadline", default=None)
"""In seconds since the epoch, None where nobody waits. A message or a call on behalf of a request carries it along."""
