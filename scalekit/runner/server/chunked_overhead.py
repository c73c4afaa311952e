"""Limit the overhead of a chunked body: chunk sizes, chunk extensions (RFC 9112, section 7.1) and trailers.

The overhead does not reach the application, so ``scalekit.http.body_limit`` cannot limit it, and a client could send it
endlessly.
"""

from __future__ import annotations

from scalekit.config.types import Size
from scalekit.runner.server.error_response import RequestRejected

CHUNK_ALLOWANCE = 16
"""Bytes that each chunk may have for its size and line ends without counting as overhead."""


class ChunkedOverhead:
    """Counts the overhead of one message, of at most *limit* bytes; small chunks of normal clients do not count."""

    __slots__ = ("_allowed", "_content", "_excess", "_limit", "_trailers", "_with_head")

    def __init__(self, limit: Size) -> None:
        self._limit = limit
        self._content = self._allowed = self._excess = self._trailers = 0
        self._with_head = True

    def append(self, trailer: tuple[bytes, bytes]) -> None:
        """Count a trailer field and discard it; raises RequestRejected when the trailers exceed the limit."""
        name, value = trailer
        self._trailers += len(name) + len(value) + 4
        if self._trailers > self._limit:
            raise self.rejection()

    def count_content(self, size: int) -> None:
        """Count *size* bytes of content, which every chunk except the last has."""
        self._content += size
        self._allowed += CHUNK_ALLOWANCE + 2 * size

    def count_bytes(self, size: int) -> None:
        """Count *size* bytes read, content included; the segment with the end of the head does not count."""
        if self._with_head:
            self._with_head = False
        else:
            self._excess = max(0, self._excess + size - self._content - self._allowed)
        self._content = self._allowed = 0

    @property
    def is_too_large(self) -> bool:
        """Whether the overhead exceeds the limit."""
        return self._excess > self._limit

    def rejection(self) -> RequestRejected:
        """Return the error with which the message is rejected."""
        return RequestRejected(431, f"chunk extensions and trailers are larger than {self._limit}")
