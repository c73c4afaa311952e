"""Encode spans and send them to a collector."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from scalekit import Redactor
from scalekit_tracing.kept_trace import KeptTrace
from scalekit_tracing.otlp.collector_client import CollectorClient
from scalekit_tracing.otlp.endpoint import CollectorEndpoint
from scalekit_tracing.otlp.json_format import JsonEncoder
from scalekit_tracing.otlp.partial_success import rejected_spans
from scalekit_tracing.otlp.protobuf import ProtobufEncoder
from scalekit_tracing.otlp.redaction import SpanRedactor
from scalekit_tracing.otlp.resource import ServiceResource

logger = logging.getLogger("scalekit.tracing")

ENCODERS: dict[str, type[ProtobufEncoder | JsonEncoder]] = {"protobuf": ProtobufEncoder, "json": JsonEncoder}


class OtlpSink:
    """Sends spans of *resource* to *endpoint*, without the secrets that *redactor* masks."""

    what = "spans"

    def __init__(self, endpoint: CollectorEndpoint, resource: ServiceResource, redactor: Redactor) -> None:
        self._encoder = ENCODERS[endpoint.encoding](resource, SpanRedactor(redactor))
        self._client = CollectorClient(endpoint, self._encoder.content_type)
        self._encoding = endpoint.encoding
        self._has_warned = False

    def send(self, batch: Sequence[KeptTrace]) -> int:
        """Send the spans of *batch* and return how many of them the collector rejected, or cannot be encoded."""
        try:
            body, lost = self._body(batch), 0
        except Exception as error:  # by values of a plugin; the other traces are sent
            kept = [trace for trace in batch if self._is_encodable(trace)]
            if not kept:
                raise
            self._warn(error)
            body, lost = self._body(kept), sum(trace.size for trace in batch) - sum(trace.size for trace in kept)
        return lost + rejected_spans(self._client.send(body), self._encoding)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _body(self, batch: Sequence[KeptTrace]) -> bytes:
        return self._encoder.encode([span for trace in batch for span in trace.spans()])

    def _is_encodable(self, trace: KeptTrace) -> bool:
        try:
            self._body([trace])
        except Exception:
            return False
        return True

    def _warn(self, error: Exception) -> None:
        """Log the first trace that cannot be encoded."""
        if not self._has_warned:
            self._has_warned = True
            logger.warning("a trace cannot be encoded: %s: %s", type(error).__name__, error)
