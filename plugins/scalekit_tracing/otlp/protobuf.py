"""Encode spans as ``ExportTraceServiceRequest`` of OTLP, in the binary format of protocol buffers.

The messages are those of opentelemetry-proto 1.x (trace/v1/trace.proto, common/v1/common.proto); a comment names the
field of each tag.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from struct import Struct

from scalekit.telemetry import MAX_ATTRIBUTES, MAX_TEXT, FinishedSpan, SpanEvent, SpanKind, SpanLink, text_of
from scalekit_tracing.otlp.resource import SCOPE, ServiceResource

CONTENT_TYPE = "application/x-protobuf"

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
_MAX_INT = 1 << 63

_times = Struct("<BQBQ").pack  # Span.start_time_unix_nano = 7, end_time_unix_nano = 8
_time = Struct("<BQ").pack
_flags = Struct("<HI").pack
_double = Struct("<Bd").pack

SHORT = 64
"""Characters of a text below which it is likely to recur."""
HAS_IS_REMOTE, IS_REMOTE = 0x100, 0x200
"""Bits of ``Span.flags`` and ``Link.flags`` (SpanFlags)."""


def varint(number: int) -> bytes:
    """Return the varint of *number*, which is not negative."""
    if number < 0x80:
        return bytes((number,))
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def tag(field: int, wire_type: int) -> bytes:
    """Return the tag of the field with the number *field*."""
    return varint(field << 3 | wire_type)


def message(tagged: bytes, content: bytes) -> bytes:
    """Return *content* as the field with the tag *tagged*."""
    return tagged + varint(len(content)) + content


_REQUEST_RESOURCE_SPANS = tag(1, LENGTH)
_RESOURCE = tag(1, LENGTH)
_SCOPE_SPANS = tag(2, LENGTH)
_RESOURCE_ATTRIBUTES = tag(1, LENGTH)
_SCOPE = tag(1, LENGTH)
_SCOPE_NAME = tag(1, LENGTH)
_SCOPE_VERSION = tag(2, LENGTH)
_SPANS = tag(2, LENGTH)

_TRACE_ID = tag(1, LENGTH) + b"\x10"
_SPAN_ID = tag(2, LENGTH) + b"\x08"
_TRACESTATE = tag(3, LENGTH)
_PARENT_ID = tag(4, LENGTH) + b"\x08"
_NAME = tag(5, LENGTH)
_KIND = tag(6, VARINT)
_BEGAN = tag(7, FIXED64)[0]
_ENDED = tag(8, FIXED64)[0]
_ATTRIBUTES = tag(9, LENGTH)
_DROPPED_ATTRIBUTES = tag(10, VARINT)
_EVENTS = tag(11, LENGTH)
_LINKS = tag(13, LENGTH)
_ERROR_STATUS = message(tag(15, LENGTH), tag(3, VARINT) + b"\x02")  # Status.code = STATUS_CODE_ERROR
_FLAGS = int.from_bytes(tag(16, FIXED32), "little")

_EVENT_TIME = tag(1, FIXED64)[0]
_EVENT_NAME = tag(2, LENGTH)
_EVENT_ATTRIBUTES = tag(3, LENGTH)
_LINK_TRACE_ID = tag(1, LENGTH) + b"\x10"
_LINK_SPAN_ID = tag(2, LENGTH) + b"\x08"

_KEY = tag(1, LENGTH)
_VALUE = tag(2, LENGTH)
_STRING = tag(1, LENGTH)
_BOOL = tag(2, VARINT)
_INT = tag(3, VARINT)
_DOUBLE = tag(4, FIXED64)[0]
_ARRAY = tag(5, LENGTH)
_ARRAY_VALUES = tag(1, LENGTH)


def encode_request(resource: ServiceResource, spans: Iterable[FinishedSpan]) -> bytes:
    """Return the request that exports *spans* of *resource*."""
    scope = message(_SCOPE, message(_SCOPE_NAME, SCOPE.encode()) + message(_SCOPE_VERSION, resource.version.encode()))
    encoded = scope + b"".join([message(_SPANS, encode_span(each)) for each in spans])
    described = message(_RESOURCE, _attributes(_RESOURCE_ATTRIBUTES, resource.attributes))
    return message(_REQUEST_RESOURCE_SPANS, described + message(_SCOPE_SPANS, encoded))


def encode_span(span: FinishedSpan) -> bytes:
    """Return *span* as the message ``Span``."""
    parts = [
        _TRACE_ID,
        bytes.fromhex(span.trace_id),
        _SPAN_ID,
        bytes.fromhex(span.span_id),
        _name_and_kind(span.name, span.kind),
        _times(_BEGAN, span.began_ns, _ENDED, span.ended_ns),
        _attributes(_ATTRIBUTES, span.attributes),
    ]
    if span.parent_id:
        parts += (_PARENT_ID, bytes.fromhex(span.parent_id))
    parts.append(_flags(_FLAGS, span.flags | HAS_IS_REMOTE | (IS_REMOTE if span.has_remote_parent else 0)))
    if span.tracestate:
        parts.append(_text_field(_TRACESTATE, span.tracestate))
    if len(span.attributes) > MAX_ATTRIBUTES:
        parts += (_DROPPED_ATTRIBUTES, varint(len(span.attributes) - MAX_ATTRIBUTES))
    if span.events or span.links:
        parts += [message(_EVENTS, _event(each)) for each in span.events]
        parts += [message(_LINKS, _link(each)) for each in span.links]
    if span.error:
        parts.append(_ERROR_STATUS)
    return b"".join(parts)


@lru_cache(1024)
def _name_and_kind(name: str, kind: SpanKind) -> bytes:
    return _text_field(_NAME, name) + _KIND + varint(kind)


def _event(event: SpanEvent) -> bytes:
    head = _time(_EVENT_TIME, event.time_ns) + _text_field(_EVENT_NAME, event.name)
    return head + _attributes(_EVENT_ATTRIBUTES, event.attributes)


def _link(link: SpanLink) -> bytes:
    return _LINK_TRACE_ID + bytes.fromhex(link.trace_id) + _LINK_SPAN_ID + bytes.fromhex(link.span_id)


def _attributes(tagged: bytes, attributes: Mapping[str, object]) -> bytes:
    if len(attributes) > MAX_ATTRIBUTES:
        attributes = dict(list(attributes.items())[:MAX_ATTRIBUTES])
    return b"".join([_attribute(tagged, name, value) for name, value in attributes.items()])


def _attribute(tagged: bytes, name: str, value: object) -> bytes:
    """Return an attribute; those with a short value, which recur, are encoded once."""
    kind = type(value)
    recurs = len(value) < SHORT if isinstance(value, str) else kind is int or kind is bool
    return (_known_attribute if recurs and len(name) < SHORT else _new_attribute)(tagged, name, kind, value)


def _new_attribute(tagged: bytes, name: str, kind: type, value: object) -> bytes:
    return message(tagged, _text_field(_KEY, name) + message(_VALUE, _value(value)))


# The type of the value keeps 1 and True apart.
_known_attribute = lru_cache(8192)(_new_attribute)


def _value(value: object) -> bytes:
    """Return *value* as the message ``AnyValue``; a value of another type becomes text."""
    if isinstance(value, str):
        return _text_field(_STRING, value)
    if isinstance(value, bool):
        return _BOOL + (b"\x01" if value else b"\x00")
    if isinstance(value, int) and -_MAX_INT <= value < _MAX_INT:
        return _INT + varint(value & (2 * _MAX_INT - 1))
    if isinstance(value, float):
        return _double(_DOUBLE, value)
    if isinstance(value, list | tuple):
        return message(_ARRAY, b"".join([message(_ARRAY_VALUES, _value(each)) for each in value[:MAX_ATTRIBUTES]]))
    return _text_field(_STRING, text_of(value))


def _text_field(tagged: bytes, text: str) -> bytes:
    return message(tagged, text[:MAX_TEXT].encode("utf-8", "replace"))
