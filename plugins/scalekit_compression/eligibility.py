"""Decide which responses are compressed."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

from scalekit import HeaderNames
from scalekit_compression.config import CompressionConfig

Fields = Mapping[bytes, bytes]

UNENCODED = frozenset({204, 205, 206, 304})
"""Statuses without a body, and 206 Partial Content, whose ranges count bytes of the uncompressed body."""
FIXED = frozenset({b"content-encoding", b"content-range", b"content-digest", b"repr-digest", b"digest", b"content-md5"})
"""Response headers that describe the bytes of the body, so that a coding would make them wrong."""
RELEVANT = HeaderNames(
    {*FIXED, b"cache-control", b"content-length", b"content-type", b"etag", b"set-cookie", b"vary"}.__contains__
)
"""Names of response headers that the plugin reads."""
CREDENTIALS = frozenset({b"authorization", b"cookie"})
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
        self.credentials = CREDENTIALS | {name.lower().encode() for name in config.credential_headers}
        self.min_size = int(config.min_size)
        self.private = config.private

    def allows(self, status: int, fields: Fields, request_names: Collection[bytes]) -> bool:
        """Return whether a response with the headers *fields* may be encoded; its request has *request_names*."""
        if status < 200 or status in UNENCODED:
            return False
        length = fields.get(b"content-length")
        if length is not None and (not length.isdigit() or len(length) > MAX_DIGITS or int(length) < self.min_size):
            return False
        return self._has_type(fields.get(b"content-type", b"")) and self._may_encode(fields, request_names)

    def allows_not_modified(self, status: int, fields: Fields, request_names: Collection[bytes]) -> bool:
        """Return whether the 200 that a 304 with the headers *fields* stands for may be compressed."""
        media_type = fields.get(b"content-type")
        return (media_type is None or self._has_type(media_type)) and self._may_encode(fields, request_names)

    def _may_encode(self, fields: Fields, request_names: Collection[bytes]) -> bool:
        if not FIXED.isdisjoint(fields):
            return False
        directives = directive_names(fields.get(b"cache-control", b""))
        if b"no-transform" in directives:
            return False
        if self.private or (b"public" in directives and b"private" not in directives):
            return True
        return b"set-cookie" not in fields and self.credentials.isdisjoint(request_names)

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
    """Return the relevant ones of *headers* by name in lower case; values of repeated ones are joined by commas."""
    fields: dict[bytes, bytes] = {}
    for name, value in headers:
        key = RELEVANT[name]
        if key:
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
