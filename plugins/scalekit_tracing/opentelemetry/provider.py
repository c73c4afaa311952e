"""The tracer provider of opentelemetry-api that records spans in ScaleKit's traces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, NonRecordingSpan, SpanKind, Tracer, TracerProvider, format_trace_id
from opentelemetry.util._decorator import _agnosticcontextmanager

from scalekit.telemetry import SpanKind as OwnKind
from scalekit.telemetry import SpanType, text_of
from scalekit_tracing.opentelemetry.api_span import ApiSpan, ServerSpan
from scalekit_tracing.opentelemetry.runtime_context import recorded_span
from scalekit_tracing.opentelemetry.started_span import StartedSpan


class SpanTracerProvider(TracerProvider):
    """Returns tracers whose spans are part of the current trace."""

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: Any = None,
    ) -> Tracer:
        """Return a tracer; name and version are the instrumentation scope of its spans."""
        return SpanTracer(_span_types(text_of(instrumenting_module_name), text_of(instrumenting_library_version or "")))


@lru_cache(256)
def _span_types(name: str, version: str) -> Mapping[SpanKind, SpanType]:
    """Return the types of the spans of a library; their value is the name of the span."""
    return {
        kind: SpanType(OwnKind[kind.name], lambda name: name, lambda name: {}, (name, version)) for kind in SpanKind
    }


class SpanTracer(Tracer):
    """Starts spans of the types *span_types*."""

    def __init__(self, span_types: Mapping[SpanKind, SpanType]) -> None:
        self._span_types = span_types

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Any = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> trace.Span:
        """Start a span below that of *context*, by default the current one.

        A context without a span of ScaleKit, such as the remote one of a request's headers, means the current span:
        the span that describes a request is that of ScaleKit, whichever trace the client asked for, and all others are
        below it. Other spans of another trace, and those outside of a trace, are not recorded.
        """
        given = trace.get_current_span(context)
        if isinstance(given, ApiSpan):
            parent = given.own
        else:
            current, ids = recorded_span(), given.get_span_context()
            if current is not None and kind is SpanKind.SERVER:
                return ServerSpan(current)
            if current is None or (ids.is_valid and format_trace_id(ids.trace_id) != current.trace.context.trace_id):
                return NonRecordingSpan(ids)
            parent = current
        span = StartedSpan(
            parent,
            self._span_types[kind],
            name,
            start_time,
            records_exception=record_exception,
            sets_status=set_status_on_exception,
        )
        if attributes:
            span.set_attributes(attributes)
        for link in links or ():
            span.add_link(link.context)
        return span

    @_agnosticcontextmanager
    def start_as_current_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Any = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
        end_on_exit: bool = True,
    ) -> Iterator[trace.Span]:
        """Start a span as :meth:`start_span` does, and make it the current one."""
        span = self.start_span(name, context, kind, attributes, links, start_time)
        is_server = isinstance(span, ServerSpan)  # ScaleKit records its exception
        with trace.use_span(
            span,
            end_on_exit=end_on_exit,
            record_exception=record_exception and not is_server,
            set_status_on_exception=set_status_on_exception and not is_server,
        ):
            yield span
