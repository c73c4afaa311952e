"""Encode spans and send them to a collector."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from scalekit import Redactor
from scalekit.telemetry import SpanRedactor
from scalekit_tracing.kept_trace import KeptTrace
from scalekit_tracing.otlp.collector_client import CollectorClient
from scalekit_tracing.otlp.endpoint import CollectorEndpoint
from scalekit_tracing.otlp.json_format import JsonEncoder
from scalekit_tracing.otlp.partial_success import PartialSuccess, partial_success
from scalekit_tracing.otlp.protobuf import ProtobufEncoder
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
        self.target = endpoint.url
        self._warned: set[str] = set()

    def send(self, batch: Sequence[KeptTrace]) -> int:
        """Send the spans of *batch* and return how many of them the collector rejected, or cannot be encoded."""
        size = sum(trace.size for trace in batch)
        try:
            body, sent = self._body(batch), size
        except Exception as error:  # by values of a plugin; the other traces are sent
            kept = [trace for trace in batch if self._is_encodable(trace)]
            if not kept:
                raise
            self._warn("a trace cannot be encoded", f"{type(error).__name__}: {error}")
            body, sent = self._body(kept), sum(trace.size for trace in kept)
        result = partial_success(self._client.send(body), self._encoding)
        self._warn_partial_success(result)
        return size - sent + min(result.rejected_spans, sent)

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

    def _warn_partial_success(self, result: PartialSuccess) -> None:
        if result.rejected_spans:
            self._warn(f"{self.target} rejects spans", result.message or "it does not say why")
        elif result.message:
            self._warn(f"{self.target} warns", result.message)

    def _warn(self, event: str, reason: str) -> None:
        """Log *event* the first time, with its reason."""
        if event not in self._warned:
            self._warned.add(event)
            logger.warning("%s: %s", event, reason)
