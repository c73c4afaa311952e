"""Format tracebacks in bounded time, whatever their causes and groups are."""

from __future__ import annotations

import traceback
from collections.abc import Iterator

from scalekit.telemetry import error_type, text_of

MAX_EXCEPTIONS = 10
"""Exceptions that are formatted with their causes and groups; of more, only so many are formatted, one by one."""


def format_traceback(error: BaseException) -> str:
    """Return the traceback of *error* with its causes, as Python prints it.

    Python would take seconds for thousands of causes, or for nested groups of exceptions: of these, only the
    MAX_EXCEPTIONS next to *error* are formatted.
    """
    found = list(_next_to(error))
    if len(found) < MAX_EXCEPTIONS:
        return "".join(traceback.format_exception(error))
    distinct = {id(each): each for each in found}
    return "\n".join(_without_causes(each) for each in reversed(distinct.values()))


def related_exceptions(error: BaseException) -> Iterator[BaseException]:
    """Yield the cause of *error*, and the first exceptions of a group."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        yield cause
    if isinstance(error, BaseExceptionGroup):
        yield from error.exceptions[:MAX_EXCEPTIONS]


def _next_to(error: BaseException) -> Iterator[BaseException]:
    """Yield *error*, its causes and the exceptions of its groups, at most MAX_EXCEPTIONS; some may occur repeatedly."""
    waiting = [error]
    for _ in range(MAX_EXCEPTIONS):
        if not waiting:
            return
        current = waiting.pop(0)
        yield current
        waiting += related_exceptions(current)


def _without_causes(error: BaseException) -> str:
    frames = "".join(traceback.format_tb(error.__traceback__))
    return f"{frames}{error_type(type(error))}: {text_of(error)}\n"
