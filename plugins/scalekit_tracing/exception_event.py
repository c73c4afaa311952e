"""Record an exception as an event of a span."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scalekit import format_traceback
from scalekit.telemetry import Span, error_type, text_of

MAX_STACK = 16_384
"""Characters of a stack trace, of which the end is kept."""
MAX_LINE = 2 * MAX_STACK
"""Characters of the last line, when it alone is longer."""


def add_exception(
    span: Span, error: BaseException, further: Mapping[str, Any] | None = None, at: float | None = None
) -> None:
    """Add *error* to *span* as the event ``exception`` (OpenTelemetry semantic conventions, stable).

    *further* are more attributes; *at* is the time of the event, by default now. Messages of exceptions may have
    secrets: they are redacted when the span is exported.
    """
    message, stack = text_of(error), _stack(error)
    attributes = {
        "exception.type": error_type(type(error)),
        "exception.message": message,
        "exception.stacktrace": stack,
    }
    span.add_event("exception", {**attributes, **(further or {})}, at)


def _stack(error: BaseException) -> str:
    """Return the end of the traceback of *error*, in whole lines, of which none is cut within a secret."""
    stack = format_traceback(error)
    if len(stack) <= MAX_STACK:
        return stack
    begin = stack.find("\n", len(stack) - MAX_STACK) + 1
    if 0 < begin < len(stack):
        return stack[begin:]
    return stack[stack.rfind("\n", 0, -1) + 1 :][:MAX_LINE]
