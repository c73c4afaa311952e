"""Compress the body of one response while it is sent."""

from __future__ import annotations

import asyncio
from time import perf_counter

from starlette.types import Message

from scalekit import Exchange
from scalekit_compression.eligibility import parse_length
from scalekit_compression.encoders import Encoder, make_encoder, stream_level, thread_size

START, BODY = "http.response.start", "http.response.body"
FILES = frozenset({"http.response.pathsend", "http.response.zerocopysend"})
"""Messages by which the server sends a file itself."""
WEAK = b"W/"

Headers = list[tuple[bytes, bytes]]


class ResponseEncoder:
    """Wraps the sending of the response of *exchange*; compresses bodies of at least *min_size* bytes with *coding*.

    *length* is the Content-Length that the application announced, or None. The start of the response is held until
    the first part of the body decides, except that of an *event_stream*, which the client gets at once.
    """

    def __init__(
        self,
        exchange: Exchange,
        coding: str,
        level: int,
        min_size: int,
        *,
        length: bytes | None = None,
        event_stream: bool = False,
    ) -> None:
        self._exchange = exchange
        self._coding = coding
        self._level = level
        self._min_size = min_size
        self._remaining = None if length is None else parse_length(length)
        self._is_event_stream = event_stream
        self._encoder: Encoder | None = None
        self._is_encoding = False
        self._start: Message | None = None
        self._send = exchange.replace_send(self.send)

    async def send(self, message: Message) -> None:
        """Send *message*; the start waits for the first part of the body."""
        kind, more = message["type"], message.get("more_body", False)
        if kind == START:
            self._start = message
            self._exchange.status = 0  # nothing is sent
            if self._is_event_stream:
                self._is_encoding = True
                await self._release(None)
        elif kind == BODY and (self._is_encoding or more or len(message.get("body", b"")) >= self._min_size):
            await self._send_encoded(message, more)
        elif not self._is_encoding:  # a small body, or a file that the server sends
            await self._release_unchanged()
            await self._send(message)
        elif kind in FILES:
            raise RuntimeError(f"{kind} follows a part of the body that is compressed; send the whole file by it")
        else:
            await self._send(message)

    async def _send_encoded(self, message: Message, more: bool) -> None:
        body = message.get("body", b"")
        self._count(len(body), more)
        self._is_encoding = True
        encoded = await self._compress(body, more)
        await self._release(None if more else encoded)
        self._exchange.response_bytes += len(encoded) - len(body)
        if not more:
            self._exchange.client_send = self._send  # the two would keep each other alive
            self._exchange.ended = perf_counter()
        await self._send({**message, "body": encoded})

    def _count(self, size: int, more: bool) -> None:
        """Raise RuntimeError when the body differs from its Content-Length, as servers do without compression."""
        if self._remaining is None:
            return
        self._remaining -= size
        if self._remaining < 0 or (self._remaining and not more):
            fault = "longer" if self._remaining < 0 else "shorter"
            raise RuntimeError(f"the body of the response is {fault} than its Content-Length")

    async def _release(self, whole: bytes | None) -> None:
        """Send the start, if it is held, with the headers of the encoded response; *whole* is its complete body."""
        if self._start is not None:
            self._start["headers"] = encoded_headers(self._start["headers"], self._coding.encode(), whole)
            await self._send_start(self._start)

    async def _release_unchanged(self) -> None:
        self._exchange.client_send = self._send
        if self._start is not None:
            await self._send_start(self._start)

    async def _send_start(self, start: Message) -> None:
        self._start = None
        self._exchange.status = start["status"]
        await self._send(start)

    async def _compress(self, data: bytes, more: bool) -> bytes:
        if len(data) < thread_size(self._coding, self._level):
            return self._run(data, more)
        return await asyncio.to_thread(self._run, data, more)

    def _run(self, data: bytes, more: bool) -> bytes:
        encoder = self._encoder
        if encoder is None and not more:
            encoder = make_encoder(self._coding, self._level, len(data))
        elif encoder is None:
            encoder = self._encoder = make_encoder(self._coding, stream_level(self._coding, self._level))
        encoded = encoder.encode(data) if data else b""
        if not more:
            return encoded + encoder.finish()
        return encoded + encoder.flush() if data else b""


def encoded_headers(headers: Headers, coding: bytes, whole: bytes | None) -> Headers:
    """Return *headers* of a response that is sent with *coding*; *whole* is its body, if all of it is there."""
    found = [*weaken_etag(headers), (b"content-encoding", coding)]
    if whole is not None:  # a Content-Length excludes Transfer-Encoding (RFC 9112, section 6.2)
        found = [field for field in found if field[0].lower() != b"transfer-encoding"]
        found.append((b"content-length", str(len(whole)).encode()))
    return found


def weaken_etag(headers: Headers) -> Headers:
    """Return *headers* with a weak ETag, and without those that describe the bytes of the body."""
    found = []
    for name, value in headers:
        key = name.lower()
        if key == b"content-length" or key == b"accept-ranges":
            continue
        weak = key == b"etag" and not value.startswith(WEAK)
        found.append((name, WEAK + value if weak else value))
    return found
