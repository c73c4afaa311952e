"""Compress the body of one response while it is sent."""

from __future__ import annotations

import asyncio

from starlette.types import Message, Send

from scalekit import Exchange
from scalekit_compression.encoders import Encoder

THREAD_SIZE = 64 * 1024
"""Bytes from which compression runs in a thread; it would block the event loop for about a millisecond."""
WEAK = b"W/"


class ResponseEncoder:
    """Replaces ``exchange.client_send``; compresses bodies of at least *min_size* bytes with *encoder*."""

    def __init__(self, exchange: Exchange, coding: str, encoder: Encoder, min_size: int) -> None:
        self._exchange = exchange
        self._send: Send = exchange.client_send
        self._coding = coding.encode()
        self._encoder = encoder
        self._is_identity = False
        self._min_size = min_size
        self._start: Message | None = None

    async def send(self, message: Message) -> None:
        """Send *message*; the start waits for the first part of the body, which decides."""
        kind = message["type"]
        if kind == "http.response.start":
            self._start = message
            return
        if kind == "http.response.body":
            message = await self._encode(message)
        if self._start is not None:
            start, self._start = self._start, None
            await self._send(start)
        if not message.get("more_body"):
            self._exchange.client_send = self._send  # the two would keep each other alive
        await self._send(message)

    async def _encode(self, message: Message) -> Message:
        body, more = message.get("body", b""), message.get("more_body", False)
        start = self._start
        self._is_identity |= start is not None and not more and len(body) < self._min_size
        if self._is_identity:
            return message
        encoded = await self._compress(body, more)
        if start is not None:
            start["headers"] = encoded_headers(start["headers"], self._coding, None if more else encoded)
        self._exchange.response_bytes += len(encoded) - len(body)
        return {**message, "body": encoded}

    async def _compress(self, data: bytes, more: bool) -> bytes:
        if len(data) < THREAD_SIZE:
            return self._run(data, more)
        return await asyncio.to_thread(self._run, data, more)

    def _run(self, data: bytes, more: bool) -> bytes:
        encoder = self._encoder
        encoded = encoder.encode(data) if data else b""
        if not more:
            return encoded + encoder.finish()
        return encoded + encoder.flush() if data else b""


def encoded_headers(
    headers: list[tuple[bytes, bytes]], coding: bytes, whole: bytes | None
) -> list[tuple[bytes, bytes]]:
    """Return *headers* of a response that is sent with *coding*; *whole* is its body, if all of it is there."""
    found = []
    for name, value in headers:
        if name == b"content-length" or name == b"accept-ranges":
            continue
        weak = name == b"etag" and not value.startswith(WEAK)
        found.append((name, WEAK + value if weak else value))
    found.append((b"content-encoding", coding))
    if whole is not None:
        found.append((b"content-length", str(len(whole)).encode()))
    return found
