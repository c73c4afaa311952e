"""Spans as they are exported, resolved from the records of a trace."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from scalekit.telemetry.attributes import Attributes
from scalekit.telemetry.span_details import SpanDetails
from scalekit.telemetry.spans import Span, SpanKind, SpanRecord, Trace, new_span_id


class SpanEvent(NamedTuple):
    """An event at *time_ns*, in nanoseconds since the epoch."""

    name: str
    time_ns: int
    attributes: Attributes


class SpanLink(NamedTuple):
    """The ids of the span that is linked, in hexadecimal digits."""

    trace_id: str
    span_id: str


class FinishedSpan(NamedTuple):
    """A span that has ended; ids are hexadecimal digits, times nanoseconds since the epoch.

    *error* is the type of its error, empty without one, and *error_message* describes it; *is_ok* is whether it was
    declared successful. *scope* is the name and version of the library that made it, None for ScaleKit.
    """

    trace_id: str
    span_id: str
    parent_id: str
    flags: int
    tracestate: str
    name: str
    kind: SpanKind
    began_ns: int
    ended_ns: int
    attributes: Attributes
    error: str
    events: Sequence[SpanEvent] = ()
    links: Sequence[SpanLink] = ()
    has_remote_parent: bool = False
    error_message: str = ""
    is_ok: bool = False
    scope: tuple[str, str] | None = None


def finished_spans(trace: Trace, records: Iterable[SpanRecord], epoch: float) -> Iterator[FinishedSpan]:
    """Yield the spans of *records* of *trace*; *epoch* is the Unix time at 0 of ``time.perf_counter``, in seconds."""
    _, trace_id, _, parent_id, text, tracestate = trace.context
    flags = int(text, 16)
    epoch_ns = int(epoch * 1e6) * 1000
    for parent, span_type, began, ended, values, error, own in records:
        attributes = span_type.attributes(*values)
        if error:
            attributes = {**attributes, "error.type": error}
        if parent is None and trace.dropped:
            attributes = {**attributes, "scalekit.dropped_spans": trace.dropped}
        span = FinishedSpan(
            trace_id,
            own.span_id if isinstance(own, Span) else own or new_span_id(),
            parent_id if parent is None else parent.span_id,
            flags,
            tracestate,
            span_type.name(*values),
            span_type.kind,
            epoch_ns + int(began * 1e9),
            epoch_ns + int(ended * 1e9),
            attributes,
            error,
            has_remote_parent=parent is None and parent_id != "",
            scope=span_type.scope,
        )
        yield _detailed(span, own.details, epoch_ns) if isinstance(own, Span) and own.details is not None else span


def _detailed(span: FinishedSpan, details: SpanDetails, epoch_ns: int) -> FinishedSpan:
    """Return *span* with its *details*; its own attributes and error take precedence."""
    error = span.error or details.error
    attributes = {**details.attributes, **span.attributes}
    if error:
        attributes.setdefault("error.type", error)
    events, links = tuple(details.events or ()), tuple(details.links or ())  # a late task may add one meanwhile
    return span._replace(
        name=details.name or span.name,
        attributes=attributes,
        error=error,
        events=[SpanEvent(name, epoch_ns + int(at * 1e9), each) for name, at, each in events],
        links=[SpanLink(*each) for each in links],
        error_message=details.error_message,
        is_ok=details.is_ok,
    )
