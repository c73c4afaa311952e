"""What a chunked body brings beside its content: chunk sizes, chunk extensions (RFC 9112, section 7.1) and trailers.

None of it reaches the application, so ``scalekit.http.body_limit`` does not see it, and a client could send it without
an end.
"""

from __future__ import annotations

from scalekit.config.types import Size
from scalekit.runner.server.error_response import RequestRejected

CHUNK_ALLOWANCE = 16
"""Bytes beside the content that every chunk may have: its size, and the ends of lines."""


class ChunkedOverhead:
    """The overhead of one message, which may be so many bytes; small chunks of honest clients count nothing."""

    __slots__ = ("_allowed", "_content", "_excess", "_limit", "_trailers", "_with_head")

    def __init__(self, limit: Size) -> None:
        self._limit = limit
        self._content = self._allowed = self._excess = self._trailers = 0
        self._with_head = True

    def append(self, trailer: tuple[bytes, bytes]) -> None:
        """Count a trailer field and forget it; raises RequestRejected when there are too many."""
        name, value = trailer
        self._trailers += len(name) + len(value) + 4
        if self._trailers > self._limit:
            raise self.refusal()

    def take_content(self, size: int) -> None:
        """Count *size* bytes of content, which every chunk that is not the last one has."""
        self._content += size
        self._allowed += CHUNK_ALLOWANCE + 2 * size

    def take_bytes(self, size: int) -> None:
        """Count *size* bytes that were read, content and head included; those beside the head's end are not counted."""
        if self._with_head:
            self._with_head = False
        else:
            self._excess = max(0, self._excess + size - self._content - self._allowed)
        self._content = self._allowed = 0

    @property
    def is_too_large(self) -> bool:
        """Whether it is more than the message may have."""
        return self._excess > self._limit

    def refusal(self) -> RequestRejected:
        """Return what the client is told then."""
        return RequestRejected(431, f"chunk extensions and trailers are larger than {self._limit}")
