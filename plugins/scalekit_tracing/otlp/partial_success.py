"""Read how many spans of a request the collector rejected (``ExportTracePartialSuccess``)."""

from __future__ import annotations

import orjson

REJECTED_SPANS = 0x08
"""The tag of ``rejected_spans = 1``, a varint."""
PARTIAL_SUCCESS = 0x0A
"""The tag of ``partial_success = 1``, a message."""


def rejected_spans(response: bytes, encoding: str) -> int:
    """Return ``rejected_spans`` of *response*, 0 when it has none or is malformed."""
    return _from_json(response) if encoding == "json" else _from_protobuf(response)


def _from_json(response: bytes) -> int:
    try:
        return max(0, int(orjson.loads(response)["partialSuccess"]["rejectedSpans"]))
    except (ValueError, TypeError, KeyError):
        return 0


def _from_protobuf(response: bytes) -> int:
    """Return the number, which comes first in the only field of the response (trace_service.proto)."""
    if response[:1] != bytes((PARTIAL_SUCCESS,)):
        return 0
    _, at = _varint(response, 1)
    return _varint(response, at + 1)[0] if response[at : at + 1] == bytes((REJECTED_SPANS,)) else 0


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """Return the varint at the index *at*, 0 when it is cut off, and the index after it."""
    number = shift = 0
    for place in range(at, min(at + 10, len(content))):
        number |= (content[place] & 0x7F) << shift
        shift += 7
        if content[place] < 0x80:
            return number, place + 1
    return 0, len(content)
