"""Spans of the application: ``with span("price", sku=7):``."""

from __future__ import annotations

from time import perf_counter
from types import TracebackType
from typing import Any

from scalekit.telemetry.attributes import Attributes, size_of, size_without_copy, text_of
from scalekit.telemetry.spans import CURRENT_SPAN, MAX_TRACE_SIZE, Span, SpanKind, SpanType, error_type

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
        self.add_event(text_of(name), self.trace.copied(attributes))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        values, token = self._values, self._token
        if values is None or token is None:  # it has ended
            return
        if type(token) is tuple:
            (self._token,) = token
            return
        self._values = self._token = None  # a token refers to its context and so to all values in it
        trace = self.trace
        size = size_without_copy(*values)
        if size < 0 or trace.size + size > MAX_TRACE_SIZE:
            values = (trace.copied_text(values[0]), trace.copied(values[1]))
            size = size_of(values[1])
        trace.size += size
        failure = "" if kind is None else error_type(kind)
        trace.add((self._parent, _APPLICATION_SPAN, self._began, perf_counter(), values, failure, self))
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
