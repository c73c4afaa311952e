"""Take the token of a websocket from where browsers can put it."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scalekit import Exchange
from scalekit_jwt.credentials import AUTHORIZATION, offered


def move_subprotocol_token(exchange: Exchange) -> str:
    """Move a token that came as a subprotocol to where it belongs; the application never sees it as a protocol.

    Return the protocol to accept with, for a browser gives up when none of those that it offers is chosen; empty when
    no token came so.
    """
    scope = exchange.scope
    found = offered(scope.get("subprotocols", []))
    if not found or AUTHORIZATION in exchange.headers:
        return ""
    chosen, token, *proofs = found
    scope["subprotocols"] = [chosen, *scope["subprotocols"][len(found) :]]
    exchange.replace_headers(
        [
            *((name, value) for name, value in scope["headers"] if name != b"sec-websocket-protocol"),
            (b"sec-websocket-protocol", ", ".join(scope["subprotocols"]).encode("latin-1", "replace")),
            (AUTHORIZATION, f"{chosen} {token}".encode("utf-8", "replace")),
            *((b"dpop", proof.encode("utf-8", "replace")) for proof in proofs),
        ]
    )
    return chosen


def accept_with_subprotocol(protocol: str, app: ASGIApp) -> ASGIApp:
    """Return *app* such that its websockets are accepted with *protocol*, unless it names another."""

    async def accepting(scope: Scope, receive: Receive, send: Send) -> None:
        async def accept(message: Message) -> None:
            if message["type"] == "websocket.accept" and not message.get("subprotocol"):
                message = {**message, "subprotocol": protocol}
            await send(message)

        await app(scope, receive, accept)

    return accepting
