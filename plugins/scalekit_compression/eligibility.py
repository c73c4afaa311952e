"""Decide which responses are compressed."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from scalekit_compression.config import CompressionConfig

Header = tuple[bytes, bytes]

NO_BODY = frozenset({204, 205, 304})
PARTIAL = 206
"""206 Partial Content: not compressed, because its ranges count bytes of the uncompressed body."""
MAX_TYPES = 1000
"""Maximum number of values of Content-Type that are cached."""


class Eligibility:
    """Rules of ``[plugins.compression]``: which responses are compressed."""

    def __init__(self, config: CompressionConfig) -> None:
        self._types = re.compile("|".join(map(_type_pattern, config.types)) or "(?!)").fullmatch
        self._known: dict[bytes, bool] = {}
        self.min_size = int(config.min_size)
        self.private = config.private
        self._excluded = [glob.matches for glob in config.exclude]

    def excludes(self, path: str) -> bool:
        """Return whether responses of *path* are never compressed."""
        return any(matches(path) for matches in self._excluded)

    def allows(self, status: int, headers: Sequence[Header], credentials: Collection[bytes]) -> bool:
        """Return whether a response may be compressed.

        *credentials*: names of the credential headers in the request.
        """
        if status < 200 or status in NO_BODY or status == PARTIAL:
            return False
        found = dict(headers)
        length = found.get(b"content-length")
        if length is not None and int(length) < self.min_size:
            return False
        if b"content-encoding" in found or b"content-range" in found:
            return False
        if not self._has_type(found.get(b"content-type", b"")):
            return False
        directives = found.get(b"cache-control", b"").lower()
        if b"no-transform" in directives:
            return False
        return self.private or b"public" in directives or not (credentials or b"set-cookie" in found)

    def _has_type(self, value: bytes) -> bool:
        known = self._known.get(value)
        if known is None:
            if len(self._known) >= MAX_TYPES:
                self._known.clear()
            media_type = value.decode("latin-1").partition(";")[0].strip().lower()
            known = self._known[value] = self._types(media_type) is not None
        return known


def _type_pattern(media_type: str) -> str:
    return re.escape(media_type).replace(re.escape("*"), "[^/]*")
