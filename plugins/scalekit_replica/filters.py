"""Read the client's consistency token from each request, and add a new one to the response after a write."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scalekit import Decision, Exchange, Filter, WebSocketExchange
from scalekit.contracts import CONSISTENCY, CONSISTENCY_HEADER, Consistency
from scalekit_replica.token_issuer import TokenIssuer

Headers = Iterable[tuple[bytes, bytes]]

_COOKIE = re.compile(rb"(?:^|;)\s*" + CONSISTENCY_HEADER + rb"=([\w-]+)")


class ConsistencyFilter(Filter):
    """Reads tokens from requests, and adds one to the response when something was written.

    *token_issuer* is called for each request, since it does not exist yet when filters are created.
    """

    def __init__(self, token_issuer: Callable[[], TokenIssuer], token_ttl: float) -> None:
        self._token_issuer = token_issuer
        self._max_age = b"; Path=/; Max-Age=%d; HttpOnly; SameSite=Lax" % int(token_ttl)

    def on_request(self, exchange: Exchange) -> Decision:
        """Handle the request with the client's consistency in its context."""
        return partial(self._serve, exchange)

    def on_open(self, exchange: WebSocketExchange) -> Decision:
        """Handle a websocket, whose messages are processed in order, with the client's consistency in its context."""
        return partial(self._serve_websocket, exchange)

    async def _serve(self, exchange: Exchange, app: ASGIApp) -> None:
        scope, send, tokens = exchange.scope, exchange.send, self._token_issuer()
        consistency = consistency_of(scope["headers"], tokens)
        exchange.set_context(CONSISTENCY, consistency)

        def send_with_token(message: Message) -> Awaitable[None]:
            if (consistency.wrote or consistency.pending) and message["type"] == "http.response.start":
                return self._send_with_token(message, scope, send, consistency, tokens)
            return send(message)

        await app(scope, exchange.receive, send_with_token)

    async def _serve_websocket(self, exchange: WebSocketExchange, app: ASGIApp) -> None:
        tokens = self._token_issuer()
        consistency = consistency_of(exchange.scope["headers"], tokens)
        exchange.set_context(CONSISTENCY, consistency)
        await app(exchange.scope, self._settle_before_receive(exchange.receive, consistency, tokens), exchange.send)

    async def _send_with_token(
        self, message: Message, scope: Scope, send: Send, consistency: Consistency, tokens: TokenIssuer
    ) -> None:
        token = (await tokens.issue(consistency)).encode()
        cookie = (
            CONSISTENCY_HEADER + b"=" + token + self._max_age + (b"; Secure" if scope.get("scheme") == "https" else b"")
        )
        await send(
            {**message, "headers": [*message.get("headers", ()), (CONSISTENCY_HEADER, token), (b"set-cookie", cookie)]}
        )

    def _settle_before_receive(self, receive: Receive, consistency: Consistency, tokens: TokenIssuer) -> Receive:
        """Return *receive*, resolving earlier writes to an LSN before the next message."""

        async def receive_settled() -> Message:
            if consistency.wrote or consistency.pending:
                await tokens.settle(consistency)
            return await receive()

        return receive_settled


def consistency_of(headers: Headers, tokens: TokenIssuer) -> Consistency:
    """Return the consistency of the tokens in *headers*: the highest LSN and the latest time."""
    consistency = Consistency()
    for name, value in headers:
        if name == CONSISTENCY_HEADER:
            _add(consistency, value, tokens)
        elif name == b"cookie" and CONSISTENCY_HEADER in value:
            for token in _COOKIE.findall(value):
                _add(consistency, token, tokens)
    return consistency


def _add(consistency: Consistency, token: bytes, tokens: TokenIssuer) -> None:
    contents = tokens.read(token.decode("latin-1"))
    if contents is not None:
        consistency.position = max(consistency.position, contents.position)
        consistency.until = max(consistency.until, contents.until)
