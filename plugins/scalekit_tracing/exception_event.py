"""Record an exception as an event of a span."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from typing import Any

from scalekit.telemetry import Span, error_type

MAX_STACK = 16_384
"""Characters of a stack trace, of which the end is kept."""


def add_exception(
    span: Span, error: BaseException, further: Mapping[str, Any] | None = None, at: float | None = None
) -> None:
    """Add *error* to *span* as the event ``exception`` (OpenTelemetry semantic conventions, stable).

    *further* are more attributes; *at* is the time of the event, by default now. Messages of exceptions may have
    secrets: they are redacted when the span is exported.
    """
    stack = "".join(traceback.format_exception(error))
    attributes = {
        "exception.type": error_type(type(error)),
        "exception.message": _message(error),
        "exception.stacktrace": stack[-MAX_STACK:],
    }
    span.add_event("exception", {**attributes, **(further or {})}, at)


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as failure:
        return f"<{type(failure).__name__} in str>"
