"""Read how many spans of a request the collector rejected, and why (``ExportTracePartialSuccess``)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import orjson

from scalekit_tracing.otlp.failure import excerpt

VARINT, LENGTH = 0, 2
"""Wire types of protocol buffers."""
PARTIAL_SUCCESS = REJECTED_SPANS = 1
ERROR_MESSAGE = 2
"""Fields of ExportTraceServiceResponse and ExportTracePartialSuccess (trace_service.proto)."""


class PartialSuccess(NamedTuple):
    """The number of spans that were rejected, and a message, which may also be a warning."""

    rejected_spans: int = 0
    message: str = ""


def partial_success(response: bytes, encoding: str) -> PartialSuccess:
    """Return what *response* reports; nothing when it is malformed."""
    return _from_json(response) if encoding == "json" else _from_protobuf(response)


def _from_json(response: bytes) -> PartialSuccess:
    try:
        reported = orjson.loads(response)["partialSuccess"]
        rejected = max(0, int(reported.get("rejectedSpans", 0)))
        return PartialSuccess(rejected, excerpt(str(reported.get("errorMessage", ""))))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return PartialSuccess()


def _from_protobuf(response: bytes) -> PartialSuccess:
    reported = dict(_fields(response)).get(PARTIAL_SUCCESS, b"")
    found = dict(_fields(reported)) if isinstance(reported, bytes) else {}
    rejected, message = found.get(REJECTED_SPANS, 0), found.get(ERROR_MESSAGE, b"")
    text = excerpt(message.decode("utf-8", "replace")) if isinstance(message, bytes) else ""
    return PartialSuccess(rejected if isinstance(rejected, int) and rejected < 1 << 63 else 0, text)


def _fields(content: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the fields of a message, by number, until one is cut off or has another wire type."""
    at = 0
    while at < len(content):
        tag, at = _varint(content, at)
        number, at = _varint(content, at)
        if tag & 7 == VARINT:
            yield tag >> 3, number
        elif tag & 7 == LENGTH and at + number <= len(content):
            yield tag >> 3, content[at : at + number]
            at += number
        else:
            return


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """Return the varint at the index *at*, 0 when it is cut off, and the index after it."""
    number = shift = 0
    for place in range(at, min(at + 10, len(content))):
        number |= (content[place] & 0x7F) << shift
        shift += 7
        if content[place] < 0x80:
            return number, place + 1
    return 0, len(content)
