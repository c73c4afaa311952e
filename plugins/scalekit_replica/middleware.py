"""Tell each request apart: what its client has written before, and what it writes now."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scalekit.consistency import CONSISTENCY, HEADER, Consistency
from scalekit_replica.issuing import Tokens

Headers = Iterable[tuple[bytes, bytes]]

_COOKIE = re.compile(rb"(?:^|;)\s*" + HEADER + rb"=([\w-]+)")


class ReplicaMiddleware:
    """Read tokens from requests, and add one to the answer where something was written.

    *find_tokens* is called with each request, for nothing has started yet when middleware is made.
    """

    def __init__(self, app: ASGIApp, find_tokens: Callable[[], Tokens], lifetime: float) -> None:
        self.app = app
        self._find_tokens = find_tokens
        self._max_age = b"; Path=/; Max-Age=%d; HttpOnly; SameSite=Lax" % int(lifetime)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve; servers give each request a context of its own, so nothing has to be taken back."""
        if scope["type"] not in ("http", "websocket"):
            return self.app(scope, receive, send)
        tokens = self._find_tokens()
        consistency = consistency_of(scope["headers"], tokens)
        CONSISTENCY.set(consistency)
        if scope["type"] == "websocket":
            return self.app(scope, self._settling(receive, consistency, tokens), send)

        def issuing(message: Message) -> Awaitable[None]:
            if (consistency.wrote or consistency.pending) and message["type"] == "http.response.start":
                return self._send_with_token(message, scope, send, consistency, tokens)
            return send(message)

        return self.app(scope, receive, issuing)

    async def _send_with_token(
        self, message: Message, scope: Scope, send: Send, consistency: Consistency, tokens: Tokens
    ) -> None:
        token = (await tokens.issue(consistency)).encode()
        cookie = HEADER + b"=" + token + self._max_age + (b"; Secure" if scope.get("scheme") == "https" else b"")
        await send({**message, "headers": [*message.get("headers", ()), (HEADER, token), (b"set-cookie", cookie)]})

    def _settling(self, receive: Receive, consistency: Consistency, tokens: Tokens) -> Receive:
        """Return *receive* such that what was written before the next message gets a position."""

        async def settling() -> Message:
            if consistency.wrote or consistency.pending:
                await tokens.settle(consistency)
            return await receive()

        return settling


def consistency_of(headers: Headers, tokens: Tokens) -> Consistency:
    """Return what the client has written by its *headers*, the most that they say."""
    consistency = Consistency()
    for name, value in headers:
        if name == HEADER:
            _add(consistency, value, tokens)
        elif name == b"cookie" and HEADER in value:
            for token in _COOKIE.findall(value):
                _add(consistency, token, tokens)
    return consistency


def _add(consistency: Consistency, token: bytes, tokens: Tokens) -> None:
    read = tokens.read(token.decode("latin-1"))
    if read is not None:
        consistency.position = max(consistency.position, read.position)
        consistency.until = max(consistency.until, read.until)
