"""Encode spans and send them to a collector."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from scalekit.telemetry import FinishedSpan, SpanEvent
from scalekit_tracing.kept_trace import KeptTrace
from scalekit_tracing.otlp import json_format, protobuf
from scalekit_tracing.otlp.collector_client import CollectorClient
from scalekit_tracing.otlp.endpoint import CollectorEndpoint
from scalekit_tracing.otlp.partial_success import rejected_spans
from scalekit_tracing.otlp.resource import ServiceResource

ENCODERS = {
    "protobuf": (protobuf.CONTENT_TYPE, protobuf.encode_request),
    "json": (json_format.CONTENT_TYPE, json_format.encode_request),
}


class OtlpSink:
    """Sends spans of *resource* to *endpoint*; *redact* masks secrets in texts of exceptions."""

    what = "spans"

    def __init__(self, endpoint: CollectorEndpoint, resource: ServiceResource, redact: Callable[[str], str]) -> None:
        content_type, self._encode = ENCODERS[endpoint.encoding]
        self._client = CollectorClient(endpoint, content_type)
        self._resource = resource
        self._redact = redact
        self._encoding = endpoint.encoding

    def send(self, batch: Sequence[KeptTrace]) -> int:
        """Send the spans of *batch* and return how many of them the collector rejected."""
        spans = [self._redacted(span) if span.events else span for trace in batch for span in trace.spans()]
        return rejected_spans(self._client.send(self._encode(self._resource, spans)), self._encoding)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _redacted(self, span: FinishedSpan) -> FinishedSpan:
        return span._replace(events=[self._redacted_event(event) for event in span.events])

    def _redacted_event(self, event: SpanEvent) -> SpanEvent:
        return event._replace(
            attributes={
                name: self._redact(value) if isinstance(value, str) else value
                for name, value in event.attributes.items()
            }
        )
