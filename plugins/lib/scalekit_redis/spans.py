"""Spans of commands, from the call to the reply."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from time import perf_counter
from typing import TypeVar

from scalekit.telemetry import CURRENT_SPAN, Attributes, Span, SpanKind, SpanType, error_type, record_span

T = TypeVar("T")


def _attributes(operation: str, commands: int) -> Attributes:
    """Return the attributes of a client span (OpenTelemetry semantic conventions, Redis, stable)."""
    attributes: Attributes = {"db.system.name": "redis", "db.operation.name": operation}
    return attributes if commands == 1 else {**attributes, "db.operation.batch.size": commands}


COMMAND_SPAN = SpanType(SpanKind.CLIENT, lambda operation, commands: operation, _attributes)
"""A command; its values are the name of the command, and the number of commands that were sent together."""


class CommandRecorder:
    """Records the span of a command below *parent* when it is called with the future of its reply."""

    __slots__ = ("_began", "_operation", "_parent")

    def __init__(self, parent: Span, operation: str) -> None:
        self._parent = parent
        self._operation = operation
        self._began = perf_counter()

    def __call__(self, reply: asyncio.Future[T]) -> None:
        """Record the span."""
        failure = asyncio.CancelledError() if reply.cancelled() else reply.exception()
        error = "" if failure is None else error_type(type(failure))
        self._parent.record(COMMAND_SPAN, self._began, (self._operation, 1), error=error)


def traced(reply: asyncio.Future[T], operation: object) -> asyncio.Future[T]:
    """Return *reply*, and record the span of its command *operation* below the current span, if there is one."""
    parent = CURRENT_SPAN.get()
    if parent is not None:
        name = operation.decode("ascii", "replace") if isinstance(operation, bytes) else str(operation)
        reply.add_done_callback(CommandRecorder(parent, name.upper()))
    return reply


async def traced_pipeline(replies: Awaitable[T], commands: int) -> T:
    """Return the *replies* to *commands* that are sent together, and record one span for them."""
    began = perf_counter()
    error = ""
    try:
        return await replies
    except BaseException as failure:
        error = error_type(type(failure))
        raise
    finally:
        record_span(COMMAND_SPAN, began, ("PIPELINE", commands), error=error)
