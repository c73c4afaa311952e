"""Encode spans as ``ExportTraceServiceRequest`` of OTLP, in the binary format of protocol buffers.

The messages are those of opentelemetry-proto 1.x (trace/v1/trace.proto, common/v1/common.proto); a comment names the
field of each tag.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from struct import Struct

from scalekit.telemetry import MAX_ATTRIBUTES, FinishedSpan, SpanEvent, SpanKind, SpanLink, SpanRedactor, text_of
from scalekit_tracing.otlp.resource import ServiceResource, spans_by_scope

CONTENT_TYPE = "application/x-protobuf"

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
_MAX_INT = 1 << 63

_times = Struct("<BQBQ").pack  # Span.start_time_unix_nano = 7, end_time_unix_nano = 8
_time = Struct("<BQ").pack
_flags = Struct("<HI").pack
_double = Struct("<Bd").pack
fromhex = bytes.fromhex

MAX_REMEMBERED = 256
"""Characters of a text for which it is remembered how it is encoded: most texts are repeated."""
HAS_IS_REMOTE, IS_REMOTE = 0x100, 0x200
"""Bits of ``Span.flags`` and ``Link.flags`` (SpanFlags)."""


def varint(number: int) -> bytes:
    """Return the varint of *number*, which is not negative."""
    if number < len(_VARINTS):
        return _VARINTS[number]
    return _encode_varint(number)


def _encode_varint(number: int) -> bytes:
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


_VARINTS = [_encode_varint(number) for number in range(2048)]


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
_STATUS = tag(15, LENGTH)
_STATUS_MESSAGE = tag(2, LENGTH)
_STATUS_OK = tag(3, VARINT) + b"\x01"
_STATUS_ERROR = tag(3, VARINT) + b"\x02"
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


class ProtobufEncoder:
    """Encodes spans of *resource*, without the secrets that *redactor* masks; parts that recur are encoded once."""

    content_type = CONTENT_TYPE

    def __init__(self, resource: ServiceResource, redactor: SpanRedactor) -> None:
        self._redactor = redactor
        self._short_attribute = lru_cache(4096)(self._attribute)
        self._constants = lru_cache(1024)(self._encode_constants)
        self._version = resource.version
        attributes = [_key_value(_RESOURCE_ATTRIBUTES, *each) for each in resource.attributes.items()]
        self._resource = message(_RESOURCE, b"".join(attributes))

    def encode(self, spans: Iterable[FinishedSpan]) -> bytes:
        """Return the request that exports *spans*."""
        scopes = [self._scope_spans(*scope, each) for scope, each in spans_by_scope(self._version, spans).items()]
        return message(_REQUEST_RESOURCE_SPANS, self._resource + b"".join(scopes))

    def _scope_spans(self, name: str, version: str, spans: Iterable[FinishedSpan]) -> bytes:
        """Return *spans* of the instrumentation scope *name* as a field of the resource."""
        scope = message(_SCOPE, _text_field(_SCOPE_NAME, name) + _text_field(_SCOPE_VERSION, version))
        return message(_SCOPE_SPANS, b"".join([scope, *[message(_SPANS, self._span(each)) for each in spans]]))

    def _span(self, span: FinishedSpan) -> bytes:
        flags = span.flags | HAS_IS_REMOTE | (IS_REMOTE if span.has_remote_parent else 0)
        parts = [
            _TRACE_ID,
            fromhex(span.trace_id),
            _SPAN_ID,
            fromhex(span.span_id),
            self._constants(span.name, span.kind, flags, bool(span.error) and not span.error_message),
            _times(_BEGAN, span.began_ns, _ENDED, span.ended_ns),
        ]
        if span.parent_id:
            parts += (_PARENT_ID, fromhex(span.parent_id))
        self._add_attributes(parts, _ATTRIBUTES, span.attributes)
        if span.tracestate:
            parts.append(_text_field(_TRACESTATE, span.tracestate))
        if len(span.attributes) > MAX_ATTRIBUTES:
            parts += (_DROPPED_ATTRIBUTES, varint(len(span.attributes) - MAX_ATTRIBUTES))
        if span.events or span.links:
            parts += [message(_EVENTS, self._event(each)) for each in span.events]
            parts += [message(_LINKS, _link(each)) for each in span.links]
        if span.error:
            if span.error_message:
                text = _text_field(_STATUS_MESSAGE, self._redactor.text(span.error_message))
                parts.append(message(_STATUS, text + _STATUS_ERROR))
        elif span.is_ok:
            parts.append(message(_STATUS, _STATUS_OK))
        return b"".join(parts)

    def _encode_constants(self, name: str, kind: SpanKind, flags: int, failed: bool) -> bytes:
        """Return the fields of a span that are the same for many spans."""
        head = _text_field(_NAME, self._redactor.text(name)) + _KIND + varint(kind)
        return head + _flags(_FLAGS, flags) + (message(_STATUS, _STATUS_ERROR) if failed else b"")

    def _event(self, event: SpanEvent) -> bytes:
        name = _text_field(_EVENT_NAME, self._redactor.text(event.name))
        parts = [_time(_EVENT_TIME, event.time_ns), name]
        self._add_attributes(parts, _EVENT_ATTRIBUTES, event.attributes)
        return b"".join(parts)

    def _add_attributes(self, parts: list[bytes], tagged: bytes, attributes: Mapping[str, object]) -> None:
        if len(attributes) > MAX_ATTRIBUTES:
            attributes = dict(list(attributes.items())[:MAX_ATTRIBUTES])
        known = self._short_attribute
        for name, value in attributes.items():
            kind = type(value)
            short = len(value) <= MAX_REMEMBERED if isinstance(value, str) else kind is int or kind is bool
            encode = known if short and len(name) <= MAX_REMEMBERED else self._attribute
            parts.append(encode(tagged, name, value, kind))  # the type keeps 1 and True apart

    def _attribute(self, tagged: bytes, name: str, value: object, kind: type) -> bytes:
        return _key_value(tagged, self._redactor.text(name), self._redactor.value(name, value))


def _link(link: SpanLink) -> bytes:
    return _LINK_TRACE_ID + fromhex(link.trace_id) + _LINK_SPAN_ID + fromhex(link.span_id)


def _key_value(tagged: bytes, name: str, value: object) -> bytes:
    return message(tagged, _text_field(_KEY, name) + message(_VALUE, _value(value)))


def _value(value: object) -> bytes:
    """Return *value* as the message ``AnyValue``; a large number becomes text."""
    if isinstance(value, bool):
        return _BOOL + (b"\x01" if value else b"\x00")
    if isinstance(value, int) and -_MAX_INT <= value < _MAX_INT:
        return _INT + varint(value & (2 * _MAX_INT - 1))
    if isinstance(value, float):
        return _double(_DOUBLE, value)
    if isinstance(value, list):
        return message(_ARRAY, b"".join([message(_ARRAY_VALUES, _value(each)) for each in value]))
    return _text_field(_STRING, text_of(value))


def _text_field(tagged: bytes, text: str) -> bytes:
    return message(tagged, text.encode("utf-8", "replace"))
