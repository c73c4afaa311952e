"""Record the spans of a trace.

A plugin declares each kind of its spans once, as a :class:`SpanType`, and records one with :func:`record_span`. An
application uses :func:`span`. Without a trace, because the plugin ``tracing`` is off or no request is served, nothing
is recorded. Recording appends a tuple: names, ids and attributes are made only for traces that are exported.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from enum import IntEnum
from time import perf_counter
from typing import TYPE_CHECKING, Any

from scalekit.telemetry.attributes import Attributes, copied_attributes, size_of, text_of
from scalekit.telemetry.span_details import SpanDetails

if TYPE_CHECKING:
    from scalekit.http.trace_context import TraceContext

MAX_SPANS = 1000
"""Spans of one trace that a process records, with its local root; further spans are counted."""
MAX_FAILED_SPANS = 900
"""Recorded spans above which only those are recorded that enclose recorded ones."""
MAX_ORDINARY_SPANS = 800
"""Recorded spans above which only those are recorded that failed, or enclose recorded ones."""
MAX_TRACE_SIZE = 1 << 21
"""Size of the attributes of one trace that come from the application, in characters; further ones are counted."""
MAX_LATE_TEXT = 256
"""Characters of a name or message that is copied even when the trace has reached MAX_TRACE_SIZE."""

INVALID_SPAN_ID = "0" * 16


class SpanKind(IntEnum):
    """Role of a span in its trace, with the numbers of OTLP."""

    INTERNAL = 1
    SERVER = 2
    CLIENT = 3
    PRODUCER = 4
    CONSUMER = 5


class SpanType:
    """A kind of spans: *name* and *attributes* are functions of the values that are recorded with each.

    They are called in another thread, and only for spans that are exported. *scope* is the name and version of another
    library whose spans they are.
    """

    __slots__ = ("attributes", "kind", "name", "scope")

    def __init__(
        self,
        kind: SpanKind,
        name: Callable[..., str],
        attributes: Callable[..., Attributes],
        scope: tuple[str, str] | None = None,
    ) -> None:
        self.kind = kind
        self.name = name
        self.attributes = attributes
        self.scope = scope


class Trace:
    """The spans that this process records of one trace, below one local root.

    *context* has the ids of the trace and of the remote parent. ``records`` are :data:`SpanRecord`, in the order in
    which they ended, ``dropped`` counts those that are not recorded, and ``is_kept`` is whether they are exported.
    ``size`` is the number of characters of the application's texts.
    """

    __slots__ = (
        "_enclosing",
        "_limit",
        "_may_end_late",
        "_on_late",
        "context",
        "dropped",
        "is_kept",
        "records",
        "size",
    )

    def __init__(self, context: TraceContext) -> None:
        self.context = context
        self.records: list[SpanRecord] = []
        self.dropped = self.size = self._may_end_late = 0
        self.is_kept = False
        self._limit = MAX_ORDINARY_SPANS
        self._enclosing: set[int] | None = None
        self._on_late: Callable[[Trace, SpanRecord], None] | None = None

    def add(self, record: SpanRecord) -> None:
        """Add a span that has ended."""
        records = self.records
        if len(records) < self._limit:
            records.append(record)
        elif self._limit:
            self._add_important(record)
        elif self._may_end_late and self._on_late is not None:
            self._may_end_late -= 1
            self._on_late(self, record)

    def _add_important(self, record: SpanRecord) -> None:
        """Add a span that failed or that is the parent of a recorded one, which ends before it; count any other."""
        records, enclosing = self.records, self._enclosing
        if enclosing is None:
            enclosing = self._enclosing = {id(parent) for parent, *_ in records}  # which the records keep alive
        parent, error, own = record[0], record[5], record[6]
        limit = MAX_SPANS - 1 if id(own) in enclosing else MAX_FAILED_SPANS if error else 0
        if len(records) < limit:
            records.append(record)
            enclosing.add(id(parent))
        else:
            self.dropped += 1

    def close(self, on_late: Callable[[Trace, SpanRecord], None] | None = None) -> list[SpanRecord]:
        """End the trace and return its spans, which it no longer holds: tasks that outlive it refer to it.

        *on_late* receives spans that end later, within MAX_SPANS; without it they are discarded.
        """
        self._on_late = on_late
        self._limit = 0
        records, self.records, self._enclosing = self.records, [], None
        self._may_end_late = MAX_SPANS - 1 - len(records)
        return records

    def copied(self, attributes: Mapping[str, Any]) -> Attributes:
        """Return a copy of *attributes* of the application, without those that are too large for the trace."""
        return copied_attributes(attributes, MAX_TRACE_SIZE - self.size)

    def copied_text(self, text: object) -> str:
        """Return a copy of a name or message of the application, which counts in the size of the trace."""
        copied = text_of(text)
        if len(copied) > MAX_LATE_TEXT and self.size + len(copied) > MAX_TRACE_SIZE:
            copied = f"text of {len(copied)} characters"
        self.size += len(copied)
        return copied


class Span:
    """A span that has not ended, the parent of the spans that are recorded meanwhile.

    ``details`` is None until something is added to the span.
    """

    __slots__ = ("_id", "details", "trace")

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self._id = ""
        self.details: SpanDetails | None = None

    @property
    def span_id(self) -> str:
        """The id of the span: 16 hexadecimal digits."""
        own = self._id
        if not own:
            own = self._id = new_span_id()
        return own

    def record(
        self, span_type: SpanType, began: float, values: Sequence[Any], *, error: str = "", span: Span | str = ""
    ) -> None:
        """Record a child that ends now; see :func:`record_span`."""
        self.trace.add((self, span_type, began, perf_counter(), values, error, span))

    def add_details(self) -> SpanDetails:
        """Return ``details``, to be added to."""
        if self.details is None:
            self.details = SpanDetails()
        return self.details

    def set(self, /, **attributes: Any) -> None:
        """Set attributes beside those of its type."""
        copied = self.trace.copied(attributes)
        self.trace.size += size_of(copied) - size_of(self.add_details().set_attributes(copied))

    def add_event(self, name: str, attributes: Attributes, at: float | None = None) -> None:
        """Add an event that happens now, or at *at* seconds of :func:`time.perf_counter`."""
        removed = self.add_details().add_event(name, perf_counter() if at is None else at, attributes)
        self.trace.size += size_of(attributes) - size_of(removed)

    def add_link(self, trace_id: str, span_id: str) -> None:
        """Link the span to one that caused it, in this or another trace."""
        self.add_details().add_link(trace_id, span_id)


SpanRecord = tuple["Span | None", SpanType, float, float, Sequence[Any], str, "Span | str"]
"""A span that has ended: its parent (None for the local root), its type, begin and end in seconds of
:func:`time.perf_counter`, the values for its type, the type of its error (empty without one), and the span with its id
and details, the id alone, or an empty text when nothing refers to it."""

CURRENT_SPAN: ContextVar[Span | None] = ContextVar("scalekit.telemetry.span", default=None)
"""The innermost span that has not ended, None outside of a trace."""


# One system call per id would dominate the cost. A forked process must not reuse the ids of its parent.
_BATCH_SIZE = 128
_unused: list[str] = []
if hasattr(os, "register_at_fork"):  # Windows forks no processes
    os.register_at_fork(after_in_child=_unused.clear)


def new_span_id() -> str:
    """Return 16 random hexadecimal digits, not all of them zero."""
    try:
        return _unused.pop()
    except IndexError:
        digits = os.urandom(8 * _BATCH_SIZE).hex()
        _unused.extend(each for at in range(0, len(digits), 16) if (each := digits[at : at + 16]) != INVALID_SPAN_ID)
        return _unused.pop()


def record_span(
    span_type: SpanType, began: float, values: Sequence[Any], *, error: str = "", span: Span | str = ""
) -> None:
    """Record a span that ends now, as a child of the current span, if there is one.

    *began* is its begin in seconds of :func:`time.perf_counter`, *values* are the arguments for the functions of
    *span_type*, *error* is the type of its error. *span* is the span, or its id, where others refer to it.
    """
    parent = CURRENT_SPAN.get()
    if parent is not None:
        parent.trace.add((parent, span_type, began, perf_counter(), values, error, span))


def error_type(kind: type[BaseException]) -> str:
    """Return the name of an exception class, with its module unless it is built in."""
    module = kind.__module__
    return kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"
