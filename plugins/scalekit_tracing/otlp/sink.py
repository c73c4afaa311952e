"""Encode spans and send them to a collector."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import lru_cache

from scalekit.telemetry import MAX_TEXT, Attributes, FinishedSpan
from scalekit_tracing.kept_trace import KeptTrace
from scalekit_tracing.otlp import json_format, protobuf
from scalekit_tracing.otlp.collector_client import CollectorClient
from scalekit_tracing.otlp.endpoint import CollectorEndpoint
from scalekit_tracing.otlp.partial_success import rejected_spans
from scalekit_tracing.otlp.resource import ServiceResource

logger = logging.getLogger("scalekit.tracing")

ENCODERS = {
    "protobuf": (protobuf.CONTENT_TYPE, protobuf.encode_request),
    "json": (json_format.CONTENT_TYPE, json_format.encode_request),
}


MAX_REMEMBERED = 256
"""Characters of a text for which it is remembered how it is redacted: most texts are repeated."""


class OtlpSink:
    """Sends spans of *resource* to *endpoint*; *redact* masks secrets in all their texts."""

    what = "spans"

    def __init__(self, endpoint: CollectorEndpoint, resource: ServiceResource, redact: Callable[[str], str]) -> None:
        content_type, self._encode = ENCODERS[endpoint.encoding]
        self._client = CollectorClient(endpoint, content_type)
        self._resource = resource
        self._redact = redact
        self._redact_short = lru_cache(4096)(redact)
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
        return self._encode(self._resource, [self._redacted(span) for trace in batch for span in trace.spans()])

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

    def _redacted(self, span: FinishedSpan) -> FinishedSpan:
        return span._replace(
            name=self._text(span.name),
            attributes=self._attributes(span.attributes),
            events=[each._replace(attributes=self._attributes(each.attributes)) for each in span.events],
        )

    def _attributes(self, attributes: Attributes) -> Attributes:
        return {name: self._value(value) for name, value in attributes.items()}

    def _value(self, value: object) -> object:
        if isinstance(value, str):
            return self._text(value)
        return [self._value(each) for each in value] if isinstance(value, list | tuple) else value

    def _text(self, text: str) -> str:
        return self._redact_short(text) if len(text) <= MAX_REMEMBERED else self._redact(text[:MAX_TEXT])
