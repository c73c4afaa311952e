"""Record an exception as an event of a span."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from typing import Any

from scalekit.telemetry import Span, error_type, text_of
from scalekit_tracing.errors.error_event import MAX_CHAIN, chain, related

MAX_STACK = 16_384
"""Characters of a stack trace, of which the end is kept."""
MAX_LINE = 2 * MAX_STACK
"""Characters of the last line, when it alone is longer."""
MAX_FRAMES = 200
"""Frames of an exception that are formatted, the innermost ones."""


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
    """Return the end of the stack trace of *error*, in whole lines, of which none is cut within a secret."""
    if _has_few_causes(error):
        stack = "".join(traceback.format_exception(error, limit=-MAX_FRAMES))
    else:  # formatting thousands of causes, or of exceptions of a group, would take seconds
        stack = "\n".join(map(_without_causes, reversed([each.error for each in chain(error)])))
    if len(stack) <= MAX_STACK:
        return stack
    begin = stack.find("\n", len(stack) - MAX_STACK) + 1
    if 0 < begin < len(stack):
        return stack[begin:]
    return stack[stack.rfind("\n", 0, -1) + 1 :][:MAX_LINE]


def _has_few_causes(error: BaseException) -> bool:
    """Return whether fewer than MAX_CHAIN exceptions would be formatted, with those that occur repeatedly."""
    waiting, count = [error], 0
    while waiting and count < MAX_CHAIN:
        waiting += related(waiting.pop())
        count += 1
    return count < MAX_CHAIN


def _without_causes(error: BaseException) -> str:
    frames = "".join(traceback.format_tb(error.__traceback__, -MAX_FRAMES))
    return f"{frames}{error_type(type(error))}: {text_of(error)}\n"
