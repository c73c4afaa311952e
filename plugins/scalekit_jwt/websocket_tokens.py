"""Accept the token of a websocket as a subprotocol, since browsers cannot set its Authorization header."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scalekit import Exchange
from scalekit_jwt.credentials import AUTHORIZATION, subprotocol_credentials


def move_subprotocol_token(exchange: Exchange) -> str:
    """Move a token in the subprotocols to the Authorization header, hidden from the application's subprotocols.

    Return the subprotocol to accept with, because a browser closes a websocket that accepts none of its offers; empty
    without a token in the subprotocols.
    """
    scope = exchange.scope
    found = subprotocol_credentials(scope.get("subprotocols", []))
    if not found or AUTHORIZATION in exchange.headers:
        return ""
    scheme, token, *proofs = found
    scope["subprotocols"] = [scheme, *scope["subprotocols"][len(found) :]]
    exchange.replace_headers(
        [
            *((name, value) for name, value in scope["headers"] if name != b"sec-websocket-protocol"),
            (b"sec-websocket-protocol", ", ".join(scope["subprotocols"]).encode("latin-1", "replace")),
            (AUTHORIZATION, f"{scheme} {token}".encode("utf-8", "replace")),
            *((b"dpop", proof.encode("utf-8", "replace")) for proof in proofs),
        ]
    )
    return scheme


def accept_with_subprotocol(subprotocol: str, app: ASGIApp) -> ASGIApp:
    """Return *app* accepting its websockets with *subprotocol*, unless it chooses one itself."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_accept(message: Message) -> None:
            if message["type"] == "websocket.accept" and not message.get("subprotocol"):
                message = {**message, "subprotocol": subprotocol}
            await send(message)

        await app(scope, receive, send_accept)

    return wrapped
