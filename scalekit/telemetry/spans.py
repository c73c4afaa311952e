"""Record the spans of a trace.

A plugin declares each kind of its spans once, as a :class:`SpanType`, and records one with :func:`record_span`. An
application uses :func:`span`. Without a trace, because the plugin ``tracing`` is off or no request is served, nothing
is recorded. Recording appends a tuple: names, ids and attributes are made only for traces that are exported.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from enum import IntEnum
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any

from scalekit.telemetry.attributes import Attributes, are_unchangeable, copied_attributes, text_of
from scalekit.telemetry.span_details import SpanDetails

if TYPE_CHECKING:
    from scalekit.http.trace_context import TraceContext

MAX_SPANS = 1000
"""Spans of one trace that a process records; further spans are counted."""

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
    which they ended, ``dropped`` counts those above MAX_SPANS, and ``is_kept`` is whether they are exported.
    """

    __slots__ = ("_limit", "_on_late", "context", "dropped", "is_kept", "records")

    def __init__(self, context: TraceContext) -> None:
        self.context = context
        self.records: list[SpanRecord] = []
        self.dropped = 0
        self.is_kept = False
        self._limit = MAX_SPANS
        self._on_late: Callable[[Trace, SpanRecord], None] | None = None

    def add(self, record: SpanRecord) -> None:
        """Add a span that has ended."""
        records = self.records
        if len(records) < self._limit:
            records.append(record)
        elif self._limit:
            self.dropped += 1
        elif self._on_late is not None:
            self._on_late(self, record)

    def close(self, on_late: Callable[[Trace, SpanRecord], None] | None = None) -> list[SpanRecord]:
        """End the trace and return its spans, which it no longer holds: tasks that outlive it refer to it.

        *on_late* receives spans that end later; without it they are discarded.
        """
        self._on_late = on_late
        self._limit = 0
        records, self.records = self.records, []
        return records


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
        self.add_details().set_attributes(attributes)

    def add_event(self, name: str, attributes: Attributes, at: float | None = None) -> None:
        """Add an event that happens now, or at *at* seconds of :func:`time.perf_counter`."""
        self.add_details().add_event(name, perf_counter() if at is None else at, attributes)

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


_APPLICATION_SPAN = SpanType(SpanKind.INTERNAL, lambda name, attributes: name, lambda name, attributes: attributes)
_current_span = CURRENT_SPAN.get
_set_current_span = CURRENT_SPAN.set
_reset_current_span = CURRENT_SPAN.reset


class ApplicationSpan(Span):
    """A span of the application: ``with`` begins and ends it, ``set`` adds attributes.

    In ``async`` code it may span an ``await``; a thread that runs in a copy of the context has it as its current span.
    It begins and ends once: a second ``with`` of the same object, within or after the first, records nothing.
    """

    __slots__ = ("_began", "_parent", "_token", "_values")

    def __init__(self, parent: Span, values: tuple[str, Attributes]) -> None:
        self.trace = parent.trace  # inlined Span.__init__
        self._id = ""
        self.details = None
        self._parent = parent
        self._values: tuple[str, Attributes] | None = values
        self._token: Any = None  # a Token, or a tuple with the one before

    def __enter__(self) -> ApplicationSpan:
        if self._token is not None:  # entered again, within
            self._token = (self._token,)
        elif self._values is not None:
            self._token = _set_current_span(self)
            self._began = perf_counter()
        return self

    def set(self, /, **attributes: Any) -> None:
        """Set attributes; does nothing when the span has ended."""
        values = self._values
        if values is not None:
            values[1].update(attributes)

    def event(self, name: str, /, **attributes: Any) -> None:
        """Record that something happened now."""
        self.add_event(text_of(name), copied_attributes(attributes))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        values, token = self._values, self._token
        if values is None or token is None:  # it has ended
            return
        if type(token) is tuple:
            (self._token,) = token
            return
        self._values = self._token = None  # a token refers to its context and so to all values in it
        if type(values[0]) is not str or not are_unchangeable(values[1]):
            values = (text_of(values[0]), copied_attributes(values[1]))
        failure = "" if kind is None else error_type(kind)
        self.trace.add((self._parent, _APPLICATION_SPAN, self._began, perf_counter(), values, failure, self))
        try:
            _reset_current_span(token)
        except ValueError:  # a generator that another context closes: its variable is gone
            pass


class UnrecordedSpan:
    """A span of the application outside of a trace: all of its methods do nothing."""

    __slots__ = ()

    def __enter__(self) -> UnrecordedSpan:
        return self

    def set(self, /, **attributes: Any) -> None:
        """Do nothing."""

    def event(self, name: str, /, **attributes: Any) -> None:
        """Do nothing."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        pass


_UNRECORDED = UnrecordedSpan()


def span(name: str, /, **attributes: Any) -> ApplicationSpan | UnrecordedSpan:
    """Return a span of the application below the current one, for a ``with`` statement.

    Attributes are texts, numbers, booleans, or sequences of one of these; other values become text when it ends.
    """
    parent = _current_span()
    return _UNRECORDED if parent is None else ApplicationSpan(parent, (name, attributes))


def error_type(kind: type[BaseException]) -> str:
    """Return the name of an exception class, with its module unless it is built in."""
    module = kind.__module__
    return kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"
