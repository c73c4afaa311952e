"""Encode spans as ``ExportTraceServiceRequest`` of OTLP in JSON: ids in hexadecimal, 64-bit integers as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from scalekit.telemetry import MAX_ATTRIBUTES, FinishedSpan, SpanEvent, SpanRedactor, text_of
from scalekit_tracing.otlp.protobuf import HAS_IS_REMOTE, IS_REMOTE
from scalekit_tracing.otlp.resource import ServiceResource, spans_by_scope

CONTENT_TYPE = "application/json"
OK, ERROR = 1, 2
"""``STATUS_CODE_OK`` and ``STATUS_CODE_ERROR``."""


class JsonEncoder:
    """Encodes spans of *resource*, without the secrets that *redactor* masks."""

    content_type = CONTENT_TYPE

    def __init__(self, resource: ServiceResource, redactor: SpanRedactor) -> None:
        self._redactor = redactor
        self._resource = [_key_value(name, value) for name, value in resource.attributes.items()]
        self._version = resource.version

    def encode(self, spans: Iterable[FinishedSpan]) -> bytes:
        """Return the request that exports *spans*."""
        scope_spans = [
            {"scope": {"name": _text(name), "version": _text(version)}, "spans": [self._span(each) for each in found]}
            for (name, version), found in spans_by_scope(self._version, spans).items()
        ]
        resource = {"attributes": self._resource}
        return orjson.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": scope_spans}]})

    def _span(self, span: FinishedSpan) -> dict[str, Any]:
        remote = IS_REMOTE if span.has_remote_parent else 0
        encoded: dict[str, Any] = {
            "traceId": span.trace_id,
            "spanId": span.span_id,
            "name": _text(self._redactor.text(span.name)),
            "kind": int(span.kind),
            "startTimeUnixNano": str(span.began_ns),
            "endTimeUnixNano": str(span.ended_ns),
            "attributes": self._attributes(span.attributes),
            "flags": span.flags | HAS_IS_REMOTE | remote,
        }
        if span.parent_id:
            encoded["parentSpanId"] = span.parent_id
        if span.tracestate:
            encoded["traceState"] = span.tracestate
        if len(span.attributes) > MAX_ATTRIBUTES:
            encoded["droppedAttributesCount"] = len(span.attributes) - MAX_ATTRIBUTES
        if span.events:
            encoded["events"] = [self._event(each) for each in span.events]
        if span.links:
            encoded["links"] = [{"traceId": each.trace_id, "spanId": each.span_id} for each in span.links]
        if span.error:
            text = {"message": _text(self._redactor.text(span.error_message))} if span.error_message else {}
            encoded["status"] = {**text, "code": ERROR}
        elif span.is_ok:
            encoded["status"] = {"code": OK}
        return encoded

    def _event(self, event: SpanEvent) -> dict[str, Any]:
        name = _text(self._redactor.text(event.name))
        return {"name": name, "timeUnixNano": str(event.time_ns), "attributes": self._attributes(event.attributes)}

    def _attributes(self, attributes: Mapping[str, object]) -> list[dict[str, Any]]:
        redactor = self._redactor
        items = list(attributes.items())[:MAX_ATTRIBUTES]
        return [_key_value(redactor.text(name), redactor.value(name, value)) for name, value in items]


def _key_value(name: str, value: object) -> dict[str, Any]:
    return {"key": _text(name), "value": _value(value)}


def _value(value: object) -> dict[str, Any]:
    """Return *value* as ``AnyValue``; a large number becomes text."""
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int) and -(1 << 63) <= value < 1 << 63:
        return {"intValue": str(int(value))}
    if isinstance(value, float):
        return {"doubleValue": _double(value)}
    if isinstance(value, list):
        return {"arrayValue": {"values": [_value(each) for each in value]}}
    return {"stringValue": _text(text_of(value))}


def _double(value: float) -> float | str:
    """Return *value*; those that JSON lacks are text (the JSON mapping of protocol buffers)."""
    if value != value:
        return "NaN"
    return value if abs(value) != float("inf") else "Infinity" if value > 0 else "-Infinity"


def _text(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
