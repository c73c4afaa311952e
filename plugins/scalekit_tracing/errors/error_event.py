"""An unhandled exception, as it is reported."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from time import time
from types import TracebackType
from typing import NamedTuple
from uuid import uuid4

from scalekit import related_exceptions
from scalekit.telemetry import error_type, text_of

MAX_FRAMES = 100
"""Frames of an exception that are reported, the innermost ones."""
MAX_CHAIN = 10
"""Exceptions that are reported: causes (``raise ... from``) and those of an ExceptionGroup."""
FRAME_WEIGHT = 100
"""Characters of a frame, about."""


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
    """One exception of a chain, with its frames, the outermost first.

    *parent* is the number of the exception that it caused, or of its group, -1 for the exception that was raised last.
    """

    kind: str
    message: str
    frames: tuple[StackFrame, ...]
    number: int
    parent: int
    is_group: bool


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

    @property
    def weight(self) -> int:
        """The characters of its texts, about."""
        raised = sum(len(each.message) + FRAME_WEIGHT * len(each.frames) for each in self.exceptions)
        return raised + len(self.source.path)


class ChainedException(NamedTuple):
    """An exception of a chain; *parent* is the number of the one that it caused, or of its group, -1 for the first."""

    error: BaseException
    parent: int


def error_event(error: BaseException, source: ErrorSource, suppressed: int) -> ErrorEvent:
    """Return the event of *error*; its frames are read now, its code when it is sent."""
    raised = tuple(_raised(*each, number) for number, each in enumerate(chain(error)))
    return ErrorEvent(uuid4().hex, time(), source, raised[::-1], suppressed)


def fingerprint(error: BaseException) -> tuple[object, ...]:
    """Return what equal exceptions have in common: types, and code and line of the innermost frames."""
    return tuple((type(each.error), *_innermost(each.error.__traceback__)) for each in chain(error))


def chain(error: BaseException) -> Iterator[ChainedException]:
    """Yield *error*, its causes and the exceptions of its groups: at most MAX_CHAIN, those next to *error* first."""
    waiting = deque([ChainedException(error, -1)])
    seen: set[int] = set()
    while waiting and len(seen) < MAX_CHAIN:
        chained = waiting.popleft()
        if id(chained.error) in seen:
            continue
        current, number = chained.error, len(seen)
        seen.add(id(current))
        yield chained
        waiting += [ChainedException(each, number) for each in related_exceptions(current)]


def _innermost(trace: TracebackType | None) -> tuple[object, ...]:
    found: tuple[object, ...] = ()
    while trace is not None:
        found = (trace.tb_frame.f_code, trace.tb_lineno)
        trace = trace.tb_next
    return found


def _raised(error: BaseException, parent: int, number: int) -> RaisedException:
    frames: deque[StackFrame] = deque(maxlen=MAX_FRAMES)
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        module = str(trace.tb_frame.f_globals.get("__name__", ""))
        frames.append(StackFrame(code.co_filename, module, code.co_qualname, trace.tb_lineno))
        trace = trace.tb_next
    is_group = isinstance(error, BaseExceptionGroup)
    return RaisedException(error_type(type(error)), text_of(error), tuple(frames), number, parent, is_group)
