"""Limit the size of request bodies and the time that clients take to send them."""

from __future__ import annotations

import asyncio
from functools import partial

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scalekit.config.types import Size
from scalekit.http.exchange import Exchange
from scalekit.http.filter import Decision, Filter
from scalekit.http.problem import send_problem
from scalekit.http.response import local_problem

CONTENT_LENGTH, TRANSFER_ENCODING = b"content-length", b"transfer-encoding"

MINIMUM_RATE = 1024
"""Bytes per second that extend the timeout: a large upload over a slow line succeeds, a trickle fails."""

MAX_LENGTH_DIGITS = 18
"""Digits of the longest Content-Length that is parsed."""


class BodyLimit(Filter):
    """Reject bodies above *max_body* bytes with 413, and bodies that arrive slower than *timeout* allows with 408.

    Bodies are not buffered. When a body is rejected midway, the application receives ``http.disconnect``. *timeout* is
    in seconds, plus one second per MINIMUM_RATE bytes.
    """

    request_headers = (CONTENT_LENGTH, TRANSFER_ENCODING)

    def __init__(self, max_body: Size, timeout: float) -> None:
        self.max_body = max_body
        self.timeout = timeout

    def on_request(self, exchange: Exchange) -> Decision:
        """Pass a request without a body; limit the body of others."""
        headers = exchange.headers
        if CONTENT_LENGTH not in headers and TRANSFER_ENCODING not in headers:
            if exchange.scope.get("http_version", "1.1")[0] == "1":
                return None
        elif CONTENT_LENGTH in headers:
            declared = exchange.values(CONTENT_LENGTH)[-1]
            if not declared.isdigit():
                return local_problem(400, "Content-Length is not a number")
            if len(declared) > MAX_LENGTH_DIGITS or int(declared) > self.max_body:
                return local_problem(413, f"the body is larger than {self.max_body}")
        return partial(self._watch, exchange)

    async def _watch(self, exchange: Exchange, app: ASGIApp) -> None:
        await _WatchedBody(self, app, exchange.scope, exchange.receive, exchange.send).serve()


class _WatchedBody:
    """The body of one request: bytes read so far, and whether a response was sent."""

    def __init__(self, limits: BodyLimit, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        self.limits = limits
        self.app = app
        self.scope = scope
        self._receive = receive
        self._send = send
        self.waited = 0.0
        self.read = 0
        self.complete = False
        self.started = False
        self.refused = False

    async def serve(self) -> None:
        try:
            await self.app(self.scope, self.receive, self.send)
        except Exception:
            if not self.refused:
                raise

    async def receive(self) -> Message:
        if self.complete or self.refused:
            return await self._receive_after_body()
        message = await self._receive_in_time()
        if message is None:
            return await self._refuse(408, "the body did not arrive in time")
        if message["type"] == "http.request":
            self.read += len(message.get("body", b""))
            self.complete = not message.get("more_body", False)
        if self.read > self.limits.max_body:
            return await self._refuse(413, f"the body is larger than {self.limits.max_body}")
        return message

    async def _receive_in_time(self) -> Message | None:
        loop = asyncio.get_running_loop()
        start = loop.time()
        allowance = self.limits.timeout + self.read / MINIMUM_RATE - self.waited
        try:
            async with asyncio.timeout(allowance):
                return await self._receive()
        except TimeoutError:
            return None
        finally:
            self.waited += loop.time() - start

    async def _receive_after_body(self) -> Message:
        if self.refused:
            return {"type": "http.disconnect"}
        return await self._receive()

    async def _refuse(self, status: int, detail: str) -> Message:
        self.refused = True
        if not self.started:
            await send_problem(self.scope, self._send, status, detail)
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if not self.refused:
            self.started = self.started or message["type"] == "http.response.start"
            await self._send(message)
