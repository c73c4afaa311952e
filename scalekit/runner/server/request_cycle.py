"""One request and its answer, between the connection and the application.

What can be seen of it, on the wire, in the log and by the application, is what uvicorn's own does; only the way there
is shorter, because every request takes it. Nothing is made that a request may not need: an event is there once
somebody waits for a message.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Iterable
from typing import Protocol

from starlette.types import Message, Scope
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.server import ServerState

from scalekit.http.response import LocalResponse
from scalekit.runner.server.response_head import Framing, Header, default_lines, encode, encode_local, lines

logger = logging.getLogger("uvicorn.error")

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
WITHOUT_BODY = frozenset({204, 304})
UNTIL_CLOSE = float("inf")
"""The length of a body whose end is that of the connection."""
HELD = 32_768
"""Bytes that are held until more follows; to write what is larger by itself is cheaper than to copy it."""


class Connection(Protocol):
    """What a cycle needs of its connection."""

    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    flow: FlowControl
    tasks: set[asyncio.Task[None]]
    server_state: ServerState

    def on_response_complete(self) -> None:
        """Go on: the answer is written."""


class RequestCycle(Framing):
    """Serves one request."""

    # On the class, so that a request sets only what differs.
    task: asyncio.Task[None] | None = None
    disconnected = False
    body: bytes | bytearray = b""
    more_body = True
    response_started = False
    response_complete = False
    left = False
    """Whether the client is taken to have gone; it may only have closed its side, so what is written is still sent."""
    writes = 0
    _news = False
    _event: asyncio.Event | None = None
    _held = b""

    def __init__(self, connection: Connection, scope: Scope, keep_alive: bool, continues: bool) -> None:
        self.connection: Connection | None = connection
        self.scope = scope
        self.defaults = connection.server_state.default_headers
        self.keep_alive = keep_alive
        self.waiting_for_100_continue = continues
        self.transport = connection.transport
        self.flow = connection.flow
        self.loop = connection.loop

    def feed(self, data: bytes) -> int:
        """Keep *data* for the application; return how many bytes wait for it."""
        if not self.body:
            self.body = data
        else:
            if isinstance(self.body, bytes):
                self.body = bytearray(self.body)
            self.body += data
        self.notify()
        return len(self.body)

    def complete(self) -> None:
        """Take note that the request is there to its end."""
        self.more_body = False
        self.notify()

    def disconnect(self) -> None:
        """Take note that the client is gone."""
        if not self.response_complete:
            self.disconnected = self.left = True
        self.notify()

    def leave(self) -> None:
        """Take note that the client seems to be gone: tell the application, if it listens."""
        self.left = True
        self.notify()

    def notify(self) -> None:
        """Wake who waits for a message."""
        self._news = True
        if self._event is not None:
            self._event.set()

    async def run(self, serving: Awaitable[None]) -> None:
        """Await *serving*; what it fails to answer is answered with 500, or cut if it has begun."""
        try:
            await serving
        except BaseException as error:
            logger.error("Exception in ASGI application\n", exc_info=error)
            await self._fail()
        else:
            if self.left and not self.response_complete:  # it was told so, and responds to nobody
                self._cut()
            elif not self.response_complete and not self.disconnected:
                what = "completing" if self.response_started else "starting"
                logger.error("ASGI callable returned without %s response.", what)
                await self._fail()
        finally:
            # The connection outlives the task, and the task may outlive the connection.
            if self.task is not None and self.connection is not None:
                self.connection.tasks.discard(self.task)
            self.task = self.connection = None

    async def _fail(self) -> None:
        if self.response_started:
            self._cut()
            return
        body = b"Internal Server Error"
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        await self.send({"type": "http.response.start", "status": 500, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})

    def _cut(self) -> None:
        self._write()
        self.transport.close()

    def respond(self, response: LocalResponse, headers: list[Header]) -> None:
        """Write *response* with *headers* at once, unless the client is gone; the connection goes on by itself.

        Raises RuntimeError when it is not one that HTTP allows.
        """
        if self.disconnected:
            return
        self.response_started = True
        head = None
        if self.keep_alive and self.scope["method"] != "HEAD":
            head = encode_local(response, headers, self.defaults)
        whole = self._encode(response, headers) if head is None else head + response.body
        self.writes += 1
        self.transport.write(whole)
        self._close_response()
        self.connection = None

    def _encode(self, response: LocalResponse, headers: list[Header]) -> bytes:
        whole = self._head(response.status, headers) + self._framed(response.body, False)
        self._check_length()
        return whole

    async def send(self, message: Message) -> None:
        """Write what *message* says, when the client takes it. Raises RuntimeError when it may not come now."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if not self.response_started:
            self._start(message)
        elif not self.response_complete:
            self._go_on(message)
        else:
            raise RuntimeError(f"Unexpected ASGI message '{message['type']}' sent, after response already completed.")

    def _start(self, message: Message) -> None:
        if message["type"] != "http.response.start":
            raise RuntimeError(f"Expected ASGI message 'http.response.start', but got '{message['type']}'.")
        self._hold(self._head(message["status"], message.get("headers", ())))

    def _head(self, status: int, headers: Iterable[Header]) -> bytes:
        self.response_started = True
        self.waiting_for_100_continue = False
        head = lines(headers, self)
        head[:0] = default_lines(self.defaults, self)
        if self.closes:
            self.keep_alive = False
        elif not self.keep_alive:
            head.append(b"connection: close")
        if self.chunked is None and self.scope["method"] != "HEAD" and status not in WITHOUT_BODY:
            self.chunked = True
            head.append(b"transfer-encoding: chunked")
        if self.chunked and self.scope["http_version"] == "1.0":
            head = self._delimit_by_close(head)
        return encode(status, head)

    def _delimit_by_close(self, head: list[bytes]) -> list[bytes]:
        """Return *head* without transfer codings, which HTTP/1.0 does not know (RFC 9112, section 6.1)."""
        self.chunked, self.length = False, UNTIL_CLOSE
        return [line for line in head if not line.startswith(b"transfer-encoding:")]

    def _go_on(self, message: Message) -> None:
        if message["type"] != "http.response.body":
            raise RuntimeError(f"Expected ASGI message 'http.response.body', but got '{message['type']}'.")
        more: bool = message.get("more_body", False)
        self._hold(self._framed(message.get("body", b""), more))
        if not more:
            self._check_length()
            self._write()
            self._close_response()
            if self.connection is not None:
                self.connection.on_response_complete()

    def _framed(self, body: bytes, more: bool) -> bytes:
        """Return *body* as it stands on the wire; *more* tells whether another part follows."""
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

    def _hold(self, data: bytes) -> None:
        """Write *data* together with what follows it in this turn of the loop: a call to the kernel is dear."""
        if len(self._held) + len(data) > HELD:
            self._write()
            self.writes += 1
            self.transport.write(data)
        elif data:
            if not self._held:
                self.loop.call_soon(self._write)
            self._held += data

    def _write(self) -> None:
        if self._held and not self.disconnected:
            held, self._held = self._held, b""
            self.writes += 1
            self.transport.write(held)

    async def receive(self) -> Message:
        """Return the next part of the body; when there is no more, wait until the answer or the client ends."""
        if self.waiting_for_100_continue and not self.transport.is_closing():
            self.transport.write(CONTINUE)
            self.waiting_for_100_continue = False
        if not self.left and not self.response_complete:
            self.flow.resume_reading()
            if not self._news:
                self._event = self._event or asyncio.Event()
                await self._event.wait()
            self._news = False
            if self._event is not None:
                self._event.clear()
        if self.left or self.response_complete:
            return {"type": "http.disconnect"}
        body, self.body = bytes(self.body), b""
        return {"type": "http.request", "body": body, "more_body": self.more_body}
