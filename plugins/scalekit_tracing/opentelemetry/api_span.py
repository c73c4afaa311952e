"""Spans of ScaleKit as users of opentelemetry-api see them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from time import perf_counter, time
from typing import Any

from opentelemetry.trace import Span as AbstractSpan
from opentelemetry.trace import SpanContext, Status, StatusCode, TraceFlags, TraceState, format_span_id, format_trace_id

from scalekit.telemetry import Attributes, Span, error_type, text_of
from scalekit_tracing.exception_event import add_exception

UNKNOWN_ERROR = "_OTHER"
"""The type of an error that has none (OpenTelemetry semantic conventions, error.type)."""
MIN_TIMESTAMP, MAX_TIMESTAMP = 10**18, 10**19
"""Nanoseconds since the epoch, in 2001 and 2286: other timestamps are mistakes, such as seconds."""


class ApiSpan(AbstractSpan):
    """The span *own* of ScaleKit, which ends by itself."""

    def __init__(self, own: Span) -> None:
        self.own = own
        self._error_type = ""

    def get_span_context(self) -> SpanContext:
        """Return the ids of the span, its flags and ``tracestate``."""
        context = self.own.trace.context
        return SpanContext(
            int(context.trace_id, 16),
            int(self.own.span_id, 16),
            is_remote=False,
            trace_flags=TraceFlags(int(context.flags, 16)),
            trace_state=trace_state(context.tracestate),
        )

    def is_recording(self) -> bool:
        """Return true: which traces are kept is decided at their end."""
        return True

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Set *attributes*."""
        self.own.set(**valid_attributes(attributes))

    def set_attribute(self, key: str, value: Any) -> None:
        """Set an attribute."""
        self.set_attributes({key: value})

    def add_event(self, name: str, attributes: Any = None, timestamp: int | None = None) -> None:
        """Add an event that happened at *timestamp*, in nanoseconds since the epoch, or now."""
        self.own.add_event(text_of(name), self._copied(attributes), seconds_of(timestamp))

    def add_link(self, context: SpanContext, attributes: Any = None) -> None:
        """Link the span to that of *context*; links have no attributes."""
        if context.is_valid:
            self.own.add_link(format_trace_id(context.trace_id), format_span_id(context.span_id))

    def update_name(self, name: str) -> None:
        """Rename the span."""
        self.own.add_details().name = self.own.trace.copied_text(name)

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Declare the span failed or successful; the latter is final."""
        code = status.status_code if isinstance(status, Status) else status
        text = status.description if isinstance(status, Status) else description
        details = self.own.add_details()
        if details.is_ok or code is StatusCode.UNSET:
            return
        details.is_ok = code is StatusCode.OK
        failed = code is StatusCode.ERROR
        details.error = (self._error_type or UNKNOWN_ERROR) if failed else ""
        details.error_message = self.own.trace.copied_text(text or "") if failed else ""

    def record_exception(
        self, exception: BaseException, attributes: Any = None, timestamp: int | None = None, escaped: bool = False
    ) -> None:
        """Add *exception* as an event; it is the type of the error that :meth:`set_status` declares."""
        self._error_type = error_type(type(exception))
        add_exception(self.own, exception, self._copied(attributes), seconds_of(timestamp))

    def end(self, end_time: int | None = None) -> None:
        """Do nothing: ScaleKit ends the span."""

    def _copied(self, attributes: Mapping[str, Any] | None) -> Attributes:
        return self.own.trace.copied(valid_attributes(attributes))


class ServerSpan(ApiSpan):
    """The span of a request, for a framework that begins one of its own for the request: they are the same.

    ScaleKit's name for it has the whole template of the route.
    """

    def update_name(self, name: str) -> None:
        """Do nothing."""


def valid_attributes(attributes: Mapping[str, Any] | None) -> Attributes:
    """Return *attributes* with names that are text, and without those that are None."""
    given = (attributes or {}).items()
    return {name if type(name) is str else text_of(name): value for name, value in given if value is not None}


def seconds_of(timestamp: int | None) -> float:
    """Return *timestamp*, in nanoseconds since the epoch, in seconds of :func:`time.perf_counter`; by default now."""
    if timestamp is None or not MIN_TIMESTAMP <= timestamp < MAX_TIMESTAMP:
        return perf_counter()
    return perf_counter() - time() + timestamp / 1e9


@lru_cache(128)
def trace_state(tracestate: str) -> TraceState:
    """Return the members of *tracestate*, which is valid by level 2 of the specification; the API knows level 1."""
    state = TraceState()
    state._dict.update(dict(member.split("=", 1) for member in tracestate.split(",") if member))
    return state
