"""Serve one request: ASGI ``receive`` and ``send`` between the connection and the application.

On the wire, in the log and to the application it behaves like uvicorn's RequestResponseCycle, with less work for each
request. Objects that not every request needs are created late: the event, when ``receive`` first waits for a message.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Iterable, Sequence
from typing import Protocol

from starlette.types import Message, Scope
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.server import ServerState

from scalekit.http.response import LocalResponse
from scalekit.runner.server.response_head import (
    Framing,
    Header,
    default_header_lines,
    encode,
    encode_local,
    header_lines,
)

logger = logging.getLogger("uvicorn.error")

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
BODILESS_STATUSES = frozenset({204, 304})
UNTIL_CLOSE = float("inf")
"""The remaining length of a body that ends when the connection closes."""
MAX_BUFFERED = 32_768
"""Bytes that are buffered to be written with the next part; larger parts are cheaper to write than to copy."""


class Connection(Protocol):
    """The attributes of the connection that a cycle uses."""

    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    flow: FlowControl
    tasks: set[asyncio.Task[None]]
    server_state: ServerState

    def on_response_complete(self) -> None:
        """Continue with the next request: the response is written."""


class RequestCycle(Framing):
    """Serves one request."""

    __slots__ = (
        "_buffered",
        "_message_event",
        "_message_ready",
        "body",
        "connection",
        "defaults",
        "disconnected",
        "flow",
        "keep_alive",
        "loop",
        "more_body",
        "presumed_disconnected",
        "response_complete",
        "response_started",
        "scope",
        "task",
        "transport",
        "waiting_for_100_continue",
        "writes",
    )
    connection: Connection | None
    task: asyncio.Task[None] | None
    body: bytes | bytearray
    presumed_disconnected: bool
    """Whether the client seems disconnected; it may have half-closed the connection, so writes are still sent."""
    _message_event: asyncio.Event | None

    def __init__(self, connection: Connection, scope: Scope, keep_alive: bool, expects_continue: bool) -> None:
        super().__init__()
        self.connection = connection
        self.scope = scope
        self.defaults = connection.server_state.default_headers
        self.keep_alive = keep_alive
        self.waiting_for_100_continue = expects_continue
        self.transport = connection.transport
        self.flow = connection.flow
        self.loop = connection.loop
        self.body = self._buffered = b""
        self.more_body = True
        self.disconnected = self.presumed_disconnected = self._message_ready = False
        self.response_started = self.response_complete = False
        self.task = self._message_event = None
        self.writes = 0

    def feed(self, data: bytes) -> int:
        """Buffer *data* for the application; return the size of the buffer in bytes."""
        if not self.body:
            self.body = data
        else:
            if isinstance(self.body, bytes):
                self.body = bytearray(self.body)
            self.body += data
        self.notify()
        return len(self.body)

    def complete(self) -> None:
        """Mark the request body as complete."""
        self.more_body = False
        self.notify()

    def disconnect(self) -> None:
        """Mark the client as disconnected."""
        if not self.response_complete:
            self.disconnected = self.presumed_disconnected = True
        self.notify()

    def presume_disconnected(self) -> None:
        """Mark the client as presumably disconnected, and send http.disconnect to an application that awaits it."""
        self.presumed_disconnected = True
        self.notify()

    def notify(self) -> None:
        """Wake a pending ``receive``."""
        self._message_ready = True
        if self._message_event is not None:
            self._message_event.set()

    async def run(self, serving: Awaitable[None]) -> None:
        """Await *serving*; when it fails to complete the response, send 500, or close a response that has started."""
        try:
            await serving
        except BaseException as error:
            logger.error("Exception in ASGI application\n", exc_info=error)
            await self._send_error()
        else:
            if self.presumed_disconnected and not self.response_complete:  # the application received http.disconnect
                self._close_incomplete()
            elif not self.response_complete and not self.disconnected:
                step = "completing" if self.response_started else "starting"
                logger.error("ASGI callable returned without %s response.", step)
                await self._send_error()
        finally:
            # The connection outlives the task, and the task may outlive the connection.
            if self.task is not None and self.connection is not None:
                self.connection.tasks.discard(self.task)
            self.task = self.connection = None

    async def _send_error(self) -> None:
        if self.response_started:
            self._close_incomplete()
            return
        body = b"Internal Server Error"
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        await self.send({"type": "http.response.start", "status": 500, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})

    def _close_incomplete(self) -> None:
        self._flush()
        self.transport.close()

    def respond(self, response: LocalResponse, headers: Sequence[Header]) -> None:
        """Write *response* with *headers* at once, unless the client is disconnected; the caller then continues.

        Raises RuntimeError when the response is not valid in HTTP.
        """
        if self.disconnected:
            return
        self.response_started = True
        head = None
        if self.keep_alive and self.scope["method"] != "HEAD":
            head = encode_local(response, headers, self.defaults)
        whole = self._encode_response(response, headers) if head is None else head + response.body
        self.writes += 1
        self.transport.write(whole)
        self._close_response()
        self.connection = None

    def _encode_response(self, response: LocalResponse, headers: Sequence[Header]) -> bytes:
        whole = self._encode_head(response.status, headers) + self._encode_body(response.body, False)
        self._check_length()
        return whole

    async def send(self, message: Message) -> None:
        """Write *message* when the client reads; raises RuntimeError when the message is not allowed in this state."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if not self.response_started:
            self._send_start(message)
        elif not self.response_complete:
            self._send_body(message)
        else:
            raise RuntimeError(f"Unexpected ASGI message '{message['type']}' sent, after response already completed.")

    def _send_start(self, message: Message) -> None:
        if message["type"] != "http.response.start":
            raise RuntimeError(f"Expected ASGI message 'http.response.start', but got '{message['type']}'.")
        self._buffer(self._encode_head(message["status"], message.get("headers", ())))

    def _encode_head(self, status: int, headers: Iterable[Header]) -> bytes:
        self.response_started = True
        self.waiting_for_100_continue = False
        head = header_lines(headers, self)
        head[:0] = default_header_lines(self.defaults, self)
        if self.closes:
            self.keep_alive = False
        elif not self.keep_alive:
            head.append(b"connection: close")
        if self.chunked is None and self.scope["method"] != "HEAD" and status not in BODILESS_STATUSES:
            self.chunked = True
            head.append(b"transfer-encoding: chunked")
        if self.chunked and self.scope["http_version"] == "1.0":
            head = self._delimit_by_close(head)
        return encode(status, head)

    def _delimit_by_close(self, head: list[bytes]) -> list[bytes]:
        """Return *head* without transfer codings, which HTTP/1.0 does not support (RFC 9112, section 6.1)."""
        self.chunked, self.length = False, UNTIL_CLOSE
        return [line for line in head if not line.startswith(b"transfer-encoding:")]

    def _send_body(self, message: Message) -> None:
        if message["type"] != "http.response.body":
            raise RuntimeError(f"Expected ASGI message 'http.response.body', but got '{message['type']}'.")
        more: bool = message.get("more_body", False)
        self._buffer(self._encode_body(message.get("body", b""), more))
        if not more:
            self._check_length()
            self._flush()
            self._close_response()
            if self.connection is not None:
                self.connection.on_response_complete()

    def _encode_body(self, body: bytes, more: bool) -> bytes:
        """Return *body* with its framing; *more* is whether another part follows."""
        if self.scope["method"] == "HEAD":
            self.length = 0
            return b""
        if self.chunked:
            end = b"" if more else b"0\r\n\r\n"
            return b"%x\r\n%b\r\n%b" % (len(body), body, end) if body else end
        if len(body) > self.length:
            raise RuntimeError("Response content longer than Content-Length")
        self.length -= len(body)
        return body

    def _check_length(self) -> None:
        if self.length and self.length != UNTIL_CLOSE:
            raise RuntimeError("Response content shorter than Content-Length")

    def _close_response(self) -> None:
        self.response_complete = True
        self.notify()
        if not self.keep_alive:
            self.transport.close()

    def _buffer(self, data: bytes) -> None:
        """Write *data* together with the rest of this loop iteration: each system call is expensive."""
        if len(self._buffered) + len(data) > MAX_BUFFERED:
            self._flush()
            self.writes += 1
            self.transport.write(data)
        elif data:
            if not self._buffered:
                self.loop.call_soon(self._flush)
            self._buffered += data

    def _flush(self) -> None:
        if self._buffered and not self.disconnected:
            buffered, self._buffered = self._buffered, b""
            self.writes += 1
            self.transport.write(buffered)

    async def receive(self) -> Message:
        """Return the next part of the body; after the last, wait for the end of the response or a disconnect."""
        if self.waiting_for_100_continue and not self.transport.is_closing():
            self.transport.write(CONTINUE)
            self.waiting_for_100_continue = False
        if not self.presumed_disconnected and not self.response_complete:
            self.flow.resume_reading()
            if not self._message_ready:
                self._message_event = self._message_event or asyncio.Event()
                await self._message_event.wait()
            self._message_ready = False
            if self._message_event is not None:
                self._message_event.clear()
        if self.presumed_disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        body, self.body = bytes(self.body), b""
        return {"type": "http.request", "body": body, "more_body": self.more_body}
