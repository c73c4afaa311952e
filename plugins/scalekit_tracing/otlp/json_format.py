"""Encode spans as ``ExportTraceServiceRequest`` of OTLP in JSON: ids in hexadecimal, 64-bit integers as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from scalekit.telemetry import MAX_ATTRIBUTES, MAX_TEXT, FinishedSpan, text_of
from scalekit_tracing.otlp.protobuf import HAS_IS_REMOTE, IS_REMOTE
from scalekit_tracing.otlp.resource import SCOPE, ServiceResource

CONTENT_TYPE = "application/json"
ERROR = 2
"""``STATUS_CODE_ERROR``."""


def encode_request(resource: ServiceResource, spans: Iterable[FinishedSpan]) -> bytes:
    """Return the request that exports *spans* of *resource*."""
    scope_spans = {"scope": {"name": SCOPE, "version": resource.version}, "spans": [_span(each) for each in spans]}
    described = {"attributes": _attributes(resource.attributes)}
    return orjson.dumps({"resourceSpans": [{"resource": described, "scopeSpans": [scope_spans]}]})


def _span(span: FinishedSpan) -> dict[str, Any]:
    remote = IS_REMOTE if span.has_remote_parent else 0
    encoded: dict[str, Any] = {
        "traceId": span.trace_id,
        "spanId": span.span_id,
        "name": _text(span.name),
        "kind": int(span.kind),
        "startTimeUnixNano": str(span.began_ns),
        "endTimeUnixNano": str(span.ended_ns),
        "attributes": _attributes(span.attributes),
        "flags": span.flags | HAS_IS_REMOTE | remote,
    }
    if span.parent_id:
        encoded["parentSpanId"] = span.parent_id
    if span.tracestate:
        encoded["traceState"] = span.tracestate
    if len(span.attributes) > MAX_ATTRIBUTES:
        encoded["droppedAttributesCount"] = len(span.attributes) - MAX_ATTRIBUTES
    if span.events:
        encoded["events"] = [
            {"name": _text(each.name), "timeUnixNano": str(each.time_ns), "attributes": _attributes(each.attributes)}
            for each in span.events
        ]
    if span.links:
        encoded["links"] = [{"traceId": each.trace_id, "spanId": each.span_id} for each in span.links]
    if span.error:
        encoded["status"] = {"code": ERROR}
    return encoded


def _attributes(attributes: Mapping[str, object]) -> list[dict[str, Any]]:
    return [{"key": _text(name), "value": _value(value)} for name, value in list(attributes.items())[:MAX_ATTRIBUTES]]


def _value(value: object) -> dict[str, Any]:
    """Return *value* as ``AnyValue``; a value of another type becomes text."""
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int) and -(1 << 63) <= value < 1 << 63:
        return {"intValue": str(int(value))}
    if isinstance(value, float):
        return {"doubleValue": _double(value)}
    if isinstance(value, list | tuple):
        return {"arrayValue": {"values": [_value(each) for each in value[:MAX_ATTRIBUTES]]}}
    return {"stringValue": _text(value if isinstance(value, str) else text_of(value))}


def _double(value: float) -> float | str:
    """Return *value*; those that JSON lacks are text (the JSON mapping of protocol buffers)."""
    if value != value:
        return "NaN"
    return value if abs(value) != float("inf") else "Infinity" if value > 0 else "-Infinity"


def _text(text: str) -> str:
    return text[:MAX_TEXT].encode("utf-8", "replace").decode()
