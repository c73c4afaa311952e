"""Tell each request apart: what its client has written before, and what it writes now."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scalekit import Decision, Exchange, Filter, WebSocketExchange
from scalekit.contracts import CONSISTENCY, CONSISTENCY_HEADER, Consistency
from scalekit_replica.token_issuer import Tokens

Headers = Iterable[tuple[bytes, bytes]]

_COOKIE = re.compile(rb"(?:^|;)\s*" + CONSISTENCY_HEADER + rb"=([\w-]+)")


class ConsistencyFilter(Filter):
    """Read tokens from requests, and add one to the response where something was written.

    *find_tokens* is called with each request, for nothing has started yet when filters are made.
    """

    def __init__(self, find_tokens: Callable[[], Tokens], lifetime: float) -> None:
        self._find_tokens = find_tokens
        self._max_age = b"; Path=/; Max-Age=%d; HttpOnly; SameSite=Lax" % int(lifetime)

    def on_request(self, exchange: Exchange) -> Decision:
        """Serve with the consistency of the client."""
        return partial(self._serve, exchange)

    def on_open(self, exchange: WebSocketExchange) -> Decision:
        """Serve a websocket, whose messages are written one after the other, with the consistency of the client."""
        return partial(self._serve_websocket, exchange)

    async def _serve(self, exchange: Exchange, app: ASGIApp) -> None:
        scope, send, tokens = exchange.scope, exchange.send, self._find_tokens()
        consistency = consistency_of(scope["headers"], tokens)
        exchange.set_context(CONSISTENCY, consistency)

        def issuing(message: Message) -> Awaitable[None]:
            if (consistency.wrote or consistency.pending) and message["type"] == "http.response.start":
                return self._send_with_token(message, scope, send, consistency, tokens)
            return send(message)

        await app(scope, exchange.receive, issuing)

    async def _serve_websocket(self, exchange: WebSocketExchange, app: ASGIApp) -> None:
        tokens = self._find_tokens()
        consistency = consistency_of(exchange.scope["headers"], tokens)
        exchange.set_context(CONSISTENCY, consistency)
        await app(exchange.scope, self._settling(exchange.receive, consistency, tokens), exchange.send)

    async def _send_with_token(
        self, message: Message, scope: Scope, send: Send, consistency: Consistency, tokens: Tokens
    ) -> None:
        token = (await tokens.issue(consistency)).encode()
        cookie = (
            CONSISTENCY_HEADER + b"=" + token + self._max_age + (b"; Secure" if scope.get("scheme") == "https" else b"")
        )
        await send(
            {**message, "headers": [*message.get("headers", ()), (CONSISTENCY_HEADER, token), (b"set-cookie", cookie)]}
        )

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
        if name == CONSISTENCY_HEADER:
            _add(consistency, value, tokens)
        elif name == b"cookie" and CONSISTENCY_HEADER in value:
            for token in _COOKIE.findall(value):
                _add(consistency, token, tokens)
    return consistency


def _add(consistency: Consistency, token: bytes, tokens: Tokens) -> None:
    read = tokens.read(token.decode("latin-1"))
    if read is not None:
        consistency.position = max(consistency.position, read.position)
        consistency.until = max(consistency.until, read.until)
