"""Decide which responses are compressed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from scalekit_compression.config import CompressionConfig

Fields = Mapping[bytes, bytes]

NO_BODY = frozenset({204, 205, 304})
PARTIAL = 206
"""206 Partial Content: not compressed, because its ranges count bytes of the uncompressed body."""
FIXED = frozenset({b"content-encoding", b"content-range", b"content-digest", b"repr-digest", b"digest", b"content-md5"})
"""Response headers that describe the bytes of the body, so that a coding would make them wrong."""
MAX_TYPES = 1000
"""Maximum number of values of Content-Type that are cached."""
MAX_VALUE = 256
"""Maximum size of a value of Content-Type that is cached, in bytes."""
MAX_DIGITS = 18
"""Maximum number of digits of a Content-Length; a longer one is malformed."""
QUOTED = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)


class Eligibility:
    """Rules of ``[plugins.compression]``: which responses are compressed."""

    def __init__(self, config: CompressionConfig) -> None:
        self._types = re.compile("|".join(map(_type_pattern, config.types)) or "(?!)").fullmatch
        self._known: dict[bytes, bool] = {}
        self.min_size = int(config.min_size)
        self.private = config.private

    def allows(self, status: int, fields: Fields, has_credentials: bool) -> bool:
        """Return whether a response with the headers *fields* may be encoded; *has_credentials* is of its request."""
        if status < 200 or status in NO_BODY or status == PARTIAL:
            return False
        value = fields.get(b"content-length")
        if value is not None:
            length = parse_length(value)
            if length is None or length < self.min_size:
                return False
        return self._has_type(fields.get(b"content-type", b"")) and self._may_encode(fields, has_credentials)

    def allows_not_modified(self, fields: Fields, has_credentials: bool) -> bool:
        """Return whether the 200 that a 304 with the headers *fields* stands for may be compressed."""
        media_type = fields.get(b"content-type")
        return (media_type is None or self._has_type(media_type)) and self._may_encode(fields, has_credentials)

    def _may_encode(self, fields: Fields, has_credentials: bool) -> bool:
        if not FIXED.isdisjoint(fields):
            return False
        directives = directive_names(fields.get(b"cache-control", b""))
        if b"no-transform" in directives:
            return False
        if self.private or (b"public" in directives and b"private" not in directives):
            return True
        return not has_credentials and b"set-cookie" not in fields

    def _has_type(self, value: bytes) -> bool:
        known = self._known.get(value)
        if known is None:
            media_type = value.decode("latin-1").partition(";")[0].strip().lower()
            known = self._types(media_type) is not None
            if len(value) <= MAX_VALUE:
                if len(self._known) >= MAX_TYPES:
                    self._known.clear()
                self._known[value] = known
        return known


def fold_headers(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return *headers* by name in lower case; values of repeated ones are joined by commas."""
    fields: dict[bytes, bytes] = {}
    for name, value in headers:
        key = name.lower()
        fields[key] = fields[key] + b", " + value if key in fields else value
    return fields


def directive_names(cache_control: bytes) -> set[bytes]:
    """Return the names of the directives in *cache_control*, in lower case."""
    if not cache_control:
        return set()
    parts = QUOTED.sub(b"", cache_control).lower().split(b",")
    return {part.partition(b"=")[0].strip() for part in parts}


def parse_length(value: bytes) -> int | None:
    """Return the Content-Length *value* in bytes, or None when it is malformed or too long."""
    return int(value) if value.isdigit() and len(value) <= MAX_DIGITS else None


def _type_pattern(media_type: str) -> str:
    return re.escape(media_type).replace(re.escape("*"), "[^/]*")
