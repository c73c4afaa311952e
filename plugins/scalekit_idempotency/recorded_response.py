"""A response as it is stored and replayed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import orjson
from starlette.types import Send

Header = tuple[bytes, bytes]

REPLAYED = (b"idempotency-replayed", b"true")

# Fields of the connection (RFC 9110, section 7.6.1), of this message, and cookies, which would outlive their session.
_UNSTORED = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"content-length",
        b"date",
        b"server",
        b"set-cookie",
    }
)


@dataclass(frozen=True, slots=True)
class RecordedResponse:
    """A complete response without the fields of its connection; *status* is 0 when the response was too large."""

    status: int
    headers: tuple[Header, ...]
    body: bytes

    @classmethod
    def of(cls, status: int, headers: Iterable[Header], body: bytes) -> RecordedResponse:
        """Return a response without the fields that are not stored."""
        lowered = ((bytes(name).lower(), bytes(value)) for name, value in headers)
        return cls(status, tuple((name, value) for name, value in lowered if name not in _UNSTORED), body)

    def encode_headers(self) -> str:
        """Return the headers as JSON."""
        return orjson.dumps(
            [[name.decode("latin-1"), value.decode("latin-1")] for name, value in self.headers]
        ).decode()

    async def replay(self, send: Send) -> None:
        """Send the response, marked as a replay."""
        headers = [*self.headers, REPLAYED]
        if self.body or self.status not in (204, 304):
            headers.append((b"content-length", b"%d" % len(self.body)))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


NOT_STORED = RecordedResponse(0, (), b"")
"""Stands for the response of a request that was executed, but is a stream or too large."""


def decode_headers(text: str | bytes) -> tuple[Header, ...]:
    """Return the headers in JSON *text*."""
    return tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in orjson.loads(text))
