"""Spans as they are exported, resolved from the records of a trace."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from scalekit.telemetry.attributes import Attributes
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

    *error* is the type of its error, empty without one. *dropped_spans*, of the local root, counts the spans of its
    trace that were not recorded.
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
        span_id, events, links = (own or new_span_id(), (), ()) if isinstance(own, str) else _details(own, epoch_ns)
        yield FinishedSpan(
            trace_id,
            span_id,
            parent_id if parent is None else parent.span_id,
            flags,
            tracestate,
            span_type.name(*values),
            span_type.kind,
            epoch_ns + int(began * 1e9),
            epoch_ns + int(ended * 1e9),
            attributes,
            error,
            events,
            links,
            parent is None and parent_id != "",
        )


def _details(own: Span, epoch_ns: int) -> tuple[str, Sequence[SpanEvent], Sequence[SpanLink]]:
    """Return the id of a span, its events and links."""
    if not own.events and not own.links:
        return own.span_id, (), ()
    events, links = tuple(own.events or ()), tuple(own.links or ())  # a late task may add one meanwhile
    return (
        own.span_id,
        [SpanEvent(name, epoch_ns + int(at * 1e9), attributes) for name, at, attributes in events],
        [SpanLink(*each) for each in links],
    )
