"""An unhandled exception, as it is reported."""

from __future__ import annotations

from collections.abc import Iterator
from time import time
from types import TracebackType
from typing import NamedTuple
from uuid import uuid4

from scalekit.telemetry import error_type

MAX_FRAMES = 100
"""Frames of an exception that are reported, the innermost ones."""
MAX_CHAIN = 10
"""Exceptions of a chain (``raise ... from``) that are reported."""
MAX_MESSAGE = 4096
"""Characters of a message that are reported."""


class ErrorSource(NamedTuple):
    """Where an exception was raised: route or consumer, method and path (empty for a message), and the ids."""

    name: str
    method: str
    path: str
    request_id: str
    trace_id: str
    span_id: str


class StackFrame(NamedTuple):
    """One frame: file, module, function and line."""

    file: str
    module: str
    function: str
    line: int


class RaisedException(NamedTuple):
    """One exception of a chain, with its frames, the outermost first."""

    kind: str
    message: str
    frames: tuple[StackFrame, ...]


class ErrorEvent(NamedTuple):
    """An exception with its causes, the innermost cause first, as it is reported.

    *suppressed* counts equal exceptions since the last report.
    """

    event_id: str
    time: float
    source: ErrorSource
    exceptions: tuple[RaisedException, ...]
    suppressed: int

    @property
    def size(self) -> int:
        """How much it counts in the queue of the exporter."""
        return 1


def error_event(error: BaseException, source: ErrorSource, suppressed: int) -> ErrorEvent:
    """Return the event of *error*; its frames are read now, its code when it is sent."""
    chain = tuple(_raised(each) for each in _chain(error))
    return ErrorEvent(uuid4().hex, time(), source, chain[::-1], suppressed)


def fingerprint(error: BaseException) -> tuple[object, ...]:
    """Return what equal exceptions have in common: types, and code and line of the innermost frames."""
    return tuple((type(each), *_innermost(each.__traceback__)) for each in _chain(error))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield *error* and its causes."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen and len(seen) < MAX_CHAIN:
        seen.add(id(current))
        yield current
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)


def _innermost(trace: TracebackType | None) -> tuple[object, ...]:
    found: tuple[object, ...] = ()
    while trace is not None:
        found = (trace.tb_frame.f_code, trace.tb_lineno)
        trace = trace.tb_next
    return found


def _raised(error: BaseException) -> RaisedException:
    frames: list[StackFrame] = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        module = str(trace.tb_frame.f_globals.get("__name__", ""))
        frames.append(StackFrame(code.co_filename, module, code.co_qualname, trace.tb_lineno))
        trace = trace.tb_next
    return RaisedException(error_type(type(error)), _message(error), tuple(frames[-MAX_FRAMES:]))


def _message(error: BaseException) -> str:
    try:
        return str(error)[:MAX_MESSAGE]
    except Exception as failure:
        return f"<{type(failure).__name__} in str>"
